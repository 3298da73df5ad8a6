package upstream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/shahnk19/parachute/internal/field"
)

// An H2C does what a Pool does, with a target that speaks HTTP/2: without TLS
// (RFC 9113, section 3.3), as gRPC servers are often run, or with it, where the
// Options have some. It stands on [http.Transport], which has goroutines for each
// connection and exchange.
//
// What a Pool promises holds here, too, except that a request's body that is not
// small is always read by a goroutine, that protocols are never switched (to ask
// for that is an error of the Reason Target), and that Close does not wait for
// the goroutines of a connection that it has closed. A request that the target
// has not begun with, as it says, is sent again once.
type H2C struct {
	o       Options
	scheme  string
	renewed func() *carrier    // returns a new one
	stop    context.CancelFunc // ends dials
	running sync.WaitGroup     // round trips, dials, reads of bodies; grows only under mu, while closed is false

	mu      sync.Mutex // guards the fields below, and those of carriers
	closed  bool
	active  map[*h2cExchange]struct{}
	conns   map[*h2cConn]struct{} // of all carriers
	carrier *carrier              // of exchanges that begin
}

// NewH2C returns an H2C for the target that o describes. Nothing is dialled yet.
func NewH2C(o Options) *H2C {
	o.setDefaults()
	o.setServerName()
	life, stop := context.WithCancel(context.Background())
	p := &H2C{o: o, stop: stop, active: make(map[*h2cExchange]struct{}), conns: make(map[*h2cConn]struct{})}
	if p.scheme = "http"; o.TLS != nil {
		p.scheme = "https"
		p.o.TLS.NextProtos = []string{protocolHTTP2}
	}
	p.renewed = func() *carrier { return p.newCarrier(life) }
	p.carrier = p.renewed()
	return p
}

// protocolHTTP2 is the name of HTTP/2 in a TLS handshake (RFC 9113, section 3.2).
const protocolHTTP2 = "h2"

// CloseIdle closes the connections that no exchange uses.
func (p *H2C) CloseIdle() {
	p.mu.Lock()
	transport := p.carrier.transport
	p.mu.Unlock()
	transport.CloseIdleConnections()
}

// Close is the Close of a Pool.
func (p *H2C) Close() {
	p.mu.Lock()
	p.closed = true
	active, conns := p.active, p.conns
	p.active, p.conns = nil, nil
	p.mu.Unlock()

	for x := range active {
		x.cut(Cut, errPoolClosed)
	}
	p.stop() // then, lest a dial that this ends is taken for one that failed
	for c := range conns {
		c.Conn.Close()
	}
	p.CloseIdle()
	p.running.Wait()
}

func (p *H2C) cutRequests(g *Exchanges) (cut int64) {
	p.mu.Lock()
	g.cut = true
	active := slices.Collect(maps.Keys(p.active))
	p.mu.Unlock()
	for _, x := range active {
		if x.among == g && !x.isStream() && x.cut(Cut, errTooLate) {
			cut++
		}
	}
	return cut
}

// enter counts a goroutine, or what has to be over when Close returns, until
// running.Done. It reports false if p is closed.
func (p *H2C) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.running.Add(1)
	return true
}

// ErrNoHTTP2 is the error of an exchange whose target has answered a TLS handshake,
// but speaks no HTTP/2 over it.
var ErrNoHTTP2 = errors.New("the target does not speak HTTP/2 over TLS")

// A dialError is an error of a dial, as opposed to one of a round trip.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

// dial opens a connection of k. It is given up when ctx ends, or life, which is p's.
func (p *H2C) dial(life, ctx context.Context, k *carrier) (net.Conn, error) {
	if !p.enter() {
		return nil, dialError{errPoolClosed}
	}
	defer p.running.Done()
	ctx, cancel := withTimeout(ctx, p.o.DialTimeout)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	raw, err := p.o.dial(ctx)
	if err != nil {
		return nil, dialError{err}
	}
	c := &h2cConn{Conn: raw, pool: p, of: k, addr: p.o.addrOf(raw)}
	if !p.adopt(c) {
		raw.Close()
		return nil, dialError{errPoolClosed}
	}
	if p.o.TLS == nil {
		return c, nil
	}
	secured, err := p.secure(ctx, c)
	if err != nil {
		c.Close()
		return nil, dialError{err}
	}
	return secured, nil
}

// adopt makes c one that p closes, and reports false if p is closed, or nobody
// wants c any more.
func (p *H2C) adopt(c *h2cConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || c.of.isOverLocked() {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *H2C) secure(ctx context.Context, c net.Conn) (*tls.Conn, error) {
	secured := tls.Client(c, p.o.TLS)
	err := secured.HandshakeContext(ctx)
	switch {
	case err != nil && strings.HasSuffix(err.Error(), "no application protocol"): // RFC 7301, section 3.2
		return nil, fmt.Errorf("%w: %w", ErrNoHTTP2, err)
	case err != nil:
		return nil, err
	case secured.ConnectionState().NegotiatedProtocol != protocolHTTP2:
		return nil, ErrNoHTTP2
	}
	return secured, nil
}

// begin is enter for x: for its round trip and its watcher.
func (p *H2C) begin(x *h2cExchange) bool {
	p.mu.Lock()
	if p.closed || !x.among.isOpen() {
		p.mu.Unlock()
		return false
	}
	p.running.Add(2)
	p.active[x] = struct{}{}
	unused := p.renewLocked()
	x.carrier = p.carrier
	x.carrier.active++
	x.carrier.requests++
	if p.o.isSpent(x.carrier.requests) {
		p.replaceLocked()
	}
	p.mu.Unlock()
	closeUnused(unused)
	return true
}

func (p *H2C) leave(x *h2cExchange) {
	p.mu.Lock()
	delete(p.active, x)
	x.carrier.active--
	unused := p.unusedLocked(x.carrier)
	p.mu.Unlock()
	closeUnused(unused)
}

// Exchange is the Exchange of a Pool.
func (p *H2C) Exchange(r *http.Request, requestTarget string, header field.View, interim func(status int, h http.Header)) (*http.Response, error) {
	return p.exchange(nil, r, requestTarget, header, interim)
}

func (p *H2C) exchange(g *Exchanges, r *http.Request, requestTarget string, header field.View, interim func(status int, h http.Header)) (*http.Response, error) {
	if err := checkStream(r, requestTarget, header); err != nil {
		closeBody(r)
		return nil, &Error{Reason: BadRequest, Err: err}
	}
	if protocol := header.Get("Upgrade"); protocol != "" {
		return nil, &Error{Reason: Target, Repeatable: true, Err: fmt.Errorf("switching protocols: %s is asked for, which HTTP/2 has no upgrade to: deploy the target without h2c://", protocol)}
	}
	small, err := takeSmall(r, header)
	if err != nil {
		return nil, &Error{Reason: ClientBody, Err: err}
	}
	for again := false; ; again = true {
		x := &h2cExchange{
			call:     field.IsCall(r),
			pool:     p,
			among:    g,
			small:    small,
			interims: newInterims(),
			changed:  make(chan struct{}, 1),
			sent:     make(chan struct{}, 1),
			result:   make(chan error, 1),
		}
		ctx, cancel := context.WithCancel(r.Context())
		x.cancel = cancel
		err := x.run(ctx, r, x.outgoing(ctx, r, requestTarget, header), interim)
		if err == nil {
			x.settle(nil)
			return x.response, nil
		}
		if err.Repeatable && x.unprocessed && !again {
			continue // on another connection, if it was this one that is going away
		}
		x.settle(err)
		if err.Repeatable && len(small) != 0 {
			r.Body = io.NopCloser(bytes.NewReader(small))
		}
		return nil, err
	}
}

// takeSmall reads a body of at most maxSmall bytes, which can be sent in one
// piece and more than once: an answer that comes early then has nobody who is
// still sending, and a target that has not begun with the request is no loss.
func takeSmall(r *http.Request, header field.View) ([]byte, error) {
	length := bodyLength(r)
	if length <= 0 || length > maxSmall || len(r.Trailer) > 0 || header.HasToken("Expect", "100-continue") {
		return nil, nil
	}
	defer r.Body.Close()
	small := make([]byte, length)
	return small, readWhole(r.Body, small)
}

// checkStream reports what cannot be sent.
func checkStream(r *http.Request, requestTarget string, header field.View) error {
	if requestTarget != "*" && !strings.HasPrefix(requestTarget, "/") {
		return fmt.Errorf("cannot be sent: %q %q", r.Method, requestTarget)
	}
	_, err := appendHead(nil, r, requestTarget, header, 0, false)
	return err
}

// unknownHost stands for the authority of a request that has none, so that it
// is not the target's address.
const unknownHost = "unknown.invalid"

// goesInStreams reports whether a request's field is one of HTTP/2 (RFC 9113,
// section 8.2.2), and not written by the transport itself.
func goesInStreams(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Upgrade":
		return false
	}
	return !isDerived(name)
}

// outgoing makes the request for the transport, which has it to itself: when a
// round trip is given up, it returns while another goroutine still encodes it.
func (x *h2cExchange) outgoing(ctx context.Context, r *http.Request, requestTarget string, header field.View) *http.Request {
	fields := header.Clone()
	for name := range fields {
		if !goesInStreams(name) {
			delete(fields, name)
		}
	}
	if _, ok := fields["User-Agent"]; !ok {
		fields["User-Agent"] = nil // the transport's own is not wanted
	}
	host := cmp.Or(hostOf(r, header), unknownHost)
	path := requestTarget
	if requestTarget != "*" {
		// The transport takes away what is before the path, and lets it as it is.
		path = "//" + host + requestTarget
	}
	out := &http.Request{
		Method:  r.Method,
		URL:     &url.URL{Scheme: x.pool.scheme, Host: unknownHost, Opaque: path},
		Host:    host,
		Header:  fields,
		Trailer: r.Trailer,
	}
	switch out.ContentLength = bodyLength(r); {
	case len(x.small) > 0:
		out.Body = io.NopCloser(bytes.NewReader(x.small))
	case out.ContentLength != 0:
		x.upload = &upload{x: x, body: r.Body, passed: make(chan struct{}), ended: ctx.Done()}
		out.Body = x.upload
	default:
		closeBody(r)
	}
	return out.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:              x.gotConn,
		WroteHeaders:         x.wroteHeaders,
		WroteRequest:         x.wroteRequest,
		GotFirstResponseByte: func() { x.heard.Store(true) },
		Got1xxResponse:       x.got1xx,
	}))
}
