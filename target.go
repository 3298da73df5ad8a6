package parachute

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shahnk19/parachute/internal/affinity"
	"github.com/shahnk19/parachute/internal/backend"
	"github.com/shahnk19/parachute/internal/certificate"
	"github.com/shahnk19/parachute/internal/deep"
	"github.com/shahnk19/parachute/internal/duration"
	"github.com/shahnk19/parachute/internal/endpoint"
	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/healthcheck"
	"github.com/shahnk19/parachute/internal/history"
	"github.com/shahnk19/parachute/internal/lanes"
	"github.com/shahnk19/parachute/internal/routing"
	"github.com/shahnk19/parachute/internal/rules"
	"github.com/shahnk19/parachute/internal/split"
	"github.com/shahnk19/parachute/internal/targets"
	"github.com/shahnk19/parachute/internal/trial"
	"github.com/shahnk19/parachute/internal/verbose"
	"github.com/shahnk19/parachute/internal/waiting"
)

// proofOfReuse is how much later a second probe has to pass until a new target is
// healthy at an address that serves the service already: the process that answers the
// first one may be the old one, on its way out.
const proofOfReuse = 500 * time.Millisecond

type (
	target  = targets.Target  // what requests are sent to, and its health
	group   = targets.Group   // the targets that came with one deploy
	monitor = targets.Monitor // follows their probes
	lane    = lanes.Lane[*target]
	laneSet = lanes.Set[*target]
)

// newGroup returns the group of the targets of s, which are not probed yet. Generation is
// that of the deploy; 0: it is a check, which changes nothing. isAwaited says whether
// somebody waits until the targets are healthy.
func (p *Proxy) newGroup(service string, generation uint64, s *spec, isAwaited bool) (group, *monitor) {
	m := targets.NewMonitor(targets.MonitorOptions{
		Targets:  len(s.targets),
		Thorough: s.Affinity != "",
		Waits:    isAwaited,
		Limit:    s.Timeouts.Deploy,
		Short:    p.shortages,
		Tell: func(n targets.Notice) {
			if generation != 0 {
				p.emit(Event{Kind: EventKind(n.Kind), Service: service, Generation: n.Generation, Release: s.Release, By: s.By,
					Target: n.Target, Probe: probeOf(n.Result), Probes: n.Probes, Elapsed: n.Elapsed, Limit: n.Limit})
			}
		},
	})
	m.Generation.Store(generation)
	settings := backend.Settings{
		Check:           healthcheck.Settings(s.HealthCheck),
		Trust:           s.targetTLS,
		ResponseTimeout: s.Timeouts.Response,
		KeepAlive:       backend.KeepAlive(s.TargetKeepAlive),
		OverTLS:         s.TLS.isOn(),
		Log:             []any{"service", s.Service},
	}
	current := p.served(service)
	var all []*target
	for _, at := range s.targets {
		t := targets.New(p.backends.New(at, settings), at.Given, affinity.Token(p.options.AffinityKey, s.Service, at.Given), s.HealthCheck.Rise, s.HealthCheck.Fall, m)
		if isAwaited && current != nil && current.IsAt(at.Place()) {
			t.Health.DemandProof(proofOfReuse)
		}
		all = append(all, t)
	}
	return targets.NewGroup(all[:len(s.Targets)], all[len(s.Targets):], s.Release), m
}

// everyLane returns all lanes that somebody may be inside of.
func (p *Proxy) everyLane() laneSet {
	all := p.changes.Lanes()
	for _, v := range p.router.routes.Load().Services() {
		all = append(append(all, v.Lanes()...), v.Leaving...)
	}
	return all
}

// omitCloseFrames has the WebSockets inside lanes cut without a Close frame, if
// one of the versions was deployed with NoWebSocketClose. A version may be nil.
func omitCloseFrames(lanes laneSet, versions ...*version) {
	if slices.ContainsFunc(versions, func(v *version) bool { return v != nil && v.status.Deployment.NoWebSocketClose }) {
		lanes.OmitCloseFrames()
	}
}

// State says what a service does with its requests.
type State string

const (
	StateServing State = "serving" // they go to its targets
	StatePaused  State = "paused"  // they wait
	StateStopped State = "stopped" // they are answered 503
	StateFailed  State = "failed"  // it could not be restored; they are answered 503
	StateRemoved State = "removed" // it is no more, only its History is kept; in a Delta alone
)

// A Status is what is known of a service: what was asked for, which is what
// Commit gets and Restore takes, and under Live what is going on.
type Status struct {
	Service    string     `json:"service"`
	Generation uint64     `json:"generation"` // the number of the deploy that it serves; higher is newer, across all services
	State      State      `json:"state"`
	Deployment Deployment `json:"deployment"`
	Rollout    *Rollout   `json:"rollout,omitempty"`  // nil: there is none
	Pause      *Pause     `json:"pause,omitempty"`    // while State is StatePaused
	Stop       *Stop      `json:"stop,omitempty"`     // while State is StateStopped
	Error      string     `json:"error,omitempty"`    // why State is StateFailed
	Restores   uint64     `json:"restores,omitempty"` // the earlier generation whose Deployment this is again, since a newer one was taken back; 0: it is a new one
	Bake       *Baking    `json:"bake,omitempty"`     // nil: it does not bake
	Live       *Live      `json:"live,omitempty"`     // nil in what Commit gets; ignored by Restore

	// Switched is when the Deployment began to serve; zero: not known. The others are
	// in what Commit gets, and what Restore takes, alone: Figures has what was counted
	// of the Deployment, History has those before it, the latest first.
	Switched time.Time `json:"switched,omitzero"`
	Figures  *Figures  `json:"figures,omitempty"`
	History  []Past    `json:"history,omitempty"`
}

// Live is what goes on in a service at the moment of the call.
type Live struct {
	Since   time.Time      `json:"since"`             // when it got its Generation and State, or was restored
	Targets []TargetStatus `json:"targets"`           // Deployment's, then the Rollout's; none where State is StateFailed
	Held    int64          `json:"held"`              // requests that wait
	Main    BakeFigures    `json:"main"`              // of the requests to Deployment's targets that have ended within the last ten minutes
	Rollout *BakeFigures   `json:"rollout,omitempty"` // likewise of the Rollout's; nil: there is none
	Changes []Change       `json:"changes,omitempty"` // what is under way, the oldest first
}

// A Past is a deployment of a service that was switched to: its Service, Generation,
// Release, By and Targets; the generation that it Restores, if any; when it was
// Switched to, and when it Ended, which is zero while it serves; its End; its Figures;
// and, in what Commit gets alone, its Deployment.
type Past = history.Past

// End says how a deployment came to its end.
type End = history.End

const (
	EndReplaced  = history.Replaced  // a later one took its place
	EndTakenBack = history.TakenBack // the one before took its place again, because it failed
	EndRemoved   = history.Removed   // with its service
)

// Figures are of the requests to the targets of a deployment, which count as in Traffic,
// including those that ended during its drain: Requests, Errors and ErrorRate; and P50 and
// P99, of the requests since the Proxy was made. Served is how long it has served.
type Figures = history.Figures

// A Change is a phase of a deploy, or of another change of a service, that is
// still under way.
type Change struct {
	Kind       EventKind `json:"kind"`               // EventDeploying: targets, or certificates, are waited for; EventDraining: requests and streams are
	Generation uint64    `json:"generation"`         // of the deploy or removal that it belongs to, as in its events; 0: it was made by Follow
	Release    string    `json:"release,omitempty"`  // of the deploy
	By         string    `json:"by,omitempty"`       // likewise
	Since      time.Time `json:"since"`              // when it began
	Requests   int64     `json:"requests,omitempty"` // that are still waited for, streams aside
	Streams    int64     `json:"streams,omitempty"`  // likewise
}

// beginPhase records, for Live.Changes, that the change which e is about is in a phase of that
// kind, until end is called. lanes are those that it waits for.
func (p *Proxy) beginPhase(kind EventKind, e Event, lanes laneSet) (end func()) {
	c := Change{Kind: kind, Generation: e.Generation, Release: e.Release, By: e.By, Since: time.Now()}
	return p.changes.Begin(e.Service, c, lanes)
}

// changesUnderWay returns what goes on, by service, the oldest first.
func (p *Proxy) changesUnderWay() map[string][]Change {
	all := make(map[string][]Change)
	for _, l := range p.changes.Left() {
		all[l.Service] = append(all[l.Service], Change{Kind: EventDraining, Since: l.Since, Requests: l.Requests, Streams: l.Streams})
	}
	for _, ph := range p.changes.Phases() {
		c := ph.Change
		c.Requests, c.Streams = ph.Requests, ph.Streams
		all[ph.Service] = append(all[ph.Service], c)
	}
	return all
}

// served returns the version that serves, or nil where the service is not there.
func (p *Proxy) served(service string) *version { return p.router.routes.Load().Services()[service] }

// demanded returns the state that was asked for last. Where State is StateFailed, that
// is what it will be once the service can be restored.
func (s Status) demanded() State {
	switch {
	case s.Stop != nil:
		return StateStopped
	case s.Pause != nil:
		return StatePaused
	}
	return StateServing
}

// normalize returns s, which somebody else has kept, with its demanded State, and
// with the Pause or Stop that this has, complete.
func (s Status) normalize() Status {
	s = s.clone()
	s.Live = nil
	switch s.State {
	case StateFailed: // Pause and Stop say what it was before
	case StatePaused:
		s.Pause, s.Stop = cmp.Or(s.Pause, new(Pause)), nil
	case StateStopped:
		s.Pause, s.Stop = nil, cmp.Or(s.Stop, new(Stop))
	default:
		s.Pause, s.Stop = nil, nil
	}
	if s.Pause != nil {
		*s.Pause = s.Pause.normalize()
	}
	// What is too short was accepted once, so a restart must not fail for it.
	duration.Raise(&s.Deployment.Timeouts)
	duration.Raise(&s.Deployment.HealthCheck)
	if s.Rollout != nil {
		duration.Raise(&s.Rollout.Timeouts)
	}
	s.State = s.demanded()
	return s
}

// clone returns a Status that shares no memory with s but for Live.
func (s Status) clone() Status {
	live, history := s.Live, s.History
	s.Live, s.History = nil, nil
	s = deep.Copy(s)
	s.Live, s.History = live, slices.Clone(history) // nobody changes what is in one
	return s
}

// copyStatus returns the status of v as a Proxy may keep it, or nil if v is nil.
func (v *version) copyStatus() *Status {
	if v == nil {
		return nil
	}
	s := v.status.clone()
	return &s
}

// event returns an event of what s serves.
func (s *Status) event() Event {
	return Event{Service: s.Service, Generation: s.Generation, Release: s.Deployment.Release, By: s.Deployment.By}
}

// ofRollout returns the Deployment of s with the targets and the timeouts of its rollout.
func (s *Status) ofRollout() Deployment {
	d := deep.Copy(s.Deployment)
	d.Targets, d.ReadTargets = slices.Clone(s.Rollout.Targets), slices.Clone(s.Rollout.ReadTargets)
	d.Timeouts = s.Rollout.Timeouts.over(d.Timeouts)
	return d
}

// hasTargetsOf reports whether r, which may be nil, has the same targets as other.
func (r *Rollout) hasTargetsOf(other *Rollout) bool {
	return r != nil && slices.Equal(r.Targets, other.Targets) && slices.Equal(r.ReadTargets, other.ReadTargets)
}

// withoutOnce returns a copy of d without what it says of one deploy alone.
func (d Deployment) withoutOnce() Deployment {
	d = deep.Copy(d)
	d.Release, d.By, d.Force = "", "", false
	return d
}

// isSame reports whether d asks for what other does. Both are complete.
func (d *Deployment) isSame(other *Deployment) bool {
	a, errA := json.Marshal(d)
	b, errB := json.Marshal(other)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// present returns the status of v as it is now. changes has those under way, by service.
func (p *Proxy) present(v *version, changes map[string][]Change) Status {
	s := v.status
	s.Figures, s.History = nil, nil
	s = s.clone()
	s.Live = v.live(time.Since(p.began))
	s.Live.Changes = changes[s.Service]
	return s
}

// live returns the present state of v. at is the time since the Proxy was made.
func (v *version) live(at time.Duration) *Live {
	live := &Live{Since: v.since, Targets: make([]TargetStatus, 0, len(v.Lanes())), Held: v.waiting.Inside()}
	live.Main = BakeFigures(v.Main.Recent(at))
	add := func(g *group, rollout bool) {
		for i, t := range g.Targets() {
			s := statusOf(t, at)
			s.Requests, s.Streams = slices.Concat(v.Lanes(), v.Leaving).To([]*target{t}).Inside()
			s.Reads, s.Rollout = i >= len(g.Writers), rollout
			live.Targets = append(live.Targets, s)
		}
	}
	add(&v.Main, false)
	if v.Rollout != nil {
		add(v.Rollout, true)
		live.Rollout = new(BakeFigures(v.Rollout.Recent(at)))
	}
	return live
}

// errNoRollout is returned by what needs a rollout.
var errNoRollout = faultf(ErrInvalid, "the service has no rollout: deploy one first")

// parseRollout returns the spec of r as a rollout of v. Its wants are those of
// r.Deployment; without one, it has none.
func (p *Proxy) parseRollout(r Rollout, v *version) (*spec, error) {
	err := cmp.Or(checkDurations(r.Timeouts), checkTexts(r.Release, r.By))
	s := &spec{Deployment: r.promoted(v.status.Deployment, v.status.Service), targetTLS: v.targetTLS}
	switch {
	case err != nil:
	case r.Deployment == nil:
		s.targets, err = p.parseTargets(&s.Deployment)
	default:
		s.own, err = p.parse(r.promoted(*r.Deployment, v.status.Service))
		*s = spec{Deployment: s.own.Deployment, wants: s.own.wants, targets: s.own.targets, targetTLS: s.own.targetTLS, own: s.own}
	}
	if err == nil {
		s.split, err = r.Split.parse()
	}
	s.Timeouts = r.Timeouts.over(s.Timeouts)
	return s, err
}

// promotion returns what v, which has a rollout, is promoted to. Its certificate files are
// not read.
func (v *version) promotion() *spec {
	if v.rolloutSpec.own != nil {
		s := *v.rolloutSpec.own
		return &s
	}
	d := v.status.Rollout.promoted(v.status.Deployment, v.status.Service)
	return &spec{Deployment: d, wants: v.wants, targets: v.rolloutSpec.targets, targetTLS: v.targetTLS, rules: v.rules}
}

// promoted returns what r makes of a service that is deployed as d.
func (r *Rollout) promoted(d Deployment, service string) Deployment {
	d = d.withoutOnce()
	d.Service, d.Targets, d.ReadTargets = service, slices.Clone(r.Targets), slices.Clone(r.ReadTargets)
	d.Release, d.By = r.Release, r.By
	return d
}

// TargetKeepAlive says for how many requests a connection to a target is used. Each
// health check has a connection of its own in any case.
type TargetKeepAlive struct {
	// Off has a connection for each request, which says Connection: close.
	Off bool `json:"off,omitempty"`

	// Requests is after how many requests a connection is closed. One that was
	// sent again on another connection counts for both; an upgrade is one. If 0,
	// there is no limit.
	Requests int `json:"requests,omitempty"`
}

// checkNoLoop returns ErrInvalid if one of the targets is the Proxy itself. It
// cannot tell if Options.Dial looks names up, or if addresses are translated on
// the way.
func (p *Proxy) checkNoLoop(ctx context.Context, targets []endpoint.Target) error {
	return invalid(p.backends.CheckNoLoop(ctx, targets))
}

// A version is what one service serves from one publication to the next. What
// requests read of it never changes.
type version struct {
	wants          // what it has, which no other service can have
	targets.Lineup // what its requests are sent to; Leaving is set by SetPredecessor

	status       Status           // as Commit gets it
	certificates *certificate.Set // of the certificates of its hosts; nil if the service failed
	rules        *rules.Rules     // what its Deployment says of each request; empty if the service failed
	targetTLS    targetTLS        // of its targets, and of a rollout's that has no Deployment
	rolloutSpec  *spec            // of its rollout; nil: there is none
	hop          []string         // one element, by which its requests are known if they come back; nil if the service failed
	fallback     *version         // what is returned to if the version turns out to be worse; nil: it does not bake
	bakeClock    *trial.Clock     // of the bake, over all its versions
	split        *split.Split     // who goes to the rollout; nil: nobody

	replaced chan struct{} // closed when a newer version is published
	resumed  chan struct{} // closed when a version that is not halted has taken the place of one that is, or the Proxy is closed

	settling waiting.Settling // in which requests wait for the first probes; over where they never do: after a deploy
	waiting  *waiting.Room    // the requests that wait, over all versions of the service

	since time.Time // when the first version of this generation, in this state, was published
}

// newVersion returns a version that is not published yet, and does nothing but
// pass requests on to the targets of main.
func newVersion(status Status, w wants, main group) *version {
	return &version{
		status:   status,
		wants:    w,
		Lineup:   targets.Lineup{Main: main},
		rules:    new(rules.Rules),
		replaced: make(chan struct{}),
		resumed:  make(chan struct{}),
		waiting:  new(waiting.Room),
		since:    time.Now(),
	}
}

// start makes a version of s that is not published yet, begins to obtain its
// certificates and to probe its targets. isAwaited is as in newGroup; as long as
// somebody waits, every probe is an event.
func (p *Proxy) start(status Status, s *spec, isAwaited bool) (*version, *monitor) {
	main, m := p.newGroup(status.Service, status.Generation, s, isAwaited)
	if current := p.served(status.Service); current != nil {
		main.Inherit(&current.Main)
	}
	v := p.newVersion(status, s, main)
	targets.StartProbes(v.Targets())
	return v, m
}

// newVersion returns a version of s with the targets of main, and begins to obtain its
// certificates.
func (p *Proxy) newVersion(status Status, s *spec, main group) *version {
	v := newVersion(status, s.wants, main)
	v.rules, v.targetTLS = s.rules, s.targetTLS
	v.hop = forward.HopOf(p.hop, status.Service)
	v.certificates = p.certificates.acquire(s, v.ask)
	return v
}

// restore returns the version that serves what status says, with an error if it lacks its
// certificate or its rollout; or one that has failed, with the reason; or none for a name
// that is not valid, or is among others, which were restored before. owners has what
// those want.
func (p *Proxy) restore(status Status, others map[string]*version, owners routing.Owners) (*version, error) {
	before := status.Error
	status = status.normalize()
	status.Error = ""
	if err := checkServiceName(status.Service); err != nil {
		return nil, err
	}
	if others[status.Service] != nil {
		return nil, faultf(ErrConflict, "the service is there twice")
	}
	s, err := p.parseWithoutFiles(status.Deployment)
	if err != nil && before != "" {
		err = faultf(ErrInvalid, "%s", before) // which says why it failed at first
	}
	if err == nil && s.Service != status.Service {
		err = faultf(ErrInvalid, "the deployment is of service %s", s.Service)
	}
	own, conflict := owners.Free(status.Service, s.wants)
	if err == nil {
		err = conflictError(conflict)
	}
	s.Claims = own
	if err == nil {
		err = p.readFiles(s)
	}
	if err != nil {
		status.State, status.Error = StateFailed, err.Error()
		return newVersion(status, wants{Claims: own}, group{}), err // its hosts have no policy
	}
	missing := s.openPair()
	status.Deployment = s.Deployment
	baking := status.Bake
	status.Bake = nil
	v, m := p.start(status, s, false)
	if baking != nil {
		p.restoreFallback(v, *baking)
	}
	v.settling = waiting.Settle(m.Settled(), time.Second)
	if status.Rollout == nil {
		return v, missing
	}
	v, err = p.restoreRollout(v, *status.Rollout, nil)
	return v, verbose.Join(missing, err)
}

// restoreRollout returns v with r, whose targets are those of second or, if that is nil,
// new ones. Together with an error it returns v without a rollout.
func (p *Proxy) restoreRollout(v *version, r Rollout, second *group) (*version, error) {
	s, err := p.parseRollout(r, v)
	if err != nil {
		return v.withoutRollout(), fmt.Errorf("the service serves without its rollout to %s: %w", strings.Join(r.Targets, ", "), err)
	}
	if second == nil {
		rollout, _ := p.newGroup(v.status.Service, v.status.Generation, s, false)
		targets.StartProbes(rollout.Targets())
		second = &rollout
	}
	return v.withRollout(r, s, second), nil
}

// followed returns the version that follows current now that another Proxy has made the
// service what s says. It keeps the targets that the other one has kept. An error comes with
// the version that restore returns with one.
func (p *Proxy) followed(current *version, s Status) (*version, error) {
	s = s.normalize()
	r := s.Rollout
	s.Rollout = nil
	var v *version
	if current != nil && current.status.Generation == s.Generation && current.status.State != StateFailed {
		if v = current.withStatus(s); s.Bake == nil {
			v.fallback, v.bakeClock = nil, nil
		}
		if v.IsHalted() {
			v = v.withNewGates(s)
		}
	} else {
		var err error
		if v, err = p.restore(s, nil, nil); v == nil {
			return nil, err
		}
		if current != nil {
			v.waiting = current.waiting
		}
		if err != nil {
			return v, err
		}
		if current != nil {
			v.Rollout = current.Rollout
			v.Main.Inherit(&current.Main)
		}
	}
	second := v.Rollout
	v.Rollout, v.rolloutSpec, v.split = nil, nil, nil
	if r == nil {
		return v, nil
	}
	if second != nil && !current.status.Rollout.hasTargetsOf(r) {
		second = nil
	}
	return p.restoreRollout(v, *r, second)
}

// become is followed for Mirror: the other Proxy has targets of its own, and may have given
// the same generation to another deploy. So become keeps the targets that it can.
func (p *Proxy) become(current *version, s Status) (*version, error) {
	if current == nil || current.status.State == StateFailed {
		return p.followed(current, s)
	}
	returnsTo, baking := cmp.Or(current.fallback, current), s.Bake
	switch {
	case current.status.Generation == s.Generation && current.status.Deployment.isSame(&s.Deployment):
		return p.followed(current, s)
	case current.fallback != nil && s.Restores == current.fallback.status.Generation:
		if v, err := current.fallback.restoredAfter(current, s.Generation); err == nil {
			return p.followed(v, s)
		}
		returnsTo = nil
	case s.Rollout == nil && current.status.Rollout.hasTargetsOf(&Rollout{Targets: s.Deployment.Targets, ReadTargets: s.Deployment.ReadTargets}):
		if promoted, err := p.parse(s.Deployment); err == nil {
			v := p.newVersion(s.normalize(), promoted, *current.Rollout) // where requests go on
			v.waiting = current.waiting
			return v, nil
		}
		returnsTo = nil
	case baking != nil && baking.Generation == returnsTo.status.Generation: // which stays warm
		s.Bake = nil
	default:
		returnsTo = nil
	}
	previous := *current
	previous.status.Generation = 0 // two proxies may have given the same one
	v, err := p.followed(&previous, s)
	if err == nil && returnsTo != nil {
		v.status.Bake, v.fallback, v.bakeClock = baking, returnsTo, trial.NewClock(v.status.Deployment.Bake.For)
	}
	return v, err
}

// inherit gives v, which a deploy is about to publish in place of current, what a deploy
// leaves as it is: the rollout, a pause or stop, and the room of those who wait.
func (v *version) inherit(current *version) error {
	if current == nil {
		return nil
	}
	if err := current.accepts(&v.status.Deployment); err != nil {
		return err
	}
	v.waiting = current.waiting
	s, c := &v.status, current.status
	if current.Rollout != nil { // else it could not be restored
		v.Rollout, v.rolloutSpec, v.split, s.Rollout = current.Rollout, current.rolloutSpec, current.split, c.Rollout
	}
	s.Pause, s.Stop = c.Pause, c.Stop
	s.State = s.demanded()
	return nil
}

// restoredAfter returns the version that serves what v served, in place of current,
// as a generation of its own. What has been changed since then, but for the
// deployment, stays as it is in current.
func (v *version) restoredAfter(current *version, generation uint64) (*version, error) {
	s := current.status
	s.Generation, s.Restores, s.Deployment, s.Bake = generation, v.status.Generation, v.status.Deployment, nil
	next := v.withStatus(s)
	next.Main = v.Main.WithNewGates()
	next.Rollout, next.rolloutSpec, next.split, next.waiting = current.Rollout, current.rolloutSpec, current.split, current.waiting
	return next, current.accepts(&s.Deployment)
}

// accepts returns nil if d may take the place of v, which may be nil, or else why it
// may not: v's rollout goes on, and must be possible as a rollout of d, too.
func (v *version) accepts(d *Deployment) error {
	if v == nil || v.rolloutSpec == nil {
		return nil
	}
	if err := d.checkTargets(v.rolloutSpec.targets); err != nil {
		return faultf(ErrInvalid, "the rollout to %s goes on, but not with this deployment: %v; end the rollout first, or deploy what it can be part of",
			strings.Join(v.status.Rollout.Targets, ", "), err)
	}
	return nil
}

// checkTargets returns why d cannot be deployed with other targets than its own, or with
// its own, if it cannot: they have to be probed, and verified, as it says.
func (d *Deployment) checkTargets(all []endpoint.Target) error {
	return endpoint.Check(all, d.HealthCheck.GRPC, d.HealthCheck.Port, d.TargetTLS != (TargetTLS{}))
}

// checkChangeable returns why v cannot be changed otherwise than by a deploy: it is nil,
// or the service could not be restored.
func (v *version) checkChangeable() error {
	switch {
	case v == nil:
		return ErrNotFound
	case v.status.State == StateFailed:
		return faultf(ErrInvalid, "the service could not be restored: %s; deploy it first", v.status.Error)
	}
	return nil
}

// withStatus returns the next version of the service, with the same lanes.
func (v *version) withStatus(status Status) *version {
	next := *v
	next.status, next.replaced, next.resumed = status, make(chan struct{}), make(chan struct{})
	return &next
}

// withRollout returns the next version with r, of which s was made, as its rollout, whose
// targets are in second. A split that r leaves open is as it was.
func (v *version) withRollout(r Rollout, s *spec, second *group) *version {
	who := s.split
	if v.status.Rollout != nil {
		r.Split = r.Split.over(v.status.Rollout.Split)
		who, _ = r.Split.parse() // both are valid
	}
	if v.Rollout != nil {
		second.Inherit(v.Rollout)
	}
	next := v.withSplit(r, who)
	next.Rollout, next.rolloutSpec = second, s
	return next
}

// withSplit returns the next version with r, which has another Split: by that, who goes to
// the rollout.
func (v *version) withSplit(r Rollout, who *split.Split) *version {
	status := v.status
	status.Rollout = &r
	next := v.withStatus(status)
	next.split = who
	return next
}

// withoutRollout returns the next version without a rollout.
func (v *version) withoutRollout() *version {
	status := v.status
	status.Rollout = nil
	next := v.withStatus(status)
	next.Rollout, next.rolloutSpec, next.split = nil, nil, nil
	return next
}

// withNewGates returns the next version, with the same targets but gates of its
// own.
func (v *version) withNewGates(status Status) *version {
	next := v.withStatus(status)
	next.Lineup = v.WithNewGates()
	return next
}

// SetPredecessor implements registry.Version: previous is nil where v is the first.
func (v *version) SetPredecessor(previous *version) {
	v.keepBake()
	if previous == nil || v.status.Generation != previous.status.Generation || v.status.State != previous.status.State {
		v.since = time.Now()
	}
	if previous == nil {
		return
	}
	v.Leaving = previous.LeftBehind(&v.Lineup)
	if v.IsHalted() && previous.IsHalted() {
		v.resumed = previous.resumed
	}
}

// announceReplaced wakes the requests and changes that wait for v to be replaced by
// next, which is nil if the service was removed.
func (v *version) announceReplaced(next *version) {
	close(v.replaced)
	if v.IsHalted() && next != nil && !next.IsHalted() {
		close(v.resumed)
	}
}

// leftover returns what v has and next has not: all of v where next is nil.
func (v *version) leftover(next *version) *targets.Leftover {
	all := &targets.Leftover{Gone: v.allTargets(), Lanes: v.Undrained(), Certificates: v.allCertificates()}
	if next == nil {
		return all
	}
	return all.Without(&next.Lineup, &targets.Leftover{Gone: next.allTargets(), Certificates: next.allCertificates()})
}

// IsHalted implements trial.Version: requests are not sent on if somebody has paused or
// stopped the service.
func (v *version) IsHalted() bool {
	return v.status.State == StatePaused || v.status.State == StateStopped
}

// Since implements trial.Version.
func (v *version) Since() time.Time { return v.since }

// Fallback implements trial.Version.
func (v *version) Fallback() *version { return v.fallback }

// close cuts off what goes on in v and lets go of what it has.
func (v *version) close() { v.leftover(nil).Close() }

// allTargets returns v's targets, and those that it may return to.
func (v *version) allTargets() []*target {
	if v.fallback == nil {
		return v.Targets()
	}
	return slices.Concat(v.Targets(), v.fallback.Main.Targets())
}

// Number implements registry.Version.
func (v *version) Number() uint64 { return v.status.Generation }

// Kept implements registry.Version: it returns the status with what was counted until now.
func (v *version) Kept() Status {
	s := v.status.clone()
	if f := cmp.Or(s.Figures, new(Figures)).Plus(v.Main.Served()); f.Requests > 0 {
		s.Figures = &f
	}
	return s
}

// Past implements registry.Version.
func (v *version) Past() Past {
	s := &v.status
	return Past{
		Service: s.Service, Generation: s.Generation, Release: s.Deployment.Release, By: s.Deployment.By, Restores: s.Restores,
		Targets:  slices.Concat(s.Deployment.Targets, s.Deployment.ReadTargets),
		Switched: s.Switched, Figures: *cmp.Or(s.Figures, new(Figures)), Counted: v.Main.Served(),
	}
}

// Deployed implements registry.Version.
func (v *version) Deployed() json.RawMessage {
	d, _ := json.Marshal(v.status.Deployment) // it came as JSON, or could have
	return d
}

// Earlier implements registry.Version.
func (v *version) Earlier() []Past { return v.status.History }

// Begin implements registry.Version.
func (v *version) Begin(switched time.Time, earlier []Past) {
	if v.status.Restores != 0 {
		v.Main.CountAnew() // the targets have served before
	}
	v.status.Switched, v.status.History = switched, earlier
}
