package parachute

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/hostname"
)

// A table says which version of which service answers for a host and a path.
// It never changes once it is published.
type table struct {
	services map[string]*version // by name
	exact    map[string]*site    // by host
	wildcard map[string]*site    // by what follows "*." in the host
	any      *site               // what claims no host; nil: requests for unknown hosts are nobody's
	unnamed  *site               // has the certificate for clients that name no host; nil: they get none
	closed   bool                // nobody is served any more
}

// A site is what answers for one host, or for all that one wildcard stands for.
type site struct {
	host    string   // as a claim has it
	routes  []route  // the longest prefix first
	policy  policy   // of all its services
	holding *holding // of its certificates; nil: it is not served over TLS
}

// A route says which version answers for the paths below a prefix.
type route struct {
	prefix  string // as a claim has it
	written string // the same with escapes, as it may stand in a header
	version *version
}

// A claim is what a service asks for, and what no two services have.
type claim struct {
	host   string // as hostname.ParsePattern returns it, or anyHost
	prefix string // as hostname.ParsePrefix returns it
}

// newTable returns the table of these versions, no two of which have one claim.
func newTable(services map[string]*version) *table {
	t := &table{
		services: services,
		exact:    make(map[string]*site),
		wildcard: make(map[string]*site),
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		v := services[name]
		for _, c := range v.claims {
			s := t.site(c.host)
			if s == nil {
				s = &site{host: c.host}
				t.add(s)
			}
			s.add(c.prefix, v)
		}
	}
	for s := range t.sites() {
		slices.SortFunc(s.routes, func(a, b route) int { return len(b.prefix) - len(a.prefix) })
		if s.holding != nil && s != t.any && (t.unnamed == nil || s.host < t.unnamed.host) {
			t.unnamed = s
		}
	}
	return t
}

// add gives v what is below a prefix.
func (s *site) add(prefix string, v *version) {
	written := (&url.URL{Path: prefix}).EscapedPath()
	s.routes = append(s.routes, route{prefix, written, v})
	s.policy, _ = s.policy.with(v.policy)
	if s.holding == nil && v.policy.isSecure() {
		s.holding = v.holding
	}
}

func (t *table) add(s *site) {
	if s.host == anyHost {
		t.any = s
	} else if parent, ok := hostname.CutWildcard(s.host); ok {
		t.wildcard[parent] = s
	} else {
		t.exact[s.host] = s
	}
}

// site returns the site of a claim's host, or nil.
func (t *table) site(host string) *site {
	if host == anyHost {
		return t.any
	}
	if parent, ok := hostname.CutWildcard(host); ok {
		return t.wildcard[parent]
	}
	return t.exact[host]
}

// sites yields all of them, in no order.
func (t *table) sites() iter.Seq[*site] {
	return func(yield func(*site) bool) {
		for _, s := range t.exact {
			if !yield(s) {
				return
			}
		}
		for _, s := range t.wildcard {
			if !yield(s) {
				return
			}
		}
		if t.any != nil {
			yield(t.any)
		}
	}
}

// lookup returns the site that answers for a Host header or the like, or nil.
// The exact host goes before its wildcard, and that before a service without
// hosts. A name that is too long for one is nobody's.
func (t *table) lookup(host string) *site {
	name := hostname.Canonical(host)
	if len(name) > hostname.MaxLen {
		return nil
	}
	if s := t.exact[name]; s != nil {
		return s
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		if s := t.wildcard[parent]; s != nil {
			return s
		}
	}
	return t.any
}

// route returns the version that answers for a request target, or nil, with
// the prefix that the target is below, and the target without that.
func (s *site) route(target string) (v *version, prefix, rest string) {
	for _, r := range s.routes {
		if rest, ok := forward.Below(target, r.prefix); ok {
			return r.version, r.written, rest
		}
	}
	return nil, "", ""
}

// redirect returns where a request for s goes instead, if it goes elsewhere: to
// https, to the canonical host, or to both in one step. It goes to https only
// where it is likely to be served: that may have to be asked.
func (t *table) redirect(r *http.Request, s *site, client forward.Client, httpsPort int) (origin string, ok bool) {
	name, secure := hostname.Canonical(r.Host), client.IsSecure(r)
	host, to := name, s
	if canonical := s.policy.canonical; canonical != "" && canonical != name {
		host, to = canonical, t.lookup(canonical)
	}
	toHTTPS := !secure && to.isRedirected() && to.holding.expects(r.Context(), to.host, host, client.Addr)
	if host == name && !toHTTPS {
		return "", false
	}
	// What the client says is only repeated where nothing else is known.
	if _, isWildcard := hostname.CutWildcard(s.host); s.policy.canonical == "" && s.host != anyHost && !isWildcard {
		host = s.host
	}
	switch {
	case toHTTPS && httpsPort == 443:
		return hostname.Origin("https", host, "")
	case toHTTPS:
		return hostname.Origin("https", host, strconv.Itoa(httpsPort))
	case secure:
		return hostname.Origin("https", host, hostname.Port(r.Host))
	}
	return hostname.Origin("http", host, hostname.Port(r.Host))
}

// isRedirected reports whether plain requests for s are to go to https.
func (s *site) isRedirected() bool { return s.policy.isSecure() && !s.policy.tls.NoRedirect }

// isFor reports whether what came over a connection to sni may be for name,
// whose site s is, too. other is the site of sni.
func (s *site) isFor(name string, other *site, sni string) bool {
	if s == nil || other == nil || s.policy.tls != other.policy.tls {
		return s == other
	}
	if s.holding == nil || other.holding == nil {
		return s.holding == other.holding
	}
	return sameCertificate(s.holding.certificate(s.host, name), other.holding.certificate(other.host, sni))
}

// versions returns all that answer for paths of s.
func (s *site) versions() []*version {
	var all []*version
	for _, r := range s.routes {
		all = append(all, r.version)
	}
	return all
}

// statuses returns what a restart must restore, by name.
func statuses(services map[string]*version) []Status {
	all := make([]Status, 0, len(services))
	for _, name := range slices.Sorted(maps.Keys(services)) {
		all = append(all, services[name].status.clone())
	}
	return all
}

// A router publishes tables: readers load the newest one, and each change
// takes its turn to replace it. It hands out generations and keeps two changes
// from having one claim.
type router struct {
	routes  atomic.Pointer[table]
	commit  func([]Status) error
	changes gate.Gate // counts the changes under way, their drains too; closed when no more may begin

	// publishing is held from before a commit until its table is stored, so
	// that what is kept and what is served change in the same order. It is
	// taken before mu.
	publishing sync.Mutex

	mu         sync.Mutex // guards what follows, and the table's agreement with pending
	generation uint64     // the last one handed out
	pending    map[*reservation]struct{}
	ongoing    map[*ongoing]struct{}
}

// An ongoing is a part of a change of a service that takes its time.
type ongoing struct {
	service string
	change  Change
	lanes   []*lane // that are waited for
}

// begin has others know of o until end is called.
func (r *router) begin(o *ongoing) (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ongoing[o] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.ongoing, o)
	}
}

// underWay returns what goes on, by service, the oldest first.
func (r *router) underWay() map[string][]Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string][]Change)
	for o := range r.ongoing {
		c := o.change
		c.Requests, c.Streams = inFlight(o.lanes)
		all[o.service] = append(all[o.service], c)
	}
	for _, changes := range all {
		slices.SortFunc(changes, func(a, b Change) int {
			return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Generation, b.Generation))
		})
	}
	return all
}

// A reservation is a change of one service on its way to be published. It
// has what the service asks for.
type reservation struct {
	service    string
	scope      scope
	generation uint64
	claims     []claim
	policy     policy
	supersedes bool                    // it ended another change of the service
	end        context.CancelCauseFunc // ends its context; only the first call counts
	committing bool                    // guarded by router.mu: it is too late to end it
}

// A scope is what of a service a change is about. Changes end those before them
// that have not got as far as their commit and are about the same, or a part of
// it.
type scope int

const (
	scopeMain    scope = iota // its first version
	scopeRollout              // its second
	scopeAll
)

func (s scope) covers(other scope) bool { return s == other || s == scopeAll }

func newRouter(commit func([]Status) error) *router {
	r := &router{commit: commit, pending: make(map[*reservation]struct{}), ongoing: make(map[*ongoing]struct{})}
	r.routes.Store(newTable(map[string]*version{}))
	return r
}

// reserve begins a change of a service. It fails at once, and has changed
// nothing, where a claim is another service's or reserved for one, or where the
// services of a host would contradict each other.
// Otherwise it ends the changes of the same service that its scope covers and
// that have not got as far as their commit. The returned context ends with ctx
// and, with the cause, when the reservation is ended. The caller must call leave
// when all is done.
func (r *router) reserve(ctx context.Context, service string, scope scope, claims []claim, mine policy) (*reservation, context.Context, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.conflictLocked(service, claims, mine); err != nil {
		return nil, nil, err
	}
	if !r.changes.Enter() {
		return nil, nil, ErrClosed
	}
	r.generation++
	res := &reservation{service: service, scope: scope, generation: r.generation, claims: claims, policy: mine}
	for other := range r.pending {
		if other.service == service && scope.covers(other.scope) && !other.committing {
			res.supersedes = true
			r.endLocked(other, faultf(ErrSuperseded, "superseded by generation %d of the service, which was asked for later", res.generation))
		}
	}
	ctx, res.end = context.WithCancelCause(ctx)
	r.pending[res] = struct{}{}
	return res, ctx, nil
}

func (r *router) conflictLocked(service string, claims []claim, mine policy) error {
	served := r.routes.Load()
	for _, c := range claims {
		if s := served.site(c.host); s != nil {
			if conflict := c.beside(s.versions(), service, mine); conflict != nil {
				return conflict
			}
		}
		for other := range r.pending {
			if conflict := c.against(other.claims, other.service, other.policy, service, mine); conflict != nil {
				return conflict
			}
		}
	}
	return nil
}

// beside returns why a service with the policy mine cannot have c besides what
// others have, or nil.
func (c claim) beside(others []*version, service string, mine policy) *ConflictError {
	for _, v := range others {
		if conflict := c.against(v.claims, v.status.Service, v.policy, service, mine); conflict != nil {
			return conflict
		}
	}
	return nil
}

// against is beside for what one owner has.
func (c claim) against(claims []claim, owner string, theirs policy, service string, mine policy) *ConflictError {
	shared := func(other claim) bool { return other.host == c.host }
	switch {
	case owner == service:
	case slices.Contains(claims, c):
		return &ConflictError{Host: c.host, Prefix: c.prefix, Owner: owner}
	case slices.ContainsFunc(claims, shared):
		if _, dispute := theirs.with(mine); dispute != "" {
			return &ConflictError{Host: c.host, Owner: owner, Dispute: dispute}
		}
	}
	return nil
}

// endLocked lets the claims of a reservation go, and keeps it from publishing.
func (r *router) endLocked(res *reservation, cause error) {
	delete(r.pending, res)
	res.end(cause)
}

// leave is the end of a change that reserve began, published or not.
func (r *router) leave(res *reservation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endLocked(res, context.Canceled)
	r.changes.Leave()
}

// A change makes the next version of a service of the current one, which is nil
// where there is none; nil takes the service out. Its error refuses the change.
type change func(current *version) (next *version, err error)

// publish makes a change of a service, has the outcome committed, and then
// stores the table that says so; the reservation, if there is one, ends with
// that. It calls announce before the next change has its turn. It returns what
// was replaced and what it was replaced with, nil where there is none. After an
// error, which may be the cause of ctx's end, nothing has changed.
func (r *router) publish(ctx context.Context, res *reservation, service string, c change, announce func(next *version)) (previous, next *version, err error) {
	r.publishing.Lock()
	defer r.publishing.Unlock()
	if err := r.beginCommit(ctx, res); err != nil {
		return nil, nil, err
	}
	services := maps.Clone(r.routes.Load().services)
	previous = services[service]
	if next, err = c(previous); err != nil {
		return nil, nil, err
	}
	switch {
	case next != nil:
		if previous == nil || next.status.Generation != previous.status.Generation || next.status.State != previous.status.State {
			next.since = time.Now()
		}
		next.follow(previous)
		services[service] = next
	case previous != nil:
		delete(services, service)
	default:
		return nil, nil, nil
	}
	if r.commit != nil {
		if err := r.commit(statuses(services)); err != nil {
			return nil, nil, err
		}
	}
	r.store(newTable(services), res)
	if previous != nil {
		previous.end(next)
	}
	announce(next)
	return previous, next, nil
}

// store publishes t, with which res ends.
func (r *router) store(t *table, res *reservation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.routes.Store(t)
	if res != nil {
		r.endLocked(res, context.Canceled)
	}
}

// beginCommit is the point from which no other change ends this one.
func (r *router) beginCommit(ctx context.Context, res *reservation) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if res != nil {
		res.committing = true
	}
	return nil
}

// restore publishes services without a commit and reports true, if nothing has
// been asked of the router before.
func (r *router) restore(services map[string]*version, generation uint64) bool {
	r.publishing.Lock()
	defer r.publishing.Unlock()
	t := newTable(services)
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.routes.Load(); r.generation > 0 || len(old.services) > 0 || old.closed {
		return false
	}
	r.generation = generation
	r.routes.Store(t)
	return true
}

// renew publishes every version anew, with gates of its own, and returns those
// that were replaced.
func (r *router) renew() []*version {
	r.publishing.Lock()
	defer r.publishing.Unlock()
	old := r.routes.Load()
	if old.closed {
		return nil
	}
	services := make(map[string]*version, len(old.services))
	for name, v := range old.services {
		next := v.renewed(v.status)
		next.follow(v)
		services[name] = next
	}
	r.routes.Store(newTable(services))
	for name, v := range old.services {
		v.end(services[name])
	}
	return slices.Collect(maps.Values(old.services))
}

// refuse lets no change begin any more and ends those that have not got as far
// as their commit. The returned channel is closed when none is under way.
func (r *router) refuse() (idle <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	idle = r.changes.Close()
	for res := range r.pending {
		if !res.committing {
			r.endLocked(res, ErrClosed)
		}
	}
	return idle
}

// close publishes the last table, which serves nobody, and returns the
// versions that were served until then.
func (r *router) close() []*version {
	r.publishing.Lock()
	defer r.publishing.Unlock()
	old := r.routes.Load()
	r.routes.Store(&table{closed: true})
	for _, v := range old.services {
		v.end(nil)
		if v.isHalted() {
			close(v.resumed) // nothing is waited for any more
		}
	}
	return slices.Collect(maps.Values(old.services))
}

// anyHost stands for every host that no other service claims.
const anyHost = ""
