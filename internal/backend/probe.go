package backend

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/shahnk19/parachute/internal/endpoint"
	"github.com/shahnk19/parachute/internal/health"
	"github.com/shahnk19/parachute/internal/healthcheck"
	"github.com/shahnk19/parachute/internal/probe"
	"github.com/shahnk19/parachute/internal/resolve"
	"github.com/shahnk19/parachute/internal/trust"
	"github.com/shahnk19/parachute/internal/upstream"
)

// A Result is what a probe has seen. It never changes: all Backends that share the probe
// get the same one.
type Result struct {
	healthcheck.Report
	by      *prober
	reached resolve.Reached // of the addresses of by.name
}

// URL returns what was asked.
func (r *Result) URL() string { return r.by.url }

// Host returns the Host header that was sent.
func (r *Result) Host() string { return r.by.check.Host() }

// Health returns what r says about the server's health.
func (r *Result) Health() health.Result {
	return health.Result{
		Began:   r.Began,
		Passed:  r.Passed,
		Refused: r.Cause == healthcheck.Cause(upstream.CauseRefused),
		Void:    r.Cause == healthcheck.Cause(upstream.CauseShortage),
	}
}

// Probe asks the server once, beside what Start has begun. If ctx ends meanwhile, the
// Result says nothing about the server.
func (b *Backend) Probe(ctx context.Context) *Result { return b.prober.probe(ctx) }

// followResult tells b's name what the result of a probe says about its addresses. The
// probe may have been sent for another Backend, by another Name.
func (b *Backend) followResult(r *Result) {
	if b.name == nil {
		return
	}
	if r.by.name != b.name {
		b.name.Follow(r.by.name)
		r.reached.Judge(b.name, r.Passed)
	}
	b.transport.CloseStale() // the probe has looked the name up
}

// A prober sends the probes of one server. It connects to the server as requests do, but
// each probe has a connection of its own. A prober never changes, and several Backends
// may use it at once.
type prober struct {
	name     *resolve.Name // of the host; nil: there is none to look up
	upstream upstream.Options
	isH2C    bool // the server speaks HTTP/2 alone
	check    *healthcheck.Check
	url      string
}

// newProber returns the prober of the server at an endpoint. o are the options for
// requests; header is sent with each probe, and gets what check adds to it; name is that
// of the server's host, or nil.
func newProber(at endpoint.Endpoint, o upstream.Options, check healthcheck.Settings, header http.Header, name *resolve.Name) *prober {
	o.DialTimeout, o.ResponseTimeout = -1, 0 // the check's timeout bounds the whole probe
	o.Vital = true                           // or many clients could make every server fail its probes
	o.IsCurrent, o.ReadBuffer, o.MaxRequests = nil, readBuffer, 0
	if o.Dial == nil {
		// No connection of a probe lives long enough to be kept alive.
		o.Dial = (&net.Dialer{KeepAlive: -1}).DialContext
	}
	probed := at.WithPort(check.Port)
	o.Address = probed.Address
	c := check.Check(probed.Authority(), header)
	return &prober{name: name, upstream: o, isH2C: c.IsCall() || at.Scheme == "h2c", check: c, url: probed.URL(c.Path())}
}

// readBuffer is the size of the buffer that an answer to a probe is read through. It is
// small because every probe has a new one. A longer answer takes several reads.
const readBuffer = 1 << 10

// probe asks the server once. It tells the name, if the server has one, which of its
// addresses was probed.
func (p *prober) probe(ctx context.Context) *Result {
	if p.name == nil {
		return &Result{by: p, Report: p.ask(ctx, p.upstream)}
	}
	o := p.upstream
	w := resolve.NewWitness(o.Dial)
	o.Dial = w.Dial
	r := &Result{by: p, Report: p.ask(ctx, o)}
	r.reached = w.Reached()
	r.reached.Judge(p.name, r.Passed)
	return r
}

// ask makes the check over a new connection with the options o.
func (p *prober) ask(ctx context.Context, o upstream.Options) healthcheck.Report {
	conns := p.open(o)
	defer conns.Close()
	return p.check.Report(ctx, conns.Exchange, unanswered)
}

// open returns the transport for one probe.
func (p *prober) open(o upstream.Options) upstream.Transport {
	if p.isH2C {
		return upstream.NewH2C(o)
	}
	return upstream.New(o)
}

// unanswered returns why an exchange has brought no answer, in words and as a Cause.
func unanswered(err error) (string, healthcheck.Cause) {
	cause := healthcheck.Cause(upstream.CauseOf(err))
	if e := (*upstream.Error)(nil); errors.As(err, &e) {
		err = e.Err // the Cause stands for the rest
	}
	return err.Error(), cause
}

// A key is all that decides on the result of a probe and on when it is sent.
type key struct {
	endpoint endpoint.Endpoint // that is probed
	trust    trust.Identity
	fall     int // that of the Backend if endpoint has a name, which it concerns; otherwise 0
	check    healthcheck.Key
	interval time.Duration
}

// key returns that of b's probes.
func (b *Backend) key() key {
	p := b.prober
	k := key{
		endpoint: endpoint.Endpoint{Scheme: b.at.Scheme, Network: p.upstream.Network, Address: p.upstream.Address},
		trust:    b.trust,
		check:    p.check.Key(),
		interval: b.interval,
	}
	if p.name != nil {
		k.fall = b.fall
	}
	return k
}

// share returns b's probe for the schedule. It does not depend on b: others may need it
// after b is closed.
func (b *Backend) share() probe.Check[*Result] {
	p := b.prober
	c := probe.Check[*Result]{Interval: b.interval, Run: p.probe}
	if p.name == nil {
		return c
	}
	shared := *p // b.Close closes the name of p
	shared.name = p.name.Heir()
	shared.upstream.Dial = shared.name.Dial
	c.Run, c.Close = shared.probe, shared.name.Close
	return c
}
