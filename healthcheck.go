package parachute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/advice"
	"github.com/shahnk19/parachute/internal/backend"
	"github.com/shahnk19/parachute/internal/bake"
	"github.com/shahnk19/parachute/internal/deep"
	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/health"
	"github.com/shahnk19/parachute/internal/healthcheck"
	"github.com/shahnk19/parachute/internal/interrupted"
	"github.com/shahnk19/parachute/internal/targets"
	"github.com/shahnk19/parachute/internal/trial"
	"github.com/shahnk19/parachute/internal/verbose"
	"github.com/shahnk19/parachute/internal/wire"
)

// A HealthCheck says how targets are probed. A probe is a GET, or a gRPC call,
// on a connection of its own. It follows no redirect, and passes as Status says.
// Where the service asks for TLS, a probe has X-Forwarded-Proto: https, as most
// requests will.
//
// Once a target is healthy, all services of the Proxy that would send it the
// same probe at the same interval share one. Each counts by its own Rise and
// Fall. Where the target has a name, only services with the same Fall share
// probes.
type HealthCheck struct {
	// Path is the request target of a probe; if empty, "/up".
	Path string `json:"path,omitempty"`

	// Port is the port to probe; if 0, the target's own.
	Port int `json:"port,omitempty"`

	// Host is sent as the Host header; if empty, the target's address, or
	// localhost for a unix socket and a handler.
	Host string `json:"host,omitempty"`

	// Interval is the pause between probes, and the longest pause while a
	// deploy waits, which begins with shorter ones. If 0, 1 s.
	Interval time.Duration `json:"interval,omitzero"`

	// Timeout bounds a probe from dialling to the head of its answer, or to the end
	// of a gRPC answer. Of a body no more is read than comes within 100 ms. If 0, 5 s.
	Timeout time.Duration `json:"timeout,omitzero"`

	// Headers are sent with a probe, "NAME: VALUE" each.
	Headers []string `json:"headers,omitempty"`

	// Status is what passes: a status, or a range such as "200-399". If empty,
	// "200-299".
	Status string `json:"status,omitempty"`

	// Rise is how many probes in a row must pass to make a target healthy,
	// Fall how many must fail to make it unhealthy. If 0, 1.
	Rise int `json:"rise,omitempty"`
	Fall int `json:"fall,omitempty"`

	// GRPC makes a probe a call of grpc.health.v1.Health/Check, which passes if
	// the answer is SERVING. Targets must then be h2c:// or https:// ones, and
	// Path and Status be empty. GRPCService is the service whose health is asked
	// for; if empty, that of the server as a whole.
	GRPC        bool   `json:"grpc,omitempty"`
	GRPCService string `json:"grpc_service,omitempty"`
}

func (h HealthCheck) MarshalJSON() ([]byte, error)  { return wire.Marshal(h) }
func (h *HealthCheck) UnmarshalJSON(b []byte) error { return wire.UnmarshalStrict(b, h) }

// normalize returns h complete, or ErrInvalid.
func (h HealthCheck) normalize() (HealthCheck, error) {
	if err := checkDurations(h); err != nil {
		return h, err
	}
	s, err := healthcheck.Settings(h).Normalize()
	if err != nil {
		return h, invalid(err)
	}
	return HealthCheck(s), nil
}

// Health is what the probes of a target have shown.
type Health string

const (
	HealthUnknown   Health = "unknown" // no probe has ended yet
	HealthHealthy   Health = "healthy"
	HealthUnhealthy Health = "unhealthy"
)

// A Probe is what one health check saw.
type Probe struct {
	Time     time.Time     `json:"time"`               // when it began
	Took     time.Duration `json:"took"`               // until its answer, or until it was given up
	URL      string        `json:"url"`                // what was asked
	Host     string        `json:"host"`               // the Host header that was sent
	Status   int           `json:"status,omitempty"`   // of the answer; 0: there was none
	GRPC     string        `json:"grpc,omitempty"`     // what a gRPC server answered: SERVING or another health, or the code and the message of an error
	Location string        `json:"location,omitempty"` // of the answer
	Body     string        `json:"body,omitempty"`     // the first 200 bytes of the answer's
	Error    string        `json:"error,omitempty"`    // why there was no answer
	Cause    Cause         `json:"cause,omitempty"`    // why it did not pass; empty: it did
	Passed   bool          `json:"passed"`
}

func (p Probe) MarshalJSON() ([]byte, error)  { return wire.Marshal(p) }
func (p *Probe) UnmarshalJSON(b []byte) error { return wire.Unmarshal(b, p) }

// A Cause is the reason why a probe did not pass, as far as it calls for a
// remedy of its own.
type Cause string

const (
	CauseRefused      Cause = "refused"      // nothing listens at the target's address
	CauseUnknownHost  Cause = "unknown_host" // the target's name has no address
	CauseUnreachable  Cause = "unreachable"  // no connection could be made, for another reason
	CauseTimeout      Cause = "timeout"      // there was no answer within HealthCheck.Timeout
	CauseNoAnswer     Cause = "no_answer"    // the connection was closed before there was one
	CauseSpeaksTLS    Cause = "speaks_tls"   // it expects TLS, and the probe did not use it
	CauseSpeaksPlain  Cause = "speaks_plain" // it does not speak TLS, and the probe used it
	CauseHandshake    Cause = "handshake"    // it speaks TLS, but the handshake failed, for another reason than its certificate
	CauseCertificate  Cause = "certificate"  // its certificate is not one that TargetTLS accepts
	CauseMalformed    Cause = "malformed"    // its answer is not HTTP
	CauseRedirect     Cause = "redirect"     // it answered 3xx with a Location
	CauseUnauthorized Cause = "unauthorized" // 401
	CauseForbidden    Cause = "forbidden"    // 403
	CauseNotFound     Cause = "not_found"    // 404
	CauseServerError  Cause = "server_error" // 500 to 599
	CauseStatus       Cause = "status"       // another status that does not pass
	CauseShortage     Cause = "shortage"     // no probe was sent, for the proxy may open no more connections: it says nothing about the target

	CauseNotGRPC        Cause = "not_grpc"        // it does not speak HTTP/2, or its answer is not gRPC
	CauseNotServing     Cause = "not_serving"     // its health is something other than SERVING
	CauseNoHealth       Cause = "no_health"       // the server has no grpc.health.v1.Health
	CauseUnknownService Cause = "unknown_service" // the server knows no HealthCheck.GRPCService
)

// String returns what the target answered, as the end of a sentence: "GET /up
// answered 301 to https://app1.example.com/up".
func (p Probe) String() string { return p.told().String() }

// told returns p as package advice takes it.
func (p *Probe) told() *advice.Probe {
	return &advice.Probe{URL: p.URL, Host: p.Host, Status: p.Status, GRPC: p.GRPC, Location: p.Location,
		Body: p.Body, Error: p.Error, Cause: string(p.Cause), Passed: p.Passed}
}

// probeOf returns what r says, or nil if r is.
func probeOf(r *backend.Result) *Probe {
	if r == nil {
		return nil
	}
	return &Probe{Time: r.Began, Took: r.Took, URL: r.URL(), Host: r.Host(), Status: r.Status, GRPC: r.GRPC,
		Location: r.Location, Body: r.Body, Error: r.Error, Cause: Cause(r.Cause), Passed: r.Passed}
}

// awaitHealthy waits until all targets are healthy at once. It returns an
// *UnhealthyError when d's Timeouts.Deploy has passed, and an error that wraps one when
// ctx ends, unless another change or the end of the Proxy ends it.
func awaitHealthy(ctx context.Context, m *monitor, all []*target, d *Deployment) error {
	err := m.AwaitHealthy(ctx, all, d.Timeouts.Deploy)
	if err == nil {
		return nil
	}
	missing := unhealthy(all, d)
	switch {
	case err != health.ErrTimeout:
		missing.Waited = time.Since(m.Began()).Round(time.Millisecond)
		return interrupted.Error(ctx, missing, ErrSuperseded, ErrClosed)
	case len(missing.Targets) == 0:
		return nil // the last target has become healthy just now
	}
	return missing
}

// await returns nil when v has what its Deployment wants it to have before it
// serves, all within Timeouts.Deploy.
func (p *Proxy) await(ctx context.Context, v *version, m *monitor) error {
	d := &v.status.Deployment
	p.options.Propose(ctx, deep.Copy(*d), v.status.Generation, false)
	if !d.Force {
		if err := awaitHealthy(ctx, m, v.Targets(), d); err != nil {
			return err
		}
	}
	if err := interrupted.Within(ctx, m.Began(), d.Timeouts.Deploy, v.awaitCertificates, ErrSuperseded, ErrClosed); err != nil {
		return err
	}
	return p.agreeHealthy(ctx, d, v.status.Generation, v.Targets(), m)
}

// agree asks Options.Agree whether d may serve, until Timeouts.Deploy has passed since began.
func (p *Proxy) agree(ctx context.Context, d *Deployment, generation uint64, began time.Time) error {
	if p.options.Agree == nil {
		return nil
	}
	return interrupted.Within(ctx, began, d.Timeouts.Deploy, func(ctx context.Context) error {
		return p.options.Agree(ctx, deep.Copy(*d), generation)
	}, ErrSuperseded, ErrClosed)
}

// agreeHealthy is agree for d, all of whose targets are healthy, and have to be then.
func (p *Proxy) agreeHealthy(ctx context.Context, d *Deployment, generation uint64, all []*target, m *monitor) error {
	err := p.agree(ctx, d, generation, m.Began())
	if err == nil && p.options.Agree != nil && !d.Force && !targets.AllHealthy(all) { // by now
		return awaitHealthy(ctx, m, all, d)
	}
	return err
}

// unhealthy returns an error with the addresses of d that are not healthy, each once.
func unhealthy(all []*target, d *Deployment) *UnhealthyError {
	err := &UnhealthyError{Waited: d.Timeouts.Deploy}
	if i := slices.IndexFunc(d.Hosts, func(host string) bool { return !strings.HasPrefix(host, "*.") }); i >= 0 {
		err.Host = d.Hosts[i]
	}
	for _, t := range all {
		isTold := slices.ContainsFunc(err.Targets, func(o UnhealthyTarget) bool { return o.Address == t.Address })
		if now := t.Health.Snapshot(); !t.Health.Passes() && !isTold {
			err.Targets = append(err.Targets, UnhealthyTarget{Address: t.Address, Probes: now.Probes, Last: probeOf(now.Last)})
		}
	}
	return err
}

// An UnhealthyError holds what each target answered that did not become healthy in
// time. It wraps ErrUnhealthy.
type UnhealthyError struct {
	Waited  time.Duration     `json:"waited"`
	Host    string            `json:"host,omitempty"` // the first host of the service that is no wildcard; empty: there is none
	Targets []UnhealthyTarget `json:"targets"`
}

func (e UnhealthyError) MarshalJSON() ([]byte, error)  { return wire.Marshal(e) }
func (e *UnhealthyError) UnmarshalJSON(b []byte) error { return wire.Unmarshal(b, e) }

// An UnhealthyTarget is a target of an UnhealthyError.
type UnhealthyTarget struct {
	Address string `json:"address"`
	Probes  int    `json:"probes"`         // how many have ended
	Last    *Probe `json:"last,omitempty"` // nil: none has
}

// report returns e as package advice tells it.
func (e *UnhealthyError) report() *advice.Report {
	r := &advice.Report{Waited: e.Waited, Host: e.Host}
	for _, t := range e.Targets {
		told := advice.Target{Address: t.Address, Probes: t.Probes}
		if t.Last != nil {
			told.Last = t.Last.told()
		}
		r.Targets = append(r.Targets, told)
	}
	return r
}

func (e *UnhealthyError) Error() string { return e.report().Brief() }
func (e *UnhealthyError) Unwrap() error { return ErrUnhealthy }

// Format writes e as Error does. For %+v, it adds lines about each target, what it
// was asked and what it answered, and what to do.
func (e *UnhealthyError) Format(s fmt.State, verb rune) {
	verbose.Format(s, verb, e, e.report().Full())
}

// Hint returns what an operator can try, each hint once and on a line of its own.
func (e *UnhealthyError) Hint() string { return strings.Join(e.report().Hints(), "\n") }

// TargetStatus is the present state of one target.
type TargetStatus struct {
	Address  string    `json:"address"`
	Reads    bool      `json:"reads,omitempty"`   // it is one of ReadTargets
	Rollout  bool      `json:"rollout,omitempty"` // it is one of the Rollout's
	Health   Health    `json:"health"`
	Since    time.Time `json:"since"`           // when it got its Health
	Requests int64     `json:"requests"`        // in flight, streams aside
	Streams  int64     `json:"streams"`         // upgraded connections and event streams that are open
	Probe    *Probe    `json:"probe,omitempty"` // the last one; nil before the first
	Traffic  Traffic   `json:"traffic"`
}

// Traffic counts the requests to a target that have ended within the last
// minute. A request counts for the target that it was sent to last. What was
// counted is kept while deploys name the target again, but not over a restart.
//
// A request is an error if it was answered with a status of 500 or above, by the
// target or in its place, or with an answer that broke off, or was cut off, as at
// the end of a drain or for its length; not if it was the client who left, or sent
// what could not be passed on. A stream that is closed at the end of a drain is
// none.
//
// A request takes as long as Outcome.Duration says, without Outcome.Waited; an
// upgraded connection or event stream until its answer began. Percentiles are within
// 10 % of what they would be if every time had been kept, between 66 µs and 68.7 s.
type Traffic struct {
	Rate      float64       `json:"requests_per_second"` // over that minute, or since the first request ever if that is shorter, but at least 1 s
	ErrorRate float64       `json:"error_rate"`          // how much of the requests were errors: 0 to 1
	P50       time.Duration `json:"p50"`                 // half of them took no longer; 0: there were none
	P99       time.Duration `json:"p99"`                 // 99 % of them took no longer; likewise
	Waited    float64       `json:"waited,omitempty"`    // how much of them had an Outcome.Waited: 0 to 1
	WaitP99   time.Duration `json:"wait_p99,omitzero"`   // 99 % of those waited no longer; 0: there were none
}

func (t Traffic) MarshalJSON() ([]byte, error)  { return wire.Marshal(t) }
func (t *Traffic) UnmarshalJSON(b []byte) error { return wire.Unmarshal(b, t) }

// statusOf returns the status of t without the requests in flight. at is the time
// since the Proxy was made.
func statusOf(t *target, at time.Duration) TargetStatus {
	now, m := t.Health.Snapshot(), t.Traffic.Minute(at)
	return TargetStatus{Address: t.Address, Health: Health(now.Health), Since: now.Since, Probe: probeOf(now.Last),
		Traffic: Traffic{Rate: m.Rate(), ErrorRate: m.ErrorRate(), P50: m.P50, P99: m.P99, Waited: m.Waited, WaitP99: m.WaitP99}}
}

// An onTrial is a change that can be taken back, until what it has replaced is let go.
// Meanwhile the targets that are gone are probed.
type onTrial struct {
	trial.Trial[*target]
	proxy    *Proxy
	about    Event    // has what every event of the change has
	previous *version // which is returned to
	ofMain   bool     // the change is one of the service's first version, not of its rollout
	isCanary bool     // the rollout is one of a Canary: there is none to return to

	// evidence returns how a bake stands, with a note, and which routes fail most often;
	// nil: the change does not bake, or has baked.
	evidence func(note string) (*BakeReport, []bake.FailedRoute)

	// What served, what serves in its place, and why, once the change is taken back.
	failed, restored *version
	why              *TakenBackError
}

// newTrial returns the trial of a change that has brought targets in place of those that
// are gone.
func (p *Proxy) newTrial(about Event, previous *version, gone, brought []*target, ofMain bool) *onTrial {
	t := &onTrial{proxy: p, about: about, previous: previous, ofMain: ofMain}
	t.Trial = trial.Trial[*target]{Brought: brought, Gone: gone, IsJudged: t.isJudged, TakeBack: t.takeBack, Done: p.done}
	targets.Silence(gone, true)
	return t
}

// retireOnTrial is retire for a change that brought targets. It returns
// ErrTakenBack if it took the change back.
func (p *Proxy) retireOnTrial(about Event, previous, next *version, limits Timeouts) error {
	if previous == nil {
		return nil
	}
	gone, lanes := previous.leftBehind(next)
	ofMain, brought, returnsTo := next.status.Generation == about.Generation, next.Main.Targets(), previous
	if !ofMain {
		brought = next.Rollout.Targets()
	}
	hasBaked := ofMain && previous.status.Generation == next.status.Generation && previous.fallback != nil
	if hasBaked {
		returnsTo = previous.fallback
	}
	t := p.newTrial(about, returnsTo, gone, brought, ofMain)
	omitCloseFrames(lanes, previous, next)
	var e Event
	takenBack, failing := t.Watch(func(ending <-chan struct{}) bool {
		requests, streams := lanes.Inside()
		e = p.drain(about, lanes, limits, ending)
		return hasBaked || requests+streams > 0 || !targets.AllHealthy(brought) // else they were healthy a moment ago
	})
	if takenBack {
		p.retire(about, t.failed, t.restored, limits)
		return t.why
	}
	letGo(gone, previous, next)
	if e.Unhealthy = t.unhealthy(failing); len(e.Unhealthy) == 0 {
		e.Unused = targets.Unused(gone)
	}
	p.emit(e)
	return nil
}

// retireDeployed is retireOnTrial for a deploy, which may bake first.
func (p *Proxy) retireDeployed(m *member) error {
	about, previous, next, limits := m.event(), m.Previous, m.Next, m.spec.Timeouts
	if next.fallback == nil {
		return p.retireOnTrial(about, previous, next, limits)
	}
	var retiring sync.WaitGroup
	defer retiring.Wait()
	if previous.fallback != nil { // what is replaced had not proved itself, and is not what is returned to
		retiring.Go(func() { p.retire(about, previous, next, limits) })
	}
	err := p.bake(about, next, limits)
	if errors.Is(err, ErrSuperseded) {
		p.emitFailed(about, err)
	}
	return err
}

// isOf reports whether what is on trial is a part of v.
func (t *onTrial) isOf(v *version) bool {
	if t.ofMain {
		return v.Main.Has(t.Brought[0])
	}
	return v.Rollout != nil && v.Rollout.Has(t.Brought[0])
}

// isJudged implements trial.Trial.IsJudged. What is halted is not judged, nor by what was
// seen before it was resumed.
func (t *onTrial) isJudged() (since time.Time, ok bool) {
	v := t.proxy.router.routes.Load().Services()[t.about.Service]
	if v == nil || v.isHalted() || !t.isOf(v) {
		return time.Time{}, false
	}
	return v.since, true
}

// unhealthy returns the addresses of those targets that the change brought which are
// among failing, or do not pass their probes.
func (t *onTrial) unhealthy(failing []*target) (addresses []string) {
	v := t.proxy.router.routes.Load().Services()[t.about.Service]
	if v == nil || !t.isOf(v) {
		return nil // a newer change has let go of them
	}
	return targets.Addresses(slices.DeleteFunc(slices.Clone(t.Brought), func(b *target) bool {
		return !b.Health.IsUnhealthy(v.since) && !slices.Contains(failing, b)
	}))
}

// unproved returns the addresses of those targets of next, which may be nil, that are not
// known to be healthy and do not pass when they are asked, if its deploy did not wait for
// them and it serves.
func (p *Proxy) unproved(next *version) (addresses []string) {
	if next == nil || !next.status.Deployment.Force {
		return nil
	}
	all := next.Main.Targets()
	failing := trial.Failing(slices.DeleteFunc(slices.Clone(all), (*target).IsHealthy), p.done)
	if v := p.router.routes.Load().Services()[next.status.Service]; v == nil || !v.Main.Has(all[0]) {
		return nil // a newer change has let go of them
	}
	return targets.Addresses(failing)
}

// takeBack implements trial.Trial.TakeBack: it publishes what the change has replaced, as
// a new generation, also where that cannot be committed.
func (t *onTrial) takeBack(reason string) bool {
	p := t.proxy
	why, wanted := &TakenBackError{Reason: reason, Targets: targets.Addresses(t.Gone)}, wants{}
	if t.evidence != nil {
		var routes []bake.FailedRoute
		why.Bake, routes = t.evidence("")
		for _, r := range routes {
			why.Routes = append(why.Routes, FailedRoute(r))
		}
	}
	if t.ofMain {
		wanted, why.Restores = t.previous.wants, t.previous.status.Generation
	}
	res, ctx, err := p.router.changes.Reserve(context.Background(), t.about.Service, partNone, wanted)
	if err != nil {
		return false
	}
	defer p.router.changes.End(res)
	var refused error
	change := &publication{Name: res.Name, Reservation: res, Refused: &refused}
	change.Change = func(current *version) (*version, error) {
		if current == nil || !t.isOf(current) || current.isHalted() {
			return nil, ErrSuperseded
		}
		if t.ofMain {
			return t.previous.restoredAfter(current, res.Number)
		}
		if t.isCanary {
			return current.withoutRollout(), nil
		}
		group := t.previous.Rollout.WithNewGates()
		rollout := *t.previous.status.Rollout
		rollout.Split = current.status.Rollout.Split
		return current.withRollout(rollout, current.split, &group), nil
	}
	change.Announce = func(next *version) {
		targets.Silence(t.Gone, false)
		why.Generation = next.status.Generation
		if refused != nil {
			why.Unkept = refused.Error()
		}
		told, serves := t.about, next.status.event()
		if told.Kind, told.Err, serves.Kind = EventTakenBack, why, EventSwitched; t.isCanary {
			why.Restores, serves.Kind = why.Generation, EventRolloutEnded
		}
		if told.Restores, serves.Restores = why.Restores, why.Restores; !t.ofMain {
			serves.Generation = res.Number
		}
		told.Targets, told.Hosts = why.Targets, append([]string(nil), next.status.Deployment.Hosts...)
		if serves.Targets, serves.Hosts = told.Targets, told.Hosts; !t.ofMain {
			serves = serves.ofRollout(&next.status)
		}
		p.emit(told)
		p.emit(serves)
	}
	if err := p.router.routes.PublishAll(ctx, change); err != nil {
		return false
	}
	if refused != nil {
		p.commitLater(res.Name, res.Number, refused)
	}
	t.failed, t.restored, t.why = change.Previous, change.Next, why
	return true
}

// beginBake makes v, which is about to be published in place of current, return to that
// or to what current would return to.
func (v *version) beginBake(current *version, at time.Duration) {
	v.fallback, v.bakeClock = cmp.Or(current.fallback, current), trial.NewClock(v.status.Deployment.Bake.For)
	s := &v.fallback.status
	b := &Baking{Generation: s.Generation, Deployment: s.Deployment}
	if current.status.Bake != nil {
		b.Before = current.status.Bake.Before
	} else {
		b.Before = BakeFigures(v.fallback.Main.Recent(at))
	}
	v.status.Bake = b
	v.Main.Tally.Collect()
}

// keepBake puts into v's status, which is about to be committed, how much of the bake is
// left.
func (v *version) keepBake() {
	if v.fallback == nil {
		return
	}
	b := *v.status.Bake
	b.Left, b.Since = v.bakeClock.Left(), time.Now()
	v.status.Bake = &b
}

// bake watches next, which has just been published, until its bake is over, and then
// retires what it replaced, unless it has taken next back. It returns ErrTakenBack then,
// ErrSuperseded if a newer change ended the bake, and ErrUndecided if the Proxy did.
func (p *Proxy) bake(about Event, next *version, limits Timeouts) error {
	old := next.fallback
	defer p.router.underWay.Begin(phase{service: about.Service, change: changeOf(EventBaking, about)})()
	t := p.newTrial(about, old, old.Main.Targets(), next.Main.Targets(), true)
	lanes := next.Leaving.To(t.Gone)
	omitCloseFrames(lanes, old, next)
	switch takenBack, err := t.bake(next, func(over <-chan struct{}) {
		lanes.Drain(gate.Limits{Requests: limits.Drain, Streams: math.MaxInt64}, over)
	}); {
	case takenBack:
		p.retire(about, t.failed, p.router.routes.Load().Services()[about.Service], limits)
		return t.why
	case err != nil:
		return err
	}
	var refused error
	proof := &publication{Name: about.Service, Refused: &refused, Announce: func(*version) {}}
	proof.Change = func(current *version) (*version, error) {
		if current == nil || current.fallback != old {
			return nil, errBakeEnded
		}
		s := current.status
		s.Bake = nil
		v := current.withStatus(s)
		v.fallback, v.bakeClock = nil, nil
		return v, nil
	}
	switch err := p.router.routes.PublishAll(context.Background(), proof); {
	case errors.Is(err, ErrClosed):
		return errBakeGoesOn
	case err != nil:
		return err
	}
	if refused != nil {
		p.commitLater(about.Service, about.Generation, refused)
	}
	return p.retireOnTrial(about, proof.Previous, proof.Next, limits)
}

// errBakeEnded is why a bake ends without a judgement.
var errBakeEnded = faultf(ErrSuperseded, "a newer change of the service ended the bake")

// errBakeGoesOn is why a deploy ends before its bake.
var errBakeGoesOn = faultf(ErrUndecided, "the proxy ends while the version bakes; the bake goes on when it is back")

// bake runs the bake of next, and drains what is left of the version before meanwhile. It
// is as trial.Trial.Bake, with the errors of a deploy.
func (t *onTrial) bake(next *version, drain func(over <-chan struct{})) (takenBack bool, err error) {
	p, d := t.proxy, &next.status.Deployment
	before := next.status.Bake.Before
	judge := bake.NewJudge(next.Main.Tally, time.Since(p.began), bake.Figures(before), bake.Settings(d.Bake).Limits())
	t.evidence = func(note string) (*BakeReport, []bake.FailedRoute) {
		return &BakeReport{Now: BakeFigures(judge.Figures()), Before: before, Note: note}, judge.Worst(3)
	}
	e := t.about
	e.Kind, e.Limit, e.Bake = EventBaking, d.Bake.For, &BakeReport{Before: before}
	p.emit(e)
	takenBack, err = t.Bake(trial.Bake{
		Clock: next.bakeClock,
		Drain: drain,
		Runs: func() (bool, error) {
			if !p.router.changes.Enter() {
				return false, faultf(ErrUndecided, "the proxy is replaced while the version bakes; the bake goes on in the next one")
			}
			p.router.changes.Leave()
			current := p.router.routes.Load().Services()[e.Service]
			if current == nil || current.fallback != next.fallback || !t.isOf(current) {
				return false, errBakeEnded
			}
			return !current.isHalted() && !t.isChanging(), nil
		},
		Judge: func() (worse, note string) { return judge.Look(time.Since(p.began)), judge.Note() },
		Tell: func(elapsed time.Duration, note string) {
			e.Elapsed = elapsed
			e.Bake, _ = t.evidence(note)
			p.emit(e)
		},
	}, p.stopping)
	if errors.Is(err, trial.ErrStopped) {
		err = errBakeGoesOn
	}
	return takenBack, err
}

// mostRepeats is how often a step of a canary is repeated that has too few requests.
const mostRepeats = 10

// step has so many percent of the visitors try the version that was brought, until that is
// decided. It is as bake.
func (t *onTrial) step(percent int, d *Deployment) (takenBack bool, err error) {
	p := t.proxy
	rollout, main := t.previous.Rollout.Tally, t.previous.Main.Tally
	beside := bake.Compare(rollout, main, time.Since(p.began), bake.Settings(d.Bake).Limits())
	t.evidence = func(note string) (*BakeReport, []bake.FailedRoute) {
		now, others := beside.Figures()
		return &BakeReport{Now: BakeFigures(now), Before: BakeFigures(others), Note: note}, beside.Worst(3)
	}
	e := t.about
	e.Kind, e.Limit, e.Split = EventBaking, d.Canary.Step, &Split{Percent: percent}
	for range 1 + mostRepeats {
		takenBack, err = t.Bake(trial.Bake{
			Clock: trial.NewClock(d.Canary.Step),
			Drain: func(<-chan struct{}) {},
			Runs: func() (bool, error) {
				if !p.router.changes.Enter() {
					return false, errCanaryStays
				}
				p.router.changes.Leave()
				current := p.router.routes.Load().Services()[e.Service]
				if current == nil || current.Rollout == nil || current.Rollout.Tally != rollout || current.Main.Tally != main {
					return false, errCanaryEnded
				}
				return !current.isHalted(), nil
			},
			Judge: func() (worse, note string) { return beside.Look(time.Since(p.began)), "" },
			Tell: func(elapsed time.Duration, note string) {
				e.Elapsed = elapsed
				e.Bake, _ = t.evidence(note)
				p.emit(e)
			},
		}, p.stopping)
		if errors.Is(err, trial.ErrStopped) {
			err = errCanaryStays
		}
		if takenBack || err != nil || beside.IsDecided() {
			return takenBack, err
		}
	}
	now, _ := beside.Figures()
	return false, faultf(ErrUndecided, "too little traffic to judge: %s in %d times %v; the rollout stays at %d percent, to be promoted or ended",
		bake.Plural(now.Requests, "request"), 1+mostRepeats, d.Canary.Step, percent)
}

// isChanging reports whether another change of the service is under way.
func (t *onTrial) isChanging() bool {
	return slices.ContainsFunc(t.proxy.router.underWay.All(), func(ph phase) bool {
		return ph.service == t.about.Service && ph.change.Generation != t.about.Generation && ph.change.Kind == EventDeploying
	})
}

// restoreFallback has v, which is restored, bake on as b says. If what it would return to
// cannot be restored, it bakes no more.
func (p *Proxy) restoreFallback(v *version, b Baking) {
	s, err := p.parse(b.Deployment)
	if err != nil {
		p.emitFailed(v.status.event(), fmt.Errorf("the version does not bake on, for what it would return to cannot be restored: %w", err))
		return
	}
	v.fallback, _ = p.start(Status{Service: v.status.Service, Generation: b.Generation, State: StateServing, Deployment: s.Deployment}, s, false)
	v.bakeClock = trial.ResumeClock(v.status.Deployment.Bake.For, b.Left, b.Since, !v.isHalted())
	v.status.Bake = &b
	v.Main.Tally.Collect()
}

// bakeOn begins to watch those of the restored versions that bake.
func (p *Proxy) bakeOn(restored map[string]*version) {
	for _, v := range restored {
		if v.fallback != nil && p.router.changes.Enter() {
			go p.bakeRestored(v)
		}
	}
}

// bakeRestored watches a restored version until its bake is over.
func (p *Proxy) bakeRestored(v *version) {
	defer p.router.changes.Leave()
	p.bake(v.status.event(), v, v.status.Deployment.Timeouts) // its events tell how it ends
}

// canary brings s into service step by step. If base is not nil, s was made of what it
// serves, and it has to serve until then.
func (p *Proxy) canary(ctx context.Context, s *spec, base *version) (err error) {
	d := s.Deployment
	r := Rollout{Targets: d.Targets, ReadTargets: d.ReadTargets, Release: d.Release, By: d.By, Timeouts: d.Timeouts, Split: Split{Percent: d.Canary.Steps[0]}, Deployment: &d}
	if s.split, err = r.Split.parse(); err != nil {
		return err
	}
	return p.rollOutSpec(ctx, partMain|partRollout, r, s, func(about Event) error { return p.tryOut(about, &d, base) })
}

// Why a canary ends before its last step.
var (
	errCanaryEnded = faultf(ErrSuperseded, "a newer change of the service ended the canary")
	errCanaryStays = faultf(ErrUndecided, "the proxy ends while visitors try the version; the rollout stays as it is, to be promoted or ended")
)

// dropCanary ends the rollout of t, if it is still there.
func (p *Proxy) dropCanary(t *onTrial) {
	if !p.router.changes.Enter() {
		return
	}
	defer p.router.changes.Leave()
	previous, next, err := p.update(context.Background(), nil, t.about.Service, EventRolloutEnded, func(v *version) (*version, error) {
		if !t.isOf(v) {
			return nil, errCanaryEnded
		}
		return v.withoutRollout(), nil
	})
	if err == nil {
		p.retire(t.about, previous, next, next.status.Deployment.Timeouts)
	}
}

// tryOut has visitors try the rollout of d, in one step after the other, and promotes it.
func (p *Proxy) tryOut(about Event, d *Deployment, base *version) error {
	defer p.router.underWay.Begin(phase{service: d.Service, change: changeOf(EventBaking, about)})()
	v := p.router.routes.Load().Services()[d.Service]
	if v == nil || v.Rollout == nil {
		return errCanaryEnded
	}
	t := &onTrial{proxy: p, about: about, previous: v, isCanary: true}
	t.Trial = trial.Trial[*target]{Brought: v.Rollout.Targets(), Gone: v.Main.Targets(), IsJudged: t.isJudged, TakeBack: t.takeBack, Done: p.done}
	v.Rollout.Tally.Collect()
	for i, percent := range d.Canary.Steps {
		if i > 0 {
			if err := p.amendSplit(context.Background(), d.Service, func(split *Split) error { split.Percent = percent; return nil }); err != nil {
				return t.leave(err)
			}
		}
		switch takenBack, err := t.step(percent, d); {
		case takenBack:
			p.retire(about, t.failed, t.restored, d.Timeouts)
			return t.why
		case err != nil:
			return t.leave(err)
		}
	}
	err := p.promote(context.Background(), d.Service, base, about.Generation)
	if errors.Is(err, ErrTakenBack) {
		return err
	}
	return t.leave(err)
}

// leave returns how a canary ends that could not go on because of err, and tells of it. It
// has been superseded if the service, or its rollout, is another by now; otherwise the
// rollout stays, and nothing is decided.
func (t *onTrial) leave(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUndecided):
	case errors.Is(err, ErrClosed):
		err = errCanaryStays
	case errors.Is(err, ErrSuperseded), errors.Is(err, ErrNotFound), errors.Is(err, ErrInvalid):
		t.proxy.dropCanary(t)
		err = errCanaryEnded
	default:
		err = faultf(ErrUndecided, "%v; the rollout stays as it is, to be promoted or ended", err)
	}
	t.proxy.emitFailed(t.about, err)
	return err
}
