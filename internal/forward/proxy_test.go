package forward_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// Where the proxy and the target of a test are.
const (
	proxyAddr  = "proxy:80"
	targetAddr = "app:80"
)

// loopback is trusted where a test says so: the clients of a proxytest.Net
// have addresses there.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// start is when every request of a test has begun.
var start = time.UnixMilli(1700000000123)

// A proxy answers as the contract of Forward has it.
type proxy struct {
	exchange forward.Exchange
	trusted  []netip.Prefix
	prefix   string
	stream   func(io.Closer) // nil: nobody wants to know
	mute     atomic.Bool
	outcomes chan outcome // one for each request that was forwarded
}

type outcome struct {
	forward.Result
	err error
}

func newProxy(exchange forward.Exchange) *proxy {
	return &proxy{exchange: exchange, outcomes: make(chan outcome, 1000)}
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target, err := forward.RequestTarget(r, p.prefix)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	result, err := forward.Forward(w, r, p.exchange, &forward.Options{
		RequestTarget: target,
		Prefix:        p.prefix,
		Client:        forward.ClientOf(r, p.trusted, ""),
		RequestID:     "our-id",
		Start:         start,
		GRPC:          true,
		Stream:        onStream(p.opened),
		NoCloseFrames: &p.mute,
	})
	p.outcomes <- outcome{result, err}
	switch {
	case result.Open:
		w.Header()[http.TrailerPrefix+"Grpc-Status"] = []string{"14"}
	case err != nil && result.Status == 0:
		http.Error(w, err.Error(), http.StatusBadGateway)
	case err != nil:
		panic(http.ErrAbortHandler)
	}
}

func (p *proxy) opened(stream io.Closer) {
	if p.stream != nil {
		p.stream(stream)
	}
}

// serve puts a handler behind a real http.Server.
func serve(t *testing.T, n *proxytest.Net, h http.Handler) {
	n.Serve(t, proxyAddr, h).SetHealth(0)
}

// newPool returns what reaches the target in earnest.
func newPool(t *testing.T, n *proxytest.Net) *upstream.Pool {
	p := upstream.New(upstream.Options{Network: "tcp", Address: targetAddr, Dial: n.Dial})
	t.Cleanup(p.Close)
	return p
}

// newTransport returns a transport to the target.
func newTransport(t *testing.T, n *proxytest.Net) *http.Transport {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return n.Dial(ctx, network, targetAddr)
		},
		DisableCompression:    true,
		ExpectContinueTimeout: time.Second,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// onStream is called when an exchange becomes a stream.
type onStream func(stream io.Closer)

func (f onStream) BecomeStream(stream io.Closer) { f(stream) }

// answering is an Exchange without a target.
func answering(res func() *http.Response) forward.Exchange {
	return func(*http.Request, string, field.View, func(int, http.Header)) (*http.Response, error) {
		return res(), nil
	}
}

// dial connects a client to the proxy.
func dial(t *testing.T, n *proxytest.Net) net.Conn {
	t.Helper()
	c, err := n.Dial(t.Context(), "tcp", proxyAddr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// hear returns what c receives within d, and what state it is in then: open,
// closed or reset.
func hear(c net.Conn, d time.Duration) (received, state string) {
	c.SetReadDeadline(time.Now().Add(d))
	b, err := io.ReadAll(c)
	switch {
	case err == nil:
		state = "closed"
	case errors.Is(err, os.ErrDeadlineExceeded):
		state = "open"
	default:
		state = "reset"
	}
	return string(b), state
}

// An exchange hands what it is called with to a test, and returns what that
// says.
type exchange struct {
	calls chan call
}

type call struct {
	r       *http.Request
	interim func(int, http.Header)
	answer  chan<- answer
}

type answer struct {
	res *http.Response
	err error
}

type interimHead struct {
	status int
	header http.Header
}

func newExchange() *exchange { return &exchange{calls: make(chan call)} }

// Exchange runs interim on this goroutine, as it must.
func (x *exchange) Exchange(r *http.Request, _ string, _ field.View, interim func(int, http.Header)) (*http.Response, error) {
	answers := make(chan answer)
	heads := make(chan interimHead)
	later := func(status int, h http.Header) { heads <- interimHead{status, h} }
	x.calls <- call{r, later, answers}
	for {
		select {
		case h := <-heads:
			interim(h.status, h.header)
		case a := <-answers:
			return a.res, a.err
		}
	}
}

// response makes an answer of a head and a body.
func response(status int, body string, fields ...string) *http.Response {
	h := http.Header{"Content-Type": {"a/b"}}
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, ContentLength: -1, Body: io.NopCloser(strings.NewReader(body))}
}

// played is a test of one request on a Net, answered by the test itself.
func played(t *testing.T, send string, test func(t *testing.T, client net.Conn, p *proxy, c call)) {
	synctest.Test(t, func(t *testing.T) {
		n := new(proxytest.Net)
		x := newExchange()
		p := newProxy(x.Exchange)
		serve(t, n, p)
		client := dial(t, n)
		go io.WriteString(client, send)
		test(t, client, p, <-x.calls)
	})
}
