// Package backend reaches the servers behind targets: a Backend has the connections to
// one server, for requests, and asks it about its health.
package backend

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/shahnk19/parachute/internal/endpoint"
	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/healthcheck"
	"github.com/shahnk19/parachute/internal/inprocess"
	"github.com/shahnk19/parachute/internal/inuse"
	"github.com/shahnk19/parachute/internal/location"
	"github.com/shahnk19/parachute/internal/probe"
	"github.com/shahnk19/parachute/internal/resolve"
	"github.com/shahnk19/parachute/internal/trust"
	"github.com/shahnk19/parachute/internal/upstream"
)

// Shared is what Backends have in common. Its fields must not change once New was
// called; its methods may be called from any goroutine. Those whose Shared is the same
// share their probes.
type Shared struct {
	// Names says how the names of servers are looked up. If nil, Dial does it.
	Names *resolve.Options

	// Dial opens connections to servers whose names are not looked up, and to unix
	// sockets; nil: a net.Dialer does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Handlers are the servers in this process, by name.
	Handlers map[string]*inprocess.Server

	// Listening are the addresses at which this process serves its clients.
	Listening []netip.AddrPort

	// Header is in each request that no client sent, beside what Backends add.
	Header http.Header

	schedule probe.Schedule[key, *Result]
	places   inuse.Counter[endpoint.Endpoint] // of the Backends that were started
}

// Settings say how a server is spoken to.
type Settings struct {
	// Check is how it is asked about its health. It must be normalized.
	Check healthcheck.Settings

	// Trust says which certificates are accepted, where it has one.
	Trust trust.Settings

	// ResponseTimeout is that of upstream.Options, for requests.
	ResponseTimeout time.Duration

	// KeepAlive is for how many requests a connection is used. Probes have one each.
	KeepAlive KeepAlive

	// OverTLS says that clients send their requests over TLS. Requests that no client
	// sent claim the same.
	OverTLS bool

	// Log is the attributes, in pairs, of each line of the log about the server's name.
	// Backends add the target to them.
	Log []any
}

// KeepAlive says for how many requests a connection is used: for any number, for
// Requests of them if that is not 0, or for one if it is Off.
type KeepAlive struct {
	Off      bool
	Requests int
}

// Check returns what is wrong with k, and what would be right.
func (k KeepAlive) Check() error {
	if k.Requests < 0 || k.Off && k.Requests > 0 {
		return fmt.Errorf("%d requests on a connection to a target: want 0 for any number, or more, or each on a connection of its own", k.Requests)
	}
	return nil
}

// maxRequests returns k as the MaxRequests of upstream.Options.
func (k KeepAlive) maxRequests() int {
	if k.Off {
		return 1
	}
	return k.Requests
}

// A Backend has the connections to one server. Its methods may be called from any
// goroutine, but Start only once. Whoever made it must call Close.
type Backend struct {
	Origin location.Origin // of the server, which it may take for the clients'; zero: it has none
	HTTP2  bool            // the server speaks HTTP/2, if only for gRPC calls

	shared    *Shared
	at        endpoint.Endpoint
	name      *resolve.Name // of the server's host; nil: there is none to look up
	transport upstream.Transport
	header    http.Header // of each request that no client sent
	prober    *prober
	trust     trust.Identity                 // which certificates prober accepts
	interval  time.Duration                  // of the probes
	fall      int                            // how many of them must fail
	following *probe.Following[key, *Result] // nil before Start
}

// New returns a Backend for the server at an endpoint. If that is a handler, Handlers
// must have it. Nothing is dialled yet.
func (s *Shared) New(at endpoint.Target, with Settings) *Backend {
	o := upstream.Options{
		Network:         at.Network,
		Address:         at.Address,
		Dial:            s.Dial,
		ResponseTimeout: with.ResponseTimeout,
		MaxRequests:     with.KeepAlive.maxRequests(),
	}
	var trusted trust.Settings
	if at.Scheme == "https" {
		trusted = with.Trust
		o.TLS = trusted.Config
	}
	name := s.lookedUp(at, &with)
	if name != nil {
		o.Dial, o.IsCurrent = name.Dial, name.IsCurrent
	}
	if at.IsHandler() {
		o.Dial, o.Vital = s.Handlers[at.Address].Dial, true // it takes no descriptor
	}
	b := &Backend{
		HTTP2:     at.Scheme != "http",
		shared:    s,
		at:        at.Endpoint,
		name:      name,
		transport: upstream.For(at.Scheme, o),
		header:    s.header(&with),
		trust:     trusted.Identity,
		interval:  with.Check.Interval,
		fall:      with.Check.Fall,
	}
	b.prober = newProber(at.Endpoint, o, with.Check, b.header, name)
	if at.Network == "tcp" {
		b.Origin = location.NewOrigin(at.Scheme == "https", at.Address)
	}
	return b
}

// lookedUp returns the name of the target's host, or nil if there is nothing to look
// up. What the name logs carries the target as it is spelled.
func (s *Shared) lookedUp(at endpoint.Target, with *Settings) *resolve.Name {
	host, ok := at.Name()
	if s.Names == nil || !ok {
		return nil
	}
	o := *s.Names
	o.Fall = with.Check.Fall
	if o.Logger != nil {
		o.Logger = o.Logger.With(with.Log...).With("target", at.Given)
	}
	return resolve.New(host, o)
}

// header returns that of each request that no client sent.
func (s *Shared) header(with *Settings) http.Header {
	header := http.Header{"Connection": {"close"}}
	for name, values := range s.Header {
		header[name] = slices.Clip(values) // a check may add to them
	}
	if with.OverTLS {
		// Otherwise, an app that insists on TLS would redirect the request.
		header["X-Forwarded-Proto"] = []string{"https"}
	}
	return header
}

// Place returns where the server is, whatever is spoken there.
func (b *Backend) Place() endpoint.Endpoint { return b.at.Place() }

// IsPlaceUsed reports whether one of the Backends of b's place, b among them, was
// started and is not closed.
func (b *Backend) IsPlaceUsed() bool { return b.shared.places.IsUsed(b.Place()) }

// NewExchanges returns the Exchanges of a lane with the server, of which none has begun.
func (b *Backend) NewExchanges() *upstream.Exchanges { return b.transport.NewExchanges() }

// Get asks the server for a request target of a host, as a client of that host would.
// The caller must close the answer's body. An error is an *upstream.Error, unless host
// cannot be one.
func (b *Backend) Get(ctx context.Context, host, requestTarget string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host, nil)
	if err != nil {
		return nil, err
	}
	return b.transport.Exchange(r, requestTarget, field.ViewOf(b.header), nil)
}

// Start begins to probe the server. It probes eagerly until pause, which is the Pause
// of a probe.Subject, says that this is enough, or until the pauses reach the interval.
// From then on it probes at the interval, with one probe for all Backends of b's Shared
// that would send the same one. It calls report with each result, one at a time. report
// must not end the probing.
//
// The eager probes are not shared, and report gets no result of a probe that began
// before Start. So nothing is judged by a probe that is older than itself.
func (b *Backend) Start(pause func(time.Duration) (time.Duration, bool), report func(*Result)) {
	b.shared.places.Acquire(b.Place())
	b.following = b.shared.schedule.Follow(probe.Subject[key, *Result]{
		Key:      b.key(),
		Share:    b.share,
		Report:   func(r *Result) { b.followResult(r); report(r) },
		Run:      b.prober.probe,
		Interval: b.interval,
		Pause:    pause,
	})
}

// StopProbes ends what Start has begun, and waits for its end. After it returns, report
// is not called any more.
func (b *Backend) StopProbes() { b.following.Stop() }

// Close ends the probing, if it was started, and cuts off every request. After it
// returns, nothing is sent to the server, and none of b's goroutines runs.
func (b *Backend) Close() {
	if b.following != nil {
		b.following.Stop()
		defer b.shared.places.Release(b.Place())
	}
	b.transport.Close()
	if b.name != nil {
		b.name.Close()
	}
}
