package page

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute"
)

// A Recorder keeps what the page shows of the last hour, in memory of fixed size: for
// each service at most about 64 KiB. Its Observe and Notify are for
// parachute.Options, so it is created before the Proxy.
type Recorder struct {
	services atomic.Pointer[map[string]*service] // by name; never changed, but replaced

	mu     sync.Mutex // held while services is replaced; guards the fields below and those of services
	events []Event    // the last maxEvents, the oldest first
	began  time.Time  // when the step began that has not ended
}

const (
	maxEvents  = 500
	maxMarks   = 60
	maxTargets = 6 // of a service, that have a series of their own
)

// An Event is an event of the Proxy in words.
type Event struct {
	Time       time.Time
	Service    string
	Generation uint64
	Kind       parachute.EventKind
	Target     string
	Host       string
	Text       string // what is known besides, without a word of any app
	Details    string // what an app, or a peer, said; "": nothing
}

// A mark is something in a chart that may explain what comes after it.
type mark struct {
	time time.Time
	kind parachute.EventKind
	text string
}

// A service is what is kept of one.
type service struct {
	targets atomic.Pointer[map[targetKey]*target] // never changed, but replaced

	// The Recorder's mu guards these.
	total series
	roles map[string]*series
	marks []mark
	last  Event // the last deploy that failed or was taken back, if none has switched since

	restores bool // the next switch is to what was before last
}

// A targetKey tells targets of a service apart. The zero targetKey is for requests
// that no target had, and for those of targets that have no place of their own.
type targetKey struct {
	address     string
	reads, roll bool
}

func (k targetKey) role() string {
	switch {
	case k.address == "":
		return ""
	case k.roll && k.reads:
		return "rollout_read"
	case k.roll:
		return "rollout_write"
	case k.reads:
		return "read"
	}
	return "write"
}

type target struct {
	now counters

	series     // guarded by the Recorder's mu
	idle   int // how many steps ago it was last seen
}

// NewRecorder returns a Recorder that has seen nothing.
func NewRecorder() *Recorder {
	r := &Recorder{began: time.Now()}
	r.services.Store(&map[string]*service{})
	return r
}

// Observe counts a request. It takes no lock, and does not keep its arguments.
func (r *Recorder) Observe(_ *http.Request, o parachute.Outcome) {
	s := (*r.services.Load())[o.Service]
	if s == nil {
		return // nobody's, or of a service that has been removed
	}
	key := targetKey{o.Target, o.Reads, o.Rollout}
	targets := *s.targets.Load()
	t := targets[key]
	if t == nil {
		t = targets[targetKey{}]
	}
	t.now.add(&o)
}

// Notify keeps an event, but for probes while a deploy waits, and for how far a drain or
// a bake has come.
func (r *Recorder) Notify(e parachute.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Service != "" {
		r.notifyLocked(e)
	}
	switch e.Kind {
	case parachute.EventProbed:
		return
	case parachute.EventDraining, parachute.EventBaking:
		if e.Elapsed > 0 { // how far it has come
			return
		}
	}
	if len(r.events) == maxEvents {
		r.events = append(r.events[:0], r.events[1:]...)
	}
	r.events = append(r.events, describe(e))
}

func (r *Recorder) notifyLocked(e parachute.Event) {
	if e.Kind == parachute.EventRemoved {
		next := maps.Clone(*r.services.Load())
		delete(next, e.Service)
		r.services.Store(&next)
		return
	}
	s := r.serviceLocked(e.Service)
	switch e.Kind {
	case parachute.EventFailed, parachute.EventTakenBack:
		s.last, s.restores = describe(e), e.Kind == parachute.EventTakenBack && e.Restores != 0
	case parachute.EventSwitched:
		if !s.restores {
			s.last = Event{}
		}
		s.restores = false
		for _, address := range e.Targets {
			s.addLocked(targetKey{address: address})
		}
	}
	switch e.Kind {
	case parachute.EventSwitched, parachute.EventFailed, parachute.EventTakenBack, parachute.EventPaused, parachute.EventStopped,
		parachute.EventResumed, parachute.EventSplit, parachute.EventRolloutEnded:
		if len(s.marks) == maxMarks {
			s.marks = append(s.marks[:0], s.marks[1:]...)
		}
		s.marks = append(s.marks, mark{e.Time, e.Kind, describe(e).Text})
	}
}

// serviceLocked returns what is kept of a service, which is added if it is new.
func (r *Recorder) serviceLocked(name string) *service {
	known := *r.services.Load()
	if s := known[name]; s != nil {
		return s
	}
	next := maps.Clone(known)
	next[name] = newService()
	r.services.Store(&next)
	return next[name]
}

func newService() *service {
	s := &service{}
	s.targets.Store(&map[targetKey]*target{{}: new(target)})
	return s
}

// addLocked adds a target, if there is a place left for it.
func (s *service) addLocked(k targetKey) *target {
	known := *s.targets.Load()
	if t := known[k]; t != nil || len(known) > maxTargets {
		return t
	}
	next := maps.Clone(known)
	next[k] = new(target)
	s.targets.Store(&next)
	return next[k]
}

// Run ends a step of the charts every 15 seconds, until ctx ends. services is
// the Proxy's Services.
func (r *Recorder) Run(ctx context.Context, services func() []parachute.Status) {
	r.see(services())
	ticker := time.NewTicker(stepTime)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.end(services())
		}
	}
}

// see adds what is new of the services.
func (r *Recorder) see(services []parachute.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seeLocked(services)
}

// seeLocked is see. However many services are new, their map is replaced once.
func (r *Recorder) seeLocked(services []parachute.Status) {
	known := *r.services.Load()
	next := known
	for _, status := range services {
		s := next[status.Service]
		if s == nil {
			if len(next) == len(known) {
				next = maps.Clone(known)
			}
			s = newService()
			next[status.Service] = s
		}
		for _, t := range liveTargets(status) {
			s.addLocked(keyOf(t))
		}
	}
	if len(next) > len(known) {
		r.services.Store(&next)
	}
}

func liveTargets(s parachute.Status) []parachute.TargetStatus {
	if s.Live == nil {
		return nil
	}
	return s.Live.Targets
}

func keyOf(t parachute.TargetStatus) targetKey { return targetKey{t.Address, t.Reads, t.Rollout} }

// end ends the present step.
func (r *Recorder) end(services []parachute.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seeLocked(services)
	r.began = time.Now()
	byName := make(map[string]*parachute.Status, len(services))
	for i := range services {
		byName[services[i].Service] = &services[i]
	}
	known := *r.services.Load()
	left := make(map[string]*service, len(known))
	for name, s := range known {
		status := byName[name]
		if status != nil {
			s.endLocked(status)
		}
		if status != nil || s.last.Kind != "" { // its first deploy has failed
			left[name] = s
		}
	}
	if len(left) < len(known) {
		r.services.Store(&left)
	}
}

// endLocked ends the present step of a service.
func (s *service) endLocked(status *parachute.Status) {
	inFlight := make(map[targetKey]int64)
	for _, t := range liveTargets(*status) {
		inFlight[keyOf(t)] += t.Requests + t.Streams
	}
	var all counts
	var running int64
	roles, ofRole := make(map[string]*counts), make(map[string]int64)
	targets := *s.targets.Load()
	for k, t := range targets {
		n := t.now.take()
		all.add(&n)
		running += inFlight[k]
		role := k.role()
		if roles[role] == nil {
			roles[role] = new(counts)
		}
		roles[role].add(&n)
		ofRole[role] += inFlight[k]
		t.idle++
		if _, is := inFlight[k]; is || n.requests() > 0 || k == (targetKey{}) {
			t.idle = 0
		}
		if len(targets) > 2 { // else it is all there is
			t.end(&n, inFlight[k])
		}
	}
	s.total.end(&all, running)
	delete(roles, "")
	if len(roles) < 2 {
		roles = nil
	}
	for role, n := range roles {
		if s.roles == nil {
			s.roles = make(map[string]*series)
		}
		if s.roles[role] == nil {
			s.roles[role] = new(series)
		}
		s.roles[role].end(n, ofRole[role])
	}
	s.forgetLocked()
}

// forgetLocked forgets the targets that nothing has been seen of for long: a
// quarter of an hour, or a minute where others wait for the place.
func (s *service) forgetLocked() {
	known := *s.targets.Load()
	limit := steps / 4
	if len(known) > maxTargets {
		limit = recent
	}
	next := maps.Clone(known)
	maps.DeleteFunc(next, func(_ targetKey, t *target) bool { return t.idle > limit })
	if len(next) < len(known) {
		s.targets.Store(&next)
	}
}

// Figures are how a service, or a part of one, has been for about a minute.
type Figures struct {
	Rate     float64 // requests per second
	Errors   float64 // share of them
	P50, P99 time.Duration
	Requests uint32
}

// figures returns those of a series and of what the present step has counted in so
// many seconds.
func (s *series) figures(now *counts, running time.Duration) Figures {
	n := *now
	took := running
	for i := range min(recent, len(s.ring)) {
		n.add(&s.recent[i])
		took += stepTime
	}
	f := Figures{Requests: n.requests(), P50: n.quantile(0.5), P99: n.quantile(0.99)}
	if f.Requests > 0 {
		f.Rate = float64(f.Requests) / max(took.Seconds(), 1)
		f.Errors = float64(n.errors) / float64(f.Requests)
	}
	return f
}

// A recording is what is kept of a service, for whoever shows it.
type recording struct {
	now     Figures
	steps   []step
	roles   map[string][]step
	targets map[targetKey][]step
	marks   []mark
	failed  Event
}

// recording returns what is kept of a service. With details it has roles and targets.
func (r *Recorder) recording(name string, details bool) recording {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := (*r.services.Load())[name]
	if s == nil {
		return recording{}
	}
	var now counts
	targets := *s.targets.Load()
	for _, t := range targets {
		n := t.now.read()
		now.add(&n)
	}
	rec := recording{
		now:    s.total.figures(&now, time.Since(r.began)),
		steps:  s.total.all(),
		marks:  slices.Clone(s.marks),
		failed: s.last,
	}
	if !details {
		return rec
	}
	rec.roles, rec.targets = make(map[string][]step), make(map[targetKey][]step)
	for role, s := range s.roles {
		rec.roles[role] = s.all()
	}
	for k, t := range targets {
		if k.address != "" && len(t.ring) > 0 {
			rec.targets[k] = t.all()
		}
	}
	return rec
}

// lastEvents returns the events that keep wants, the newest first.
func (r *Recorder) lastEvents(keep func(Event) bool) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var events []Event
	for _, e := range slices.Backward(r.events) {
		if keep(e) {
			events = append(events, e)
		}
	}
	return events
}
