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
	"github.com/shahnk19/parachute/internal/lanes"
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

// await returns nil when m may be published: its targets are healthy, unless Force is set
// and it is no rollout; its certificates are there, if TLS.Wait is set; and Options.Agree
// has agreed. All of that has to come within Timeouts.Deploy.
func (p *Proxy) await(ctx context.Context, m *modification) error {
	d := &m.spec.Deployment
	p.options.Propose(ctx, deep.Copy(*d), m.Reservation.Number, m.rollout != nil && (m.rollout.Deployment == nil || len(d.Canary.Steps) == 0))
	if !d.Force || m.rollout != nil {
		if err := awaitHealthy(ctx, m.monitor, m.brought, d); err != nil {
			return err
		}
	}
	if m.started != nil {
		if err := interrupted.Within(ctx, m.monitor.Began(), d.Timeouts.Deploy, m.started.awaitCertificates, ErrSuperseded, ErrClosed); err != nil {
			return err
		}
	}
	err := p.agree(ctx, d, m.Reservation.Number, m.monitor.Began())
	if err == nil && p.options.Agree != nil && !d.Force && !targets.AllHealthy(m.brought) { // by now
		return awaitHealthy(ctx, m.monitor, m.brought, d)
	}
	return err
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

// A TakenBackError tells why a deploy was taken back after its switch. It wraps
// ErrTakenBack.
type TakenBackError struct {
	Generation uint64        `json:"generation"`         // what serves now
	Restores   uint64        `json:"restores,omitempty"` // the earlier generation whose Deployment that is again, or Generation if it was a Canary; 0: it is a rollout that was taken back
	Targets    []string      `json:"targets"`            // those that serve again
	Reason     string        `json:"reason"`
	Bake       *BakeReport   `json:"bake,omitempty"`   // how the bake stood; nil: there was none
	Routes     []FailedRoute `json:"routes,omitempty"` // the most frequent ones in the bake, at most three
	Unkept     string        `json:"unkept,omitempty"` // why Options.Commit refused it, which is tried again; empty: it did not
}

func (e *TakenBackError) Error() string {
	serves := "the rollout is to " + strings.Join(e.Targets, ", ") + " again"
	switch e.Restores {
	case 0:
	case e.Generation:
		serves = fmt.Sprintf("generation %d serves everybody: %s", e.Generation, strings.Join(e.Targets, ", "))
	default:
		serves = fmt.Sprintf("generation %d serves what generation %d did: %s", e.Generation, e.Restores, strings.Join(e.Targets, ", "))
	}
	if e.Unkept != "" {
		serves += "; but this could not be kept, and a restart would undo it: " + e.Unkept
	}
	return fmt.Sprintf("taken back, because %s; %s", e.Reason, serves)
}

func (e *TakenBackError) Unwrap() error { return ErrTakenBack }

// Format writes e as Error does. For %+v, it adds a line for each route.
func (e *TakenBackError) Format(s fmt.State, verb rune) {
	full := e.Error()
	for _, r := range e.Routes {
		full += fmt.Sprintf("\n  %s answered %d: %s, such as %s", r.Route, r.Status, bake.Plural(r.Requests, "request"), r.RequestID)
	}
	verbose.Format(s, verb, e, full)
}

// An onTrial is a change that can be taken back, until the targets that it has replaced are
// closed. Until then they are probed.
type onTrial struct {
	*trial.Change[*target, *version]
	proxy *Proxy
	about Event // has what every event of the change has
	judge judge // of a bake, or of the step of a canary; nil: there is none

	// Set when the change is taken back.
	failed, restored *version // what served until then, and what serves in its place
	why              *TakenBackError
}

// A judge is a [bake.Judge] or a [bake.Comparison].
type judge interface {
	trial.Judge
	Figures() (now, before bake.Figures)
	Worst(n int) []bake.FailedRoute
}

// newTrial returns the trial of a change that has brought targets in place of those in gone,
// which previous has.
func (p *Proxy) newTrial(kind trial.Kind, about Event, previous *version, gone, brought []*target) *onTrial {
	t := &onTrial{proxy: p, about: about}
	t.Change = trial.NewChange(kind, trial.Service[*version]{
		Current:    func() *version { return p.served(about.Service) },
		IsOpen:     p.router.book.IsOpen,
		IsChanging: t.isChanging,
		Stop:       p.stopping,
	}, previous, brought, gone, t.takeBack, p.done)
	return t
}

// retireOnTrial is retire for a change that brought targets. It returns
// ErrTakenBack if it took the change back.
func (p *Proxy) retireOnTrial(about Event, previous, next *version, limits Timeouts) error {
	if previous == nil {
		return nil
	}
	left := previous.leftover(next)
	kind, brought, returnsTo := trial.OfMain, next.Main.Targets(), previous
	if next.status.Generation != about.Generation {
		kind, brought = trial.OfRollout, next.Rollout.Targets()
	}
	hasBaked := kind == trial.OfMain && previous.status.Generation == next.status.Generation && previous.fallback != nil
	if hasBaked {
		returnsTo = previous.fallback
	}
	t := p.newTrial(kind, about, returnsTo, left.Gone, brought)
	targets.Silence(left.Gone, true)
	omitCloseFrames(left.Lanes, previous, next)
	var e Event
	takenBack, failing := t.Watch(func(ending <-chan struct{}) bool {
		requests, streams := left.Lanes.Inside()
		e = p.drain(about, left.Lanes, limits, ending)
		return hasBaked || requests+streams > 0 || !targets.AllHealthy(brought) // else they were healthy a moment ago
	})
	if takenBack {
		p.retire(about, t.failed, t.restored, limits)
		return t.why
	}
	left.Close()
	if e.Unhealthy = targets.Addresses(t.Unhealthy(failing)); len(e.Unhealthy) == 0 {
		e.Unused = targets.Unused(left.Gone)
	}
	p.emit(e)
	return nil
}

// retireDeployed is retireOnTrial for a deploy, which may bake first.
func (p *Proxy) retireDeployed(m *modification) error {
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

// unproved returns the addresses of those targets of next that are not known to be healthy,
// and do not pass a probe now. There are none unless next was deployed with Force, and still
// serves. next may be nil.
func (p *Proxy) unproved(next *version) (addresses []string) {
	if next == nil || !next.status.Deployment.Force {
		return nil
	}
	all := next.Main.Targets()
	failing := trial.Failing(slices.DeleteFunc(slices.Clone(all), (*target).IsHealthy), p.done)
	if v := p.served(next.status.Service); v == nil || !v.Main.Has(all[0]) {
		return nil // a newer change has let go of them
	}
	return targets.Addresses(failing)
}

// takeBack implements trial.Trial.TakeBack: it publishes what the change has replaced, as
// a new generation, even if that cannot be committed.
func (t *onTrial) takeBack(reason string) bool {
	p, wanted := t.proxy, wants{}
	t.why = &TakenBackError{Reason: reason, Targets: targets.Addresses(t.Gone), Bake: t.report("")}
	if t.Kind == trial.OfMain {
		wanted, t.why.Restores = t.Previous.wants, t.Previous.status.Generation
	}
	if t.judge != nil {
		for _, r := range t.judge.Worst(3) {
			t.why.Routes = append(t.why.Routes, FailedRoute(r))
		}
	}
	res, ctx, err := p.router.book.Reserve(context.Background(), t.about.Service, partNone, wanted)
	if err != nil {
		return false
	}
	defer p.router.book.End(res)
	change := &publication{Name: res.Name, Reservation: res}
	change.Change = func(current *version) (*version, error) { return t.restore(current, res.Number) }
	change.Announce = func(next *version) {
		targets.Silence(t.Gone, false)
		if err := *change.Refused; err != nil {
			t.why.Unkept = err.Error()
		}
		t.announce(next, res.Number)
	}
	if err := p.publishAnyway(ctx, change, res.Number); err != nil {
		return false
	}
	t.failed, t.restored = change.Previous, change.Next
	return true
}

// report returns how the bake stands, with a note, or nil if there is none.
func (t *onTrial) report(note string) *BakeReport {
	if t.judge == nil {
		return nil
	}
	now, before := t.judge.Figures()
	return &BakeReport{Now: BakeFigures(now), Before: BakeFigures(before), Note: note}
}

// restore returns the version that follows current, as that generation, in which what the
// change has replaced serves again.
func (t *onTrial) restore(current *version, generation uint64) (*version, error) {
	switch {
	case !t.IsOf(current) || current.IsHalted():
		return nil, ErrSuperseded
	case t.Kind == trial.OfMain:
		return t.Previous.restoredAfter(current, generation)
	case t.Kind == trial.OfCanary:
		return current.withoutRollout(), nil
	}
	group := t.Previous.Rollout.WithNewGates()
	rollout := *t.Previous.status.Rollout
	rollout.Split = current.status.Rollout.Split
	return current.withRollout(rollout, t.Previous.rolloutSpec, &group), nil
}

// announce emits that the change was taken back, and that next serves. number is the
// generation that this was given.
func (t *onTrial) announce(next *version, number uint64) {
	t.why.Generation = next.status.Generation
	told, serves := t.about, next.status.event()
	if told.Kind, told.Err, serves.Kind = EventTakenBack, t.why, EventSwitched; t.Kind == trial.OfCanary {
		t.why.Restores, serves.Kind = t.why.Generation, EventRolloutEnded
	}
	told.Restores, serves.Restores = t.why.Restores, t.why.Restores
	told.Targets, told.Hosts = t.why.Targets, append([]string(nil), next.status.Deployment.Hosts...)
	if serves.Targets, serves.Hosts = told.Targets, told.Hosts; t.Kind != trial.OfMain {
		serves.Generation = number
		serves = serves.ofRollout(&next.status)
	}
	t.proxy.emit(told)
	t.proxy.emit(serves)
}

// beginBake makes current the fallback of v, which is about to be published in its place; or,
// if current still bakes, current's own fallback. at is the time since the Proxy was made.
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

// How a bake, and a canary, end without a judgement.
var (
	bakeEnds = trial.Ends{
		Superseded: faultf(ErrSuperseded, "a newer change of the service ended the bake"),
		HandedOver: faultf(ErrUndecided, "the proxy is replaced while the version bakes; the bake goes on in the next one"),
		Stopped:    faultf(ErrUndecided, "the proxy ends while the version bakes; the bake goes on when it is back"),
	}
	errCanaryStays = faultf(ErrUndecided, "the proxy ends while visitors try the version; the rollout stays as it is, to be promoted or ended")
	canaryEnds     = trial.Ends{
		Superseded: faultf(ErrSuperseded, "a newer change of the service ended the canary"),
		HandedOver: errCanaryStays,
		Stopped:    errCanaryStays,
	}
)

// bake watches next, which has just been published, until its bake is over, and then
// retires what it replaced. It returns ErrTakenBack if it has taken next back,
// ErrSuperseded if a newer change ended the bake, and ErrUndecided if the Proxy did.
func (p *Proxy) bake(about Event, next *version, limits Timeouts) error {
	old, d := next.fallback, &next.status.Deployment
	defer p.beginPhase(EventBaking, about, nil)()
	t := p.newTrial(trial.OfMain, about, old, old.Main.Targets(), next.Main.Targets())
	targets.Silence(t.Gone, true)
	before := bake.Figures(next.status.Bake.Before)
	t.judge = bake.NewJudge(next.Main.Tally, time.Since(p.began), before, bake.Settings(d.Bake).Limits())
	b := t.JudgedBy(t.judge, p.began, bakeEnds)
	lanes := next.Leaving.To(t.Gone)
	omitCloseFrames(lanes, old, next)
	b.Clock, b.Drain = next.bakeClock, func(over <-chan struct{}) {
		lanes.Drain(gate.Limits{Requests: limits.Drain, Streams: math.MaxInt64}, over)
	}
	b.Tell = t.progressFunc(d.Bake.For, nil)
	b.Tell(0, "")
	switch takenBack, err := t.Bake(b); {
	case takenBack:
		p.retire(about, t.failed, p.served(about.Service), limits)
		return t.why
	case err != nil:
		return err
	}
	previous, next, err := p.endBake(about, old)
	if err != nil {
		return err
	}
	return p.retireOnTrial(about, previous, next, limits)
}

// endBake publishes that what serves has baked, and does not return to old any more, even
// if that cannot be committed.
func (p *Proxy) endBake(about Event, old *version) (previous, next *version, err error) {
	pub := &publication{Name: about.Service, Announce: func(*version) {}}
	pub.Change = func(current *version) (*version, error) {
		if current == nil || current.fallback != old {
			return nil, bakeEnds.Superseded
		}
		s := current.status
		s.Bake = nil
		v := current.withStatus(s)
		v.fallback, v.bakeClock = nil, nil
		return v, nil
	}
	if err = p.publishAnyway(context.Background(), pub, about.Generation); errors.Is(err, ErrClosed) {
		err = bakeEnds.Stopped
	}
	return pub.Previous, pub.Next, err
}

// progressFunc returns a func that emits how a bake stands, of which limit is the length. In
// a canary, who says which visitors try the version.
func (t *onTrial) progressFunc(limit time.Duration, who *Split) func(elapsed time.Duration, note string) {
	e := t.about
	e.Kind, e.Limit, e.Split = EventBaking, limit, who
	return func(elapsed time.Duration, note string) {
		e.Elapsed, e.Bake = elapsed, t.report(note)
		t.proxy.emit(e)
	}
}

// isChanging reports whether another change of the service is under way.
func (t *onTrial) isChanging() bool {
	return slices.ContainsFunc(t.proxy.changes.Phases(), func(ph lanes.Phase[Change]) bool {
		return ph.Service == t.about.Service && ph.Change.Generation != t.about.Generation && ph.Change.Kind == EventDeploying
	})
}

// restoreFallback has v, which is restored, go on with the bake that b was kept of. If what
// it would return to cannot be restored, the bake is over.
func (p *Proxy) restoreFallback(v *version, b Baking) {
	s, err := p.parse(b.Deployment)
	if err != nil {
		p.emitFailed(v.status.event(), fmt.Errorf("the version does not bake on, for what it would return to cannot be restored: %w", err))
		return
	}
	v.fallback, _ = p.start(Status{Service: v.status.Service, Generation: b.Generation, State: StateServing, Deployment: s.Deployment}, s, false)
	v.bakeClock = trial.ResumeClock(v.status.Deployment.Bake.For, b.Left, b.Since, !v.IsHalted())
	v.status.Bake = &b
	v.Main.Tally.Collect()
}

// bakeOn goes on with the bakes of the restored versions.
func (p *Proxy) bakeOn(restored map[string]*version) {
	for _, v := range restored {
		if v.fallback != nil && p.router.book.Enter() {
			go p.bakeRestored(v)
		}
	}
}

// bakeRestored is bake for a restored version.
func (p *Proxy) bakeRestored(v *version) {
	defer p.router.book.Leave()
	p.bake(v.status.event(), v, v.status.Deployment.Timeouts) // its events tell how it ends
}

// canary brings s into service step by step. base is that of a modification.
func (p *Proxy) canary(ctx context.Context, s *spec, base *version) (err error) {
	d := s.Deployment
	r := Rollout{Targets: d.Targets, ReadTargets: d.ReadTargets, Release: d.Release, By: d.By, Timeouts: d.Timeouts, Split: Split{Percent: d.Canary.Steps[0]}, Deployment: &d}
	if s.split, err = r.Split.parse(); err != nil {
		return err
	}
	own := *s
	own.Deployment, s.own = r.promoted(d, d.Service), &own
	return p.rollOutSpec(ctx, partMain|partRollout, r, s, func(about Event) error { return p.tryOut(about, &d, base) })
}

// dropCanary ends the rollout of t, if it is still there.
func (p *Proxy) dropCanary(t *onTrial) {
	if p.router.book.Enter() {
		defer p.router.book.Leave()
		p.dropRollout(context.Background(), nil, t.about, t.IsOf)
	}
}

// tryOut has visitors try the rollout of d, in one step after the other, and promotes it.
func (p *Proxy) tryOut(about Event, d *Deployment, base *version) error {
	defer p.beginPhase(EventBaking, about, nil)()
	v := p.served(d.Service)
	if v == nil || v.Rollout == nil {
		return canaryEnds.Superseded
	}
	t := p.newTrial(trial.OfCanary, about, v, v.Main.Targets(), v.Rollout.Targets())
	v.Rollout.Tally.Collect()
	var share int
	takenBack, err := t.TryOut(trial.Canary{Steps: d.Canary.Steps, Step: d.Canary.Step, Begin: func(percent int) (trial.Bake, error) {
		if share = percent; share > d.Canary.Steps[0] { // with which the rollout began
			if err := p.amendSplit(context.Background(), d.Service, func(who *Split) error { who.Percent = share; return nil }); err != nil {
				return trial.Bake{}, err
			}
		}
		t.judge = bake.Compare(v.Rollout.Tally, v.Main.Tally, time.Since(p.began), bake.Settings(d.Bake).Limits())
		b := t.JudgedBy(t.judge, p.began, canaryEnds)
		b.Tell = t.progressFunc(d.Canary.Step, &Split{Percent: share})
		return b, nil
	}})
	switch {
	case takenBack:
		p.retire(about, t.failed, t.restored, d.Timeouts)
		return t.why
	case errors.Is(err, trial.ErrUndecided):
		now, _ := t.judge.Figures()
		err = faultf(ErrUndecided, "too little traffic to judge: %s in %d times %v; the rollout stays at %d percent, to be promoted or ended",
			bake.Plural(now.Requests, "request"), 1+trial.MostRepeats, d.Canary.Step, share)
	case err == nil:
		err = p.promote(context.Background(), d.Service, base, about.Generation)
	}
	if errors.Is(err, ErrTakenBack) {
		return err
	}
	return t.giveUp(err)
}

// giveUp returns the error of a canary that could not go on because of err, or nil if err is,
// and emits it. The canary was superseded if the service, or its rollout, is another by now;
// otherwise the rollout stays, and nothing is decided.
func (t *onTrial) giveUp(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUndecided):
	case errors.Is(err, ErrClosed):
		err = errCanaryStays
	case errors.Is(err, ErrSuperseded), errors.Is(err, ErrNotFound), errors.Is(err, ErrInvalid):
		t.proxy.dropCanary(t)
		err = canaryEnds.Superseded
	default:
		err = faultf(ErrUndecided, "%v; the rollout stays as it is, to be promoted or ended", err)
	}
	t.proxy.emitFailed(t.about, err)
	return err
}

// Counts say how many requests there were, how many of them failed, and how long they took.
// They travel as JSON.
type Counts = bake.Counts

// A Counted has what a Proxy has counted of one service's requests, by which a Bake or a
// Canary is judged.
type Counted struct {
	Recent Counts `json:"recent"` // of the version that serves, in the last ten minutes

	// Main and Rollout are of the version that serves, and of the one that a rollout has
	// brought: since they serve, but no longer than since ten minutes before the first call
	// of Proxy.Counted. After that it must be called at least every ten minutes.
	Main    Counts `json:"main"`
	Rollout Counts `json:"rollout"`
}

// Counted returns what the Proxy itself has counted of a service: nothing if it is not there.
// It is for other Proxies that serve the same, one of which judges by the requests of all;
// see CountedElsewhere.
func (p *Proxy) Counted(service string) (c Counted) {
	if v := p.served(service); v != nil {
		c.Recent, c.Main, c.Rollout = v.Own(time.Since(p.began))
	}
	return c
}

// CountedElsewhere has a service be judged by what other Proxies have counted as well: Main
// and Rollout are what they have counted since the last call. Recent, unless it is empty,
// takes the place of all that was told before of the version that serves. So Recent is for
// the time before the switch, when Options.Agree is asked, which may call CountedElsewhere;
// and the others are for the time in which a Bake or a Canary goes on.
func (p *Proxy) CountedElsewhere(service string, c Counted) {
	if v := p.served(service); v != nil {
		v.CountElsewhere(time.Since(p.began), c.Recent, c.Main, c.Rollout)
	}
}
