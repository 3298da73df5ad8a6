package proxytest

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shahnk19/parachute/internal/http1"
)

// A Backend is an app on a Net: an [http.Server] that answers health checks by
// itself and hands everything else to a handler.
type Backend struct {
	net      *Net
	t        testing.TB
	tls      *tls.Config // nil: it is plain HTTP
	handler  http.Handler
	requests atomic.Int64
	probes   atomic.Int64
	health   atomic.Int64
	running  sync.WaitGroup // listeners, connections, handlers
	mu       sync.Mutex     // guards address, listener, cancel
	address  string
	listener *listener
	cancel   context.CancelFunc // ends the requests of listener
}

// serverVariable names the environment variable that chooses the server of Backends
// without TLS: http1 for package http1, and net/http for anything else.
const serverVariable = "PROXYTEST_SERVER"

// HasHTTP1 reports whether Backends without TLS are served by package http1.
func HasHTTP1() bool { return os.Getenv(serverVariable) == "http1" }

// serveHTTP1 serves l with package http1 until ctx ends.
func (b *Backend) serveHTTP1(ctx context.Context, l net.Listener) {
	server := &http1.Server{Handler: http.HandlerFunc(b.serve), HeadTimeout: -1, IdleTimeout: -1}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	server.Serve(l)
	server.Close()
	server.Shutdown(context.Background())
}

// Serve starts a Backend with the given handler at address, on whose port 0
// see [Net.Listen]. Where that is impossible it ends the test. When the test
// ends, the Backend is stopped and its handlers are waited for.
//
// Any handler will do, a proxy too: call SetHealth(0) for one that answers
// GET /up itself.
func (n *Net) Serve(t testing.TB, address string, handler http.Handler) *Backend {
	t.Helper()
	return n.serve(t, address, nil, handler)
}

// ServeTLS is Serve for HTTPS, and for HTTP/2 where config offers it.
func (n *Net) ServeTLS(t testing.TB, address string, config *tls.Config, handler http.Handler) *Backend {
	t.Helper()
	return n.serve(t, address, config, handler)
}

func (n *Net) serve(t testing.TB, address string, config *tls.Config, handler http.Handler) *Backend {
	t.Helper()
	b := &Backend{net: n, t: t, tls: config, handler: handler, address: address}
	b.SetHealth(http.StatusOK)
	b.Start()
	t.Cleanup(b.close)
	return b
}

// Addr returns the address to dial.
func (b *Backend) Addr() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.address
}

// Requests tells how many requests the handler was given.
func (b *Backend) Requests() int { return int(b.requests.Load()) }

// Probes tells how many health checks were answered without the handler.
func (b *Backend) Probes() int { return int(b.probes.Load()) }

// SetHealth chooses the status with which GET /up is answered from now on. It
// is 200 at first; 0 leaves /up to the handler.
func (b *Backend) SetHealth(status int) { b.health.Store(int64(status)) }

// Stop closes the listener and all connections at once, hijacked ones too, as
// kill -9 would. The contexts of running requests are canceled, but their
// handlers are not waited for. Stopping what is stopped does nothing.
func (b *Backend) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listener.kill()
	b.cancel()
}

// Start serves again, at the same address, after Stop. It must be called by
// the test's own goroutine and ends the test if the address is in use, be it
// by this very Backend.
func (b *Backend) Start() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	l, address := b.net.listenFor(b.t, b.address)
	ctx, cancel := context.WithCancel(context.Background())
	b.listener, b.address, b.cancel = l, address, cancel
	if HasHTTP1() && b.tls == nil {
		b.running.Go(func() { b.serveHTTP1(ctx, l) })
		return
	}
	server := &http.Server{
		Handler:     http.HandlerFunc(b.serve),
		ConnState:   b.count,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	b.running.Go(func() { server.Serve(b.listen(l)) })
}

func (b *Backend) listen(l net.Listener) net.Listener {
	if b.tls == nil {
		return l
	}
	return tls.NewListener(l, b.tls)
}

func (b *Backend) close() {
	b.Stop()
	b.running.Wait()
}

// count keeps running above zero from accepting a connection to its end or,
// if it is hijacked, to the end of its handler.
func (b *Backend) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		b.running.Add(1)
	case http.StateClosed, http.StateHijacked:
		b.running.Done()
	}
}

func (b *Backend) serve(w http.ResponseWriter, r *http.Request) {
	b.running.Add(1)
	defer b.running.Done()
	health := int(b.health.Load())
	if health != 0 && r.Method == http.MethodGet && r.URL.Path == "/up" {
		b.probes.Add(1)
		w.WriteHeader(health)
		return
	}
	b.requests.Add(1)
	if HasHTTP1() && r.ProtoMajor == 1 {
		defer spoil(w, r)
	}
	b.handler.ServeHTTP(w, r)
}

// spoil makes a request that is done useless for whoever has kept it: its server makes
// the next one of the same memory. What is in the header of the response is left.
func spoil(w http.ResponseWriter, r *http.Request) {
	const spoilt = "spoilt"
	shared := make(map[*string]bool)
	for _, values := range w.Header() {
		for i := range values {
			shared[&values[i]] = true
		}
	}
	for _, values := range r.Header {
		for i := range values {
			if !shared[&values[i]] {
				values[i] = spoilt
			}
		}
	}
	clear(r.Header)
	*r.URL = url.URL{Path: spoilt}
	r.Method, r.Host, r.RequestURI, r.RemoteAddr, r.Proto = spoilt, spoilt, spoilt, spoilt, spoilt
	r.Body, r.TLS, r.Trailer, r.ContentLength = nil, nil, nil, 0
}

// Client returns a client that dials n and shows answers as they are: it
// follows no redirect, asks for no compression, and knows no proxy. To reach
// one server under many names, set a request's Host. The client's idle
// connections are closed when the test ends.
func (n *Net) Client(t testing.TB) *http.Client {
	transport := &http.Transport{DialContext: n.Dial, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: stay}
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
