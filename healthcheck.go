package parachute

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/advice"
	"github.com/shahnk19/parachute/internal/backend"
	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/health"
	"github.com/shahnk19/parachute/internal/healthcheck"
	"github.com/shahnk19/parachute/internal/interrupted"
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

// A monitor follows the probes of the targets that one deploy brought. Restored targets
// serve before anything is known of them. Their requests wait until its Tracker has
// settled, but only for a moment. Where visitors stay with a target, it must be known of
// each whether it is well, lest they are sent to another.
type monitor struct {
	*health.Tracker
	notify     func(Event)
	generation atomic.Uint64 // of the deploy
	shortages  *descriptors.Reporter
	began      time.Time
	limit      time.Duration // of the wait; 0: there is none
	waiting    atomic.Bool   // a deploy waits, so every probe is an event
	silent     atomic.Bool   // no probe is one, for the targets have been replaced
}

func newMonitor(targets int, thorough, waiting bool, limit time.Duration, notify func(Event)) *monitor {
	m := &monitor{Tracker: health.NewTracker(targets, thorough), notify: notify, began: time.Now(), limit: max(limit, 0)}
	m.waiting.Store(waiting)
	return m
}

// observe handles the end of a probe of t. probes is the number of t's probes that
// have ended; changed says whether t's health has changed.
func (m *monitor) observe(t *target, r *backend.Result, probes int, changed bool) {
	if r.Health().Void {
		m.shortages.Report("a target could not be probed", errors.New(r.Error))
	}
	m.tell(t, r, probes, changed)
	m.Note(probes == 1, r.Passed)
}

// tell emits the events of the end of a probe, as observe is told of it.
func (m *monitor) tell(t *target, r *backend.Result, probes int, changed bool) {
	waiting := m.waiting.Load()
	if m.silent.Load() || !waiting && !changed {
		return
	}
	e := Event{Kind: EventProbed, Generation: m.generation.Load(), Target: t.address, Probe: probeOf(r)}
	if waiting {
		e.Probes, e.Elapsed, e.Limit = probes, time.Since(m.began), m.limit
		m.notify(e)
	}
	switch e.Limit = 0; {
	case changed && r.Passed:
		e.Kind = EventHealthy
		m.notify(e)
	case changed && !waiting:
		e.Kind = EventUnhealthy
		m.notify(e)
	}
}

// awaitHealthy waits until all targets are healthy at once. It returns an
// *UnhealthyError when d's Timeouts.Deploy has passed, and an error that wraps one when
// ctx ends, unless another change or the end of the Proxy ends it.
func (m *monitor) awaitHealthy(ctx context.Context, targets []*target, d *Deployment) error {
	defer m.waiting.Store(false)
	err := m.Await(ctx, d.Timeouts.Deploy, func() bool { return allHealthy(targets) })
	if err == nil {
		return nil
	}
	missing := unhealthy(targets, d)
	switch {
	case err != health.ErrTimeout:
		missing.Waited = time.Since(m.began).Round(time.Millisecond)
		return interrupted.Error(ctx, missing, ErrSuperseded, ErrClosed)
	case len(missing.Targets) == 0:
		return nil // the last target has become healthy just now
	}
	return missing
}

// conclude applies the result of a probe to t and tells its monitor.
func (t *target) conclude(r *backend.Result) {
	probes, changed := t.health.Record(r.Health(), r)
	t.monitor.observe(t, r, probes, changed)
}

// awaitAll waits for all members side by side, as await does. The error tells of every
// one that has not what it wants, unless there is one alone.
func (p *Proxy) awaitAll(ctx context.Context, members []*member) error {
	errs := make([]error, len(members))
	var waiting sync.WaitGroup
	for i, m := range members {
		if m.started != nil {
			waiting.Go(func() { errs[i] = p.await(ctx, m.started, m.monitor) })
		}
	}
	waiting.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, ErrSuperseded) || errors.Is(cause, ErrClosed) {
		return cause // once, and not for each
	}
	for i, m := range members {
		if errs[i] != nil && !m.isAlone {
			errs[i] = ofService(m.Name, errs[i])
		}
	}
	return verbose.Join(errs...)
}

func allHealthy(targets []*target) bool {
	return !slices.ContainsFunc(targets, func(t *target) bool { return !t.health.Passes() })
}

// unhealthy returns an error with the addresses of d that are not healthy, each once.
func unhealthy(targets []*target, d *Deployment) *UnhealthyError {
	err := &UnhealthyError{Waited: d.Timeouts.Deploy}
	if i := slices.IndexFunc(d.Hosts, func(host string) bool { return !strings.HasPrefix(host, "*.") }); i >= 0 {
		err.Host = d.Hosts[i]
	}
	for _, t := range targets {
		isTold := slices.ContainsFunc(err.Targets, func(o UnhealthyTarget) bool { return o.Address == t.address })
		if now := t.health.Snapshot(); !t.health.Passes() && !isTold {
			err.Targets = append(err.Targets, UnhealthyTarget{Address: t.address, Probes: now.Probes, Last: probeOf(now.Last)})
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

// status returns the status of t without the requests in flight. at is the time
// since the Proxy was made.
func (t *target) status(at time.Duration) TargetStatus {
	now, m := t.health.Snapshot(), t.traffic.Minute(at)
	return TargetStatus{Address: t.address, Health: Health(now.Health), Since: now.Since, Probe: probeOf(now.Last),
		Traffic: Traffic{Rate: m.Rate(), ErrorRate: m.ErrorRate(), P50: m.P50, P99: m.P99, Waited: m.Waited, WaitP99: m.WaitP99}}
}
