// Package fleet has several proxies serve the same: a change of one of them is a change of
// all. What they are to serve is in a store that they share, and each is a member there for
// as long as its lease lasts.
//
// The proxy that a command reaches coordinates the change. If it is a deploy, it proposes it,
// and every member probes the targets from where it is, and votes. When all of them have
// said that they are healthy, one transaction commits what the service is from then on, which
// is its record. The others mirror the record as soon as they see it, drain, and say so.
//
// These are the keys:
//
//	format            of all this: "1"
//	members/NAME      who a member is; with its lease
//	reports/NAME      how far it has come; likewise
//	services/NAME     the record of a service
//	proposals/NAME    a deploy of the service that is being probed; with the coordinator's lease
//	proposals/NAME/rollout  a rollout of it; likewise
//	votes/ID/NAME     what a member says of a proposal; with its lease
//	members/NAME/left which member of the name has ended with nothing left
//	known/NAME        who a member is or was, until it leaves with nothing left, or is forgotten
//	turns/NAME        is written with each commit of a member, so that one whose outcome is not
//	                  known can be kept from being done later
//	questions/ID      what a member wants to know of all; with a lease of its own
//	answers/ID/NAME   what another says of itself; with the lease of the question
//	counts/SERVICE\tNAME  what a member has counted of a service that another judges; with its lease
//	claims            is written with each record that changes what the hosts of a service are
//	services-next/ID/NAME  what a service is to be by a batch, written aside
//	services-next     the batch that was made, until its records are those of the services
package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
	"github.com/shahnk19/parachute/internal/naming"
)

// format is that of the keys and values.
const format = "1"

// The keys.
const (
	formatKey      = "format"
	claimsKey      = "claims"
	membersBelow   = "members/"
	knownBelow     = "known/"
	reportsBelow   = "reports/"
	servicesBelow  = "services/"
	proposalsBelow = "proposals/"
	votesBelow     = "votes/"
	turnsBelow     = "turns/"
	questionsBelow = "questions/"
	answersBelow   = "answers/"
	countsBelow    = "counts/"
	leftAfter      = "/left" // the name of a member

	batchKey     = "services-next"
	asideBelow   = "services-next/"
	ledgerPrefix = "services" // begins all keys of a ledger, and no others
)

const (
	// DefaultLease is how long a member is one without a word of it.
	DefaultLease = 10 * time.Second

	// margin is how long before its lease a member takes itself for gone: for clocks that
	// do not run equally fast.
	margin = time.Second
)

// Config says what a Member is.
type Config struct {
	Name    string // tells it from the others
	Address string // where it can be reached, as people are told
	Version string // of its program

	// LeaseTime is how long it is a member without a word of it. If 0, DefaultLease.
	LeaseTime time.Duration

	// Adopted is the lease of the Member whose place this one takes, such as that of the
	// process before: for the others it is the same one. If 0, or if it has ended, the Member
	// gets a lease of its own.
	Adopted kv.Lease

	Logger *slog.Logger

	// Save keeps on this machine what the Proxy serves, as a parachute.Options.CommitDelta
	// does, to start from when the store is away. An error is logged, and it is tried
	// again.
	Save func(parachute.Delta) error

	// Tell answers, in JSON, the question that a member has given to its Ask. It
	// returns when ctx ends.
	Tell func(ctx context.Context, what []byte) ([]byte, error)
}

// Check returns what is wrong with c, or nil.
func (c Config) Check() error {
	if err := naming.Check(c.Name); err != nil {
		return fmt.Errorf("the name in the fleet, %q: want letters, digits and marks, such as eu-1", c.Name)
	}
	if c.LeaseTime != 0 && c.LeaseTime < 3*time.Second {
		return fmt.Errorf("a lease of %v: want 3s at least", c.LeaseTime)
	}
	return nil
}

// A Proxy is a parachute.Proxy.
type Proxy interface {
	Probe(ctx context.Context, d parachute.Deployment) error
	Mirror(services []string, next func(service string, current *parachute.Status) *parachute.Status) (drain func(), err error)
	Services() []parachute.Status
	Counted(service string) parachute.Counted
	CountedElsewhere(service string, c parachute.Counted)
}

// A Member is one proxy of a fleet. Make one with New; its Agree and Commit are the Agree
// and CommitDelta of the Proxy that Run is given.
type Member struct {
	Config
	store kv.Store
	proxy Proxy
	saver *saver

	drains sync.WaitGroup // of what was mirrored
	voting sync.WaitGroup // over what was proposed here

	// turn has room for one: the Proxy is in it while it commits to the store, and so is who
	// decides what has to be mirrored, for what was committed here has not.
	turn chan struct{}

	mu        sync.Mutex         // guards what follows
	session   *session           // nil: there is none
	why       error              // there is no session
	ledger                       // what the store says
	applied   map[string]int64   // by service, the revision of the record that the Proxy is
	seen      int64              // the revision of the store up to which all records are applied
	ballots   map[string]*ballot // by key, the latest that was proposed
	agreed    map[string]*ballot // likewise, what the next commit may be about
	committed map[string]*commit // by service, the last one made here
	spent     []*ballot          // of no use any more, while their proposals are still there
	hasLost   bool               // a member, since somebody has looked for what that has left behind
	mirroring map[string]int64   // what the next call of Commit is for, with the revisions; nil: a change of the Proxy's own
	draining  map[string][]int64 // by service, the revisions of records for which it is being drained
	ids       int                // that were given out

	// givenUp is closed when what is committed waits for the store no more.
	givenUp chan struct{}

	// tried is closed once the first session has begun, or has failed.
	tried  chan struct{}
	trying sync.Once

	// asking has room for one question.
	asking chan struct{}

	// unreported has something in it when there is something new to be reported, and unfinished when
	// something in the store may have to be finished, or to be cleared away.
	unreported chan struct{}
	unfinished chan struct{}
}

// A record is what a service is.
type record struct {
	ID      string `json:"id"` // of the change
	By      string `json:"by"` // the member that made it
	Removed bool   `json:"removed,omitempty"`

	// Status is a parachute.Status. If nil, it was removed; of a record that is broken, it is what
	// the Proxy serves, if it does. It stays JSON because the Proxy has all of them already, and
	// JSON is a fraction of that.
	Status json.RawMessage `json:"status,omitempty"`

	// So says Status.
	generation uint64
	isBaking   bool
	isJudged   bool // it bakes, or visitors try a version

	modified int64 // the revision of the store; 0: there is no record
	broken   error // why it cannot be read
}

// newRecord returns one of what a service is from a change on; nil: it is removed.
func newRecord(id, by string, status *parachute.Status) record {
	r := record{ID: id, By: by, Removed: status == nil}
	r.setStatus(status)
	return r
}

func (r *record) setStatus(s *parachute.Status) {
	if s != nil {
		r.Status = encode(s)
		r.note(s)
	}
}

// note notes what is to be known of r.Status, which is s.
func (r *record) note(s *parachute.Status) {
	r.generation, r.isBaking = s.Generation, s.Bake != nil
	r.isJudged = r.isBaking || s.Rollout != nil && s.Rollout.Deployment != nil && isJudged(s.Rollout.Deployment)
}

// status returns r.Status.
func (r *record) status() *parachute.Status {
	if r.Status == nil {
		return nil
	}
	s := new(parachute.Status)
	if err := json.Unmarshal(r.Status, s); err != nil {
		panic("fleet: " + err.Error()) // decode has read it, or newRecord has made it
	}
	return s
}

// An Identity is what the store has of a member.
type Identity struct {
	Name    string    `json:"name"`
	Address string    `json:"address"`
	Version string    `json:"version"`
	Since   time.Time `json:"since"`
}

// A proposal is a deploy that is being probed.
type proposal struct {
	ID         string               `json:"id"`
	By         string               `json:"by"`
	Deployment parachute.Deployment `json:"deployment"`
}

// A vote is what a member says of a proposal.
type vote struct {
	Refused string            `json:"refused,omitempty"` // why it cannot be; empty: the targets are healthy
	Recent  *parachute.Counts `json:"recent,omitempty"`  // of what serves there, if what is proposed is to be judged by it
}

// A farewell says which member of a name has left: the one that came in that revision.
type farewell struct {
	Created int64 `json:"created"`
}

// New returns a Member that is in no fleet yet.
func New(store kv.Store, c Config) *Member {
	if c.LeaseTime == 0 {
		c.LeaseTime = DefaultLease
	}
	m := &Member{
		Config: c, store: store,
		ledger: newLedger(nil), applied: make(map[string]int64),
		ballots: make(map[string]*ballot), agreed: make(map[string]*ballot), committed: make(map[string]*commit),
		draining: make(map[string][]int64), turn: make(chan struct{}, 1), unreported: make(chan struct{}, 1),
		tried: make(chan struct{}), asking: make(chan struct{}, 1), givenUp: make(chan struct{}),
		unfinished: make(chan struct{}, 1),
		why:        fmt.Errorf("%w yet", errNoMember),
	}
	m.saver = &saver{save: c.Save, logger: c.Logger}
	return m
}

// encode returns the JSON of v, which can be written in it.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("fleet: " + err.Error()) // it was read from JSON, or is plain data
	}
	return text
}

// stripped returns s without what is each proxy's own.
func stripped(s parachute.Status) *parachute.Status {
	s.Live, s.Figures, s.History, s.Switched = nil, nil, nil, time.Time{}
	return &s
}

// newID returns what no other change has as its ID.
func (m *Member) newID(s *session) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ids++
	return fmt.Sprintf("%s%x-%d", idsOf(s.lease), s.lastEntry(), m.ids)
}

// idsOf returns how the IDs of changes begin that are made while a member has that lease.
func idsOf(l kv.Lease) string { return fmt.Sprintf("%x-", l) }
