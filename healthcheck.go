package parachute

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/shahnk19/parachute/internal/advice"
	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/endpoint"
	"github.com/shahnk19/parachute/internal/grpc"
	"github.com/shahnk19/parachute/internal/headers"
	"github.com/shahnk19/parachute/internal/healthcheck"
	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/interrupted"
	"github.com/shahnk19/parachute/internal/probe"
	"github.com/shahnk19/parachute/internal/resolve"
	"github.com/shahnk19/parachute/internal/trust"
	"github.com/shahnk19/parachute/internal/upstream"
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

func (h HealthCheck) normalize() (HealthCheck, error) {
	switch {
	case h.GRPC && (h.Path != "" || h.Status != ""):
		return h, faultf(ErrInvalid, "health check path %q and status %q: a gRPC health check has neither", h.Path, h.Status)
	case !h.GRPC && h.GRPCService != "":
		return h, faultf(ErrInvalid, "health check of the gRPC service %q: ask for a gRPC health check, too", h.GRPCService)
	case !utf8.ValidString(h.GRPCService) || len(h.GRPCService) > 1024:
		return h, faultf(ErrInvalid, "health check of the gRPC service %q: want at most 1024 bytes of UTF-8, such as web.v1.Web", h.GRPCService)
	case !h.GRPC:
		h.Path = cmp.Or(h.Path, "/up")
		h.Status = cmp.Or(h.Status, "200-299")
	}
	if err := checkDurations(h); err != nil {
		return h, err
	}
	h.Interval = cmp.Or(h.Interval, time.Second)
	h.Timeout = cmp.Or(h.Timeout, 5*time.Second)
	h.Rise, h.Fall = cmp.Or(h.Rise, 1), cmp.Or(h.Fall, 1)
	for _, header := range h.Headers {
		if name, value, ok := strings.Cut(header, ":"); !ok || !headers.CanSend(name, value) {
			return h, faultf(ErrInvalid, "health check header %q: want NAME: VALUE, such as X-Probe: yes", header)
		}
	}
	if _, _, ok := healthcheck.ParseStatus(h.Status); !ok && !h.GRPC {
		return h, faultf(ErrInvalid, "health check status %q: want a status such as 204, or a range such as 200-399", h.Status)
	}
	switch {
	case !h.GRPC && h.Path[0] != '/':
		return h, faultf(ErrInvalid, "health check path %q: want one that begins with '/', such as /up", h.Path)
	case !hostname.IsRequestTarget(h.Path):
		return h, faultf(ErrInvalid, "health check path %q: write a space, a '#' and what is not ASCII as %%xx, as in /up%%20now", h.Path)
	case h.Port < 0 || h.Port > 65535:
		return h, faultf(ErrInvalid, "health check port %d: want 1 to 65535, or 0 for the target's own", h.Port)
	case !hostname.IsHostHeader(h.Host):
		return h, faultf(ErrInvalid, "health check host %q: want a host name, such as app1.example.com", h.Host)
	case h.Interval < 0 || h.Timeout < 0:
		return h, faultf(ErrInvalid, "health check interval %v and timeout %v: want more than 0", h.Interval, h.Timeout)
	case h.Rise < 0 || h.Fall < 0:
		return h, faultf(ErrInvalid, "health check rise %d and fall %d: want at least 1", h.Rise, h.Fall)
	}
	return h, nil
}

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
func (p Probe) String() string {
	asked := p.method() + " " + pathOf(p.URL)
	if p.Status == 0 {
		return fmt.Sprintf("%s got no answer: %s", asked, p.Error)
	}
	return asked + " answered " + p.answer()
}

// method returns the method of the probe's request.
func (p Probe) method() string {
	if pathOf(p.URL) == grpc.HealthPath {
		return http.MethodPost
	}
	return http.MethodGet
}

// pathOf returns the path and query of a URL.
func pathOf(url string) string {
	if _, rest, ok := strings.Cut(url, "://"); ok {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			return rest[i:]
		}
	}
	return url
}

// answer returns what the target answered, without the request.
func (p *Probe) answer() string {
	switch {
	case p.Cause == CauseTimeout:
		return p.Error
	case p.Status == 0:
		return "none: " + p.Error
	case p.GRPC != "":
		return p.GRPC
	case p.Location != "":
		return fmt.Sprintf("%d to %s", p.Status, p.Location)
	case p.Body != "" && !p.Passed:
		return fmt.Sprintf("%d %q", p.Status, p.Body)
	}
	return strconv.Itoa(p.Status)
}

// A prober sends the health checks of one target. It connects to the target as its
// traffic does, but each check has a connection of its own. A prober never changes,
// and several services may use it at once.
type prober struct {
	endpoint endpoint.Endpoint
	name     *resolve.Name // of the host; nil: there is none to look up
	upstream upstream.Options
	check    *healthcheck.Check
	url      string
	header   http.Header // of every request to the target that no client sent
}

// newProber returns the prober of the target at an endpoint. u are the options for
// the target's traffic; name is that of the target's host, or nil.
func newProber(at endpoint.Endpoint, u upstream.Options, s *spec, agent string, hop []string, name *resolve.Name) *prober {
	u.DialTimeout, u.ResponseTimeout = -1, 0 // the check's timeout bounds the whole probe
	u.Vital = true                           // or many clients could make every target fail its probes
	u.IsCurrent, u.ReadBuffer, u.MaxRequests = nil, probeBuffer, 0
	if u.Dial == nil {
		// No connection of a probe lives long enough to be kept alive.
		u.Dial = (&net.Dialer{KeepAlive: -1}).DialContext
	}
	authority := u.Address
	if port := s.HealthCheck.Port; port != 0 {
		u.Address = at.WithPort(port).Address
		authority = u.Address
	}
	scheme := "http"
	switch {
	case u.Network != "tcp":
		authority = "localhost"
	case u.TLS != nil:
		scheme = "https"
	}
	header := http.Header{"User-Agent": {agent}, "Connection": {"close"}, "X-Parachute-Hop": hop}
	if s.TLS.isOn() {
		// Otherwise, an app that insists on TLS would redirect the probe.
		header["X-Forwarded-Proto"] = []string{"https"}
	}
	for _, h := range s.HealthCheck.Headers {
		name, value, _ := strings.Cut(h, ":")
		header.Add(name, strings.TrimSpace(value))
	}
	h := &s.HealthCheck
	host := cmp.Or(h.Host, authority)
	var c *healthcheck.Check
	if h.GRPC {
		c = healthcheck.Call(host, h.GRPCService, header, h.Timeout)
	} else {
		first, last, _ := healthcheck.ParseStatus(h.Status)
		c = healthcheck.Get(host, h.Path, header, first, last, h.Timeout)
	}
	return &prober{endpoint: at, name: name, upstream: u, check: c, url: scheme + "://" + authority + c.Path(), header: header}
}

// probeBuffer is the size of the buffer that an answer to a probe is read through.
// It is small because every probe has a new one. A longer answer takes several reads.
const probeBuffer = 1 << 10

// A probeResult is the result of a probe, for all targets that share it.
type probeResult struct {
	Probe
	by     *prober
	addr   netip.Addr // that was probed; zero: none could be connected to
	isFair bool       // Passed says something about addr
}

// probe asks the target once.
func (p *prober) probe(ctx context.Context) *probeResult {
	ctx, cancel := context.WithTimeout(ctx, p.check.Timeout())
	defer cancel()
	r := &probeResult{by: p, Probe: Probe{Time: time.Now(), URL: p.url, Host: p.check.Host()}}
	if p.name == nil {
		p.ask(ctx, p.upstream, &r.Probe)
	} else {
		p.askByName(ctx, r)
	}
	return r
}

// askByName is like ask, for a target with a name, which may have several
// addresses. It records which of them was probed, and tells the name.
func (p *prober) askByName(ctx context.Context, r *probeResult) {
	type dialled struct {
		addr netip.Addr
		err  error
	}
	first := make(chan dialled, 1)
	u := p.upstream
	u.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := p.upstream.Dial(ctx, network, address)
		d := dialled{err: err}
		if err == nil {
			remote, _ := conn.RemoteAddr().(*net.TCPAddr)
			d.addr = remote.AddrPort().Addr()
		}
		select {
		case first <- d:
		default:
		}
		return conn, err
	}
	p.ask(ctx, u, &r.Probe)
	select {
	case d := <-first:
		r.addr, r.isFair = d.addr, d.err == nil || !isBeforeDial(d.err)
	default:
	}
	r.judge(p.name)
}

// judge tells name whether the address that was probed has passed.
func (r *probeResult) judge(name *resolve.Name) {
	if r.isFair {
		name.Judge(r.addr, r.Passed)
	}
}

// isBeforeDial reports whether an error occurred before any address could be
// dialled, and so says nothing about the addresses: either no address was known,
// or no descriptor was left.
func isBeforeDial(err error) bool {
	_, ok := errors.AsType[*net.DNSError](err)
	return ok || descriptors.IsShortage(err)
}

// ask makes the check over a new connection with the options u, and records the
// answer in seen.
func (p *prober) ask(ctx context.Context, u upstream.Options, seen *Probe) {
	conns := p.open(u)
	defer conns.Close()
	a, err := p.check.Ask(ctx, conns.Exchange)
	if err != nil {
		seen.Took = time.Since(seen.Time)
		seen.Error, seen.Cause = p.reason(ctx, err)
		return
	}
	seen.Took = a.Decided.Sub(seen.Time)
	seen.Status, seen.Location, seen.GRPC, seen.Passed = a.Status, a.Location, a.GRPC, a.Passed
	seen.Body = strings.ToValidUTF8(a.Body[:min(len(a.Body), 200)], "\uFFFD")
	switch {
	case a.Passed:
	case !p.check.IsCall():
		seen.Cause = causeOf(a.Status, a.Location, a.Body)
	case !a.IsGRPC:
		seen.Cause = CauseNotGRPC
	case a.Code != grpc.OK:
		seen.Cause = causeOfCode(a.Code)
	default:
		seen.Cause = CauseNotServing
	}
}

// open returns the transport for one probe.
func (p *prober) open(u upstream.Options) transport {
	if p.check.IsCall() || p.endpoint.Scheme == "h2c" {
		return upstream.NewH2C(u)
	}
	return upstream.New(u)
}

// causeOfCode returns the cause for a status code that a gRPC server answered in
// place of its health.
func causeOfCode(code grpc.Code) Cause {
	switch code {
	case grpc.Unimplemented:
		return CauseNoHealth
	case grpc.NotFound:
		return CauseUnknownService
	case grpc.Unauthenticated:
		return CauseUnauthorized
	case grpc.PermissionDenied:
		return CauseForbidden
	}
	return CauseServerError
}

// reason returns why there was no answer, in words and as a Cause.
func (p *prober) reason(ctx context.Context, err error) (string, Cause) {
	if ctx.Err() != nil {
		return fmt.Sprintf("none within %v", p.check.Timeout()), CauseTimeout
	}
	cause := causeOfError(err)
	if p.check.IsCall() && cause == CauseMalformed {
		cause = CauseNotGRPC
	}
	if e := (*upstream.Error)(nil); errors.As(err, &e) {
		err = e.Err // the Cause stands for the rest
	}
	return err.Error(), cause
}

// causeOfError returns the cause for an error of an exchange.
func causeOfError(err error) Cause {
	var (
		failure *upstream.Error
		name    *net.DNSError
		record  tls.RecordHeaderError
		verify  *tls.CertificateVerificationError
	)
	switch isFailure := errors.As(err, &failure); {
	case descriptors.IsShortage(err):
		return CauseShortage
	case errors.As(err, &name):
		return CauseUnknownHost
	case errors.Is(err, upstream.ErrNoHTTP2):
		return CauseNotGRPC
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist): // of a unix socket
		return CauseRefused
	case errors.As(err, &record):
		return CauseSpeaksPlain
	case errors.As(err, &verify):
		return CauseCertificate
	case errors.Is(err, upstream.ErrTLS):
		return CauseSpeaksTLS
	case isHandshake(err):
		return CauseHandshake
	case isFailure && failure.Reason == upstream.Dial:
		return CauseUnreachable
	case isFailure && failure.Reason == upstream.Malformed:
		return CauseMalformed
	case strings.Contains(err.Error(), "looked like an HTTP/1.1 header"): // an error of net/http for HTTP/2
		return CauseMalformed
	}
	return CauseNoAnswer
}

// isHandshake reports whether an error is one of TLS: an alert, or what crypto/tls
// says that it cannot accept.
func isHandshake(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && (e.Op == "remote error" || e.Op == "local error") || strings.Contains(err.Error(), "tls: ")
}

// causeOf returns why an answer did not pass.
func causeOf(status int, location, body string) Cause {
	switch {
	case status == http.StatusBadRequest && wantsTLS.MatchString(body):
		return CauseSpeaksTLS
	case location != "" && 300 <= status && status <= 399:
		return CauseRedirect
	case status == http.StatusUnauthorized:
		return CauseUnauthorized
	case status == http.StatusForbidden:
		return CauseForbidden
	case status == http.StatusNotFound:
		return CauseNotFound
	case status >= 500:
		return CauseServerError
	}
	return CauseStatus
}

// wantsTLS matches what net/http, nginx and Apache answer to a plain request on a
// port for TLS.
var wantsTLS = regexp.MustCompile(`(?i)(HTTP request to an HTTPS server|HTTP request was sent to HTTPS port|speaking plain HTTP to an SSL-enabled)`)

// A probeKey is everything that decides on the result of a probe and on when it is
// sent. Targets with the same probeKey share their probes.
type probeKey struct {
	endpoint endpoint.Endpoint // that is probed
	trust    trust.Identity
	fall     int // HealthCheck.Fall if endpoint has a name, which it concerns; otherwise 0
	check    healthcheck.Key
	interval time.Duration
}

// A schedule repeats the probes of all targets of a Proxy.
type schedule = probe.Schedule[probeKey, *probeResult]

// probeKey returns the key of t's probes.
func (t *target) probeKey() probeKey {
	p := t.prober
	k := probeKey{
		endpoint: endpoint.Endpoint{Scheme: p.endpoint.Scheme, Network: p.upstream.Network, Address: p.upstream.Address},
		trust:    t.trust,
		check:    p.check.Key(),
		interval: t.check.Interval,
	}
	if p.name != nil {
		k.fall = t.check.Fall
	}
	return k
}

// probeEagerly probes at once, and then after pauses of 50, 100, 200 ms and so on,
// until the target is healthy or the pause reaches the interval. Then it joins the
// schedule, which probes at the interval, once for all targets with the same key.
// It returns early if ctx ends.
//
// The eager probes are not shared, and t gets no result of a probe that began before
// it joined. So a deploy is never judged by a probe that is older than itself.
func (t *target) probeEagerly(ctx context.Context) {
	defer close(t.settled)
	for pause := 50 * time.Millisecond; ; pause *= 2 {
		r := t.prober.probe(ctx)
		if ctx.Err() != nil {
			return // the probe was cut off, and says nothing about the target
		}
		t.conclude(r)
		if t.healthy.Load() || pause >= t.check.Interval {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
	t.regular = t.schedule.Join(t.probeKey(), t.shareProbes, t.conclude)
}

// shareProbes returns t's check for the schedule. The check does not depend on t:
// other targets may need it after t is closed.
func (t *target) shareProbes() probe.Check[*probeResult] {
	p := t.prober
	c := probe.Check[*probeResult]{Interval: t.check.Interval, Run: p.probe}
	if p.name == nil {
		return c
	}
	shared := *p // t.close closes the name of p
	shared.name = p.name.Heir()
	shared.upstream.Dial = shared.name.Dial
	c.Run, c.Close = shared.probe, shared.name.Close
	return c
}

// A monitor follows the probes of the targets that one deploy brought.
type monitor struct {
	notify    func(Event)
	shortages *descriptors.Reporter
	began     time.Time
	limit     time.Duration // of the wait; 0: there is none
	waiting   atomic.Bool   // a deploy waits, so every probe is an event
	changed   chan struct{} // with a buffer of one: a probe has ended since the last receive

	// Restored targets serve before anything is known of them. Their requests
	// wait for settled, but only for a moment. Where visitors stay with a target, it
	// must be known of each whether it is well, lest they are sent to another.
	settled  chan struct{} // closed when a probe has passed, unless thorough, or each target was probed
	thorough bool
	settling sync.Once
	unprobed atomic.Int64 // targets of which no probe has ended
}

func newMonitor(targets int, waiting bool, limit time.Duration, notify func(Event)) *monitor {
	m := &monitor{notify: notify, began: time.Now(), limit: max(limit, 0), changed: make(chan struct{}, 1), settled: make(chan struct{})}
	m.waiting.Store(waiting)
	m.unprobed.Store(int64(targets))
	return m
}

func (m *monitor) settle() { m.settling.Do(func() { close(m.settled) }) }

// observe handles the end of a probe of t. probes is the number of t's probes that
// have ended; changed says whether t's health has changed.
func (m *monitor) observe(t *target, p *Probe, probes int, changed bool) {
	if p.Cause == CauseShortage {
		m.shortages.Report("a target could not be probed", errors.New(p.Error))
	}
	waiting := m.waiting.Load()
	e := Event{Kind: EventProbed, Target: t.address, Probe: p}
	if waiting {
		e.Probes, e.Elapsed, e.Limit = probes, time.Since(m.began), m.limit
		m.notify(e)
	}
	switch e.Limit = 0; {
	case changed && p.Passed:
		e.Kind = EventHealthy
		m.notify(e)
	case changed && !waiting:
		e.Kind = EventUnhealthy
		m.notify(e)
	}
	if probes == 1 && m.unprobed.Add(-1) == 0 || p.Passed && !m.thorough {
		m.settle()
	}
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// awaitHealthy waits until all targets are healthy at once. It returns an
// *UnhealthyError when d's Timeouts.Deploy has passed, and an error that wraps one when
// ctx ends, unless another change or the end of the Proxy ends it.
func (m *monitor) awaitHealthy(ctx context.Context, targets []*target, d *Deployment) error {
	defer m.waiting.Store(false)
	limit := d.Timeouts.Deploy
	var timeout <-chan time.Time
	if limit >= 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		timeout = timer.C
	}
	for !allHealthy(targets) {
		select {
		case <-m.changed:
		case <-timeout:
			if err := unhealthy(targets, d); len(err.Targets) > 0 {
				return err
			}
			return nil // the last target has become healthy just now
		case <-ctx.Done():
			err := unhealthy(targets, d)
			err.Waited = time.Since(m.began).Round(time.Millisecond)
			return interrupted.Error(ctx, err, ErrSuperseded, ErrClosed)
		}
	}
	return nil
}

func allHealthy(targets []*target) bool {
	return !slices.ContainsFunc(targets, func(t *target) bool { return !t.healthy.Load() })
}

// unhealthy returns an error with the addresses of d that are not healthy, each once.
func unhealthy(targets []*target, d *Deployment) *UnhealthyError {
	err := &UnhealthyError{Waited: d.Timeouts.Deploy}
	if i := slices.IndexFunc(d.Hosts, func(host string) bool { return !strings.HasPrefix(host, "*.") }); i >= 0 {
		err.Host = d.Hosts[i]
	}
	for _, t := range targets {
		if u, ok := t.unhealthy(); ok && !slices.ContainsFunc(err.Targets, func(o UnhealthyTarget) bool { return o.Address == u.Address }) {
			err.Targets = append(err.Targets, u)
		}
	}
	return err
}

func (t *target) unhealthy() (UnhealthyTarget, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return UnhealthyTarget{Address: t.address, Probes: t.probes, Last: t.last}, t.health != HealthHealthy
}

// failure returns what t's last probe saw, for a service with that host.
func (t *UnhealthyTarget) failure(host string) advice.Failure {
	f := advice.Failure{Target: t.Address, At: t.Address, Bare: endpoint.WithoutScheme(t.Address), Service: host}
	p := t.Last
	if asked, err := url.Parse(p.URL); err == nil && !strings.HasPrefix(f.At, "unix:") && !strings.HasPrefix(f.At, "handler:") {
		f.At = asked.Host // with HealthCheck.Port
	}
	f.Cause, f.Path, f.Host, f.Status, f.Location, f.Body, f.Error = string(p.Cause), pathOf(p.URL), p.Host, p.Status, p.Location, p.Body, p.Error
	f.IsCall = p.method() == http.MethodPost
	return f
}

// hints returns what to try, each hint once.
func (e *UnhealthyError) hints() (all []string) {
	var failures []advice.Failure
	isUnknown, isShort := false, false
	for _, t := range e.Targets {
		switch {
		case t.Last == nil:
			isUnknown = true
		case t.Last.Cause == CauseShortage:
			isShort = true
		default:
			failures = append(failures, t.failure(e.Host))
		}
	}
	all = advice.For(failures)
	if isUnknown {
		all = append(all, "the deploy ended before the first answer: give Timeouts.Deploy more than HealthCheck.Timeout, or see why the target takes so long")
	}
	if isShort {
		all = append(all, "the proxy has too many files open, and could not ask: "+descriptors.HowToRaise)
	}
	return all
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

func (e *UnhealthyError) Error() string {
	var b strings.Builder
	for i, t := range e.Targets {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s did not become healthy in %v: ", t.Address, e.Waited)
		if t.Last == nil {
			b.WriteString("its first probe was not answered")
			continue
		}
		fmt.Fprintf(&b, "%v (%d probes)", t.Last, t.Probes)
	}
	return b.String()
}

func (e *UnhealthyError) Unwrap() error { return ErrUnhealthy }

// Format writes e as Error does. For %+v, it adds lines about each target, what it
// was asked and what it answered, and what to do.
func (e *UnhealthyError) Format(s fmt.State, verb rune) {
	var names []string
	var below strings.Builder
	for _, t := range e.Targets {
		names = append(names, t.Address)
		if t.Last == nil {
			fmt.Fprintf(&below, "\n  no probe of %s has ended", t.Address)
		} else {
			probes := "1 probe"
			if t.Probes != 1 {
				probes = fmt.Sprintf("%d probes", t.Probes)
			}
			fmt.Fprintf(&below, "\n  %s %s  Host: %s   %s\n  last answer: %s", t.Last.method(), t.Last.URL, t.Last.Host, probes, t.Last.answer())
		}
	}
	for _, hint := range e.hints() {
		fmt.Fprintf(&below, "\n  %s", hint)
	}
	verbose.Format(s, verb, e, fmt.Sprintf("%s did not become healthy in %v%s", strings.Join(names, ", "), e.Waited, &below))
}

// Hint returns what an operator can try, each hint once and on a line of its own.
func (e *UnhealthyError) Hint() string { return strings.Join(e.hints(), "\n") }
