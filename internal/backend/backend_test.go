package backend_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/backend"
	"github.com/shahnk19/parachute/internal/endpoint"
	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/healthcheck"
	"github.com/shahnk19/parachute/internal/inprocess"
	"github.com/shahnk19/parachute/internal/location"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/resolve"
	"github.com/shahnk19/parachute/internal/trust"
)

// A bed is a network with a name server, and what Backends on it share.
type bed struct {
	t       *testing.T
	network proxytest.Net
	shared  backend.Shared
	log     bytes.Buffer

	mu      sync.Mutex // guards what follows
	addrs   []netip.Addr
	lookups int
}

// newBed returns a bed whose names all lead to addrs.
func newBed(t *testing.T, addrs ...string) *bed {
	b := &bed{t: t}
	b.leadTo(addrs...)
	b.shared.Dial = b.network.Dial
	b.shared.Names = &resolve.Options{Lookup: b.lookUp, Dial: b.network.Dial, Logger: slog.New(slog.NewTextHandler(&b.log, nil))}
	return b
}

func (b *bed) lookUp(context.Context, string) ([]netip.Addr, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lookups++
	if b.addrs == nil {
		return nil, &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	}
	return b.addrs, nil
}

// leadTo has the name server answer with addrs from now on, or with an error if there
// are none.
func (b *bed) leadTo(addrs ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addrs = nil
	for _, addr := range addrs {
		b.addrs = append(b.addrs, netip.MustParseAddr(addr))
	}
}

// new returns a Backend of b, which is closed when the test ends.
func (b *bed) new(target string, with backend.Settings) *backend.Backend {
	b.t.Helper()
	made := newOf(b.t, &b.shared, target, with)
	b.t.Cleanup(made.Close)
	return made
}

// newOf returns a Backend of shared.
func newOf(t *testing.T, shared *backend.Shared, target string, with backend.Settings) *backend.Backend {
	t.Helper()
	at, err := endpoint.ParseAll([]string{target})
	if err == nil {
		with.Check, err = with.Check.Normalize()
	}
	if err != nil {
		t.Fatal(err)
	}
	return shared.New(at[0], with)
}

// A sight is a request as a server has seen it.
type sight struct {
	*http.Request
	at string // the server's address
}

// serve has servers at addrs answer status to whatever they are asked. The channel has
// what they see.
func (b *bed) serve(status int, addrs ...string) <-chan sight {
	seen := make(chan sight, 100)
	for _, addr := range addrs {
		b.network.Serve(b.t, addr, handlerOf(status, addr, seen)).SetHealth(0)
	}
	return seen
}

func handlerOf(status int, addr string, seen chan<- sight) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- sight{r, addr}
		w.WriteHeader(status)
	})
}

// status returns that of the answer to a request which no client sent, or 0.
func status(t *testing.T, b *backend.Backend) int {
	res, err := b.Get(t.Context(), "app.example.com", "/ask?name=a")
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

// exchange sends a client's request to b's server, and reads the answer.
func exchange(t *testing.T, b *backend.Backend) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://app.example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.NewExchanges().Exchange(r, "/", field.ViewOf(http.Header{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
}

func TestRequestThatNoClientSentTellsWhoSendsIt(t *testing.T) {
	for name, overTLS := range map[string]bool{"plain": false, "over TLS": true} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			b := newBed(t)
			b.shared.Header = http.Header{"User-Agent": append(make([]string, 0, 2), "proxy/1"), "X-Hop": {"a"}}
			seen := b.serve(200, "10.0.0.1:80")
			b.new("10.0.0.1:80", backend.Settings{Check: healthcheck.Settings{Headers: []string{"User-Agent: mine"}}})
			to := b.new("10.0.0.1:80", backend.Settings{OverTLS: overTLS, Check: healthcheck.Settings{Headers: []string{"X-Check: yes"}}})
			is.Equal(status(t, to), 200)
			r := <-seen
			is.Equal([]string{r.Method, r.Host, r.RequestURI}, []string{"GET", "app.example.com", "/ask?name=a"})
			is.True(to.Probe(t.Context()).Passed)
			probe := <-seen
			is.Equal([]string{probe.Method, probe.Host, probe.RequestURI}, []string{"GET", "10.0.0.1:80", "/up"})
			for _, h := range []http.Header{r.Header, probe.Header} {
				is.Equal(h["User-Agent"], []string{"proxy/1"}) // what one Backend adds is not the others'
				is.Equal(h["X-Hop"], []string{"a"})
				is.Equal(h["X-Check"], []string{"yes"})
				is.Equal(h.Get("X-Forwarded-Proto") == "https", overTLS)
			}
			is.True(r.Close && probe.Close)
			is.Equal(len(b.shared.Header), 2) // it is the caller's
		})
	}
}

func TestHostThatCannotBeOneIsNotAskedFor(t *testing.T) {
	is := is.New(t)
	b := newBed(t)
	_, err := b.new("10.0.0.1:80", backend.Settings{}).Get(t.Context(), "a b", "/")
	is.True(err != nil)
	is.Equal(b.network.Dials("10.0.0.1:80"), 0)
}

func TestConnectionsAreUsedAsKeepAliveSays(t *testing.T) {
	for name, tt := range map[string]struct {
		keepAlive backend.KeepAlive
		dials     int
	}{
		"any number": {backend.KeepAlive{}, 1},
		"two":        {backend.KeepAlive{Requests: 2}, 2},
		"off":        {backend.KeepAlive{Off: true}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			b := newBed(t)
			b.serve(200, "10.0.0.1:80")
			is.NoErr(tt.keepAlive.Check())
			to := b.new("10.0.0.1:80", backend.Settings{KeepAlive: tt.keepAlive})
			for range 4 {
				exchange(t, to)
			}
			is.Equal(b.network.Dials("10.0.0.1:80"), tt.dials)
			is.True(to.Probe(t.Context()).Passed)
			is.Equal(b.network.Dials("10.0.0.1:80"), tt.dials+1) // a probe has its own
		})
	}
}

func TestKeepAliveThatSaysTwoThingsIsRefused(t *testing.T) {
	is := is.New(t)
	for _, k := range []backend.KeepAlive{{Requests: -1}, {Off: true, Requests: 1}} {
		is.True(k.Check() != nil)
	}
	is.Equal(backend.KeepAlive{Requests: -1}.Check().Error(), "-1 requests on a connection to a target: want 0 for any number, or more, or each on a connection of its own")
	is.NoErr(backend.KeepAlive{Off: true}.Check())
}

func TestCertificateIsVerifiedWhereTLSIsSpoken(t *testing.T) {
	is := is.New(t)
	b := newBed(t)
	ca := proxytest.NewCA()
	config := &tls.Config{Certificates: []tls.Certificate{ca.Issue("10.0.0.1")}}
	b.network.ServeTLS(t, "10.0.0.1:443", config, http.NotFoundHandler())
	b.serve(200, "10.0.0.1:80")
	trusting := trust.Settings{Config: &tls.Config{RootCAs: ca.Pool()}}
	secure := b.new("https://10.0.0.1:443", backend.Settings{Trust: trusting})
	saw := secure.Probe(t.Context())
	is.True(saw.Passed)
	is.Equal(saw.URL(), "https://10.0.0.1:443/up")
	is.Equal(status(t, secure), 404)
	is.True(secure.HTTP2)
	is.Equal(secure.Origin, location.NewOrigin(true, "10.0.0.1:443"))

	strict := b.new("https://10.0.0.1:443", backend.Settings{Trust: trust.Settings{Config: new(tls.Config)}})
	is.Equal(strict.Probe(t.Context()).Cause, healthcheck.Cause("certificate"))

	plain := b.new("10.0.0.1:80", backend.Settings{Trust: trusting})
	is.True(plain.Probe(t.Context()).Passed) // one target of several may have no certificate
	is.Equal(status(t, plain), 200)
	is.True(!plain.HTTP2)
	is.Equal(plain.Origin, location.NewOrigin(false, "10.0.0.1:80"))
}

// versions has a server at addr speak HTTP/2 without TLS, beside HTTP/1, and returns a
// func that tells which of them each request came by, one after the other.
func (b *bed) versions(addr string) func() int {
	l, err := b.network.Listen(addr)
	if err != nil {
		b.t.Fatal(err)
	}
	seen := make(chan int, 10)
	s := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.ProtoMajor })}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	go s.Serve(l)
	b.t.Cleanup(func() { s.Close() })
	return func() int { return <-seen }
}

func TestHTTP2IsSpokenWhereItIsNamed(t *testing.T) {
	is := is.New(t)
	b := newBed(t)
	version := b.versions("10.0.0.1:80")
	for target, want := range map[string]int{"10.0.0.1:80": 1, "h2c://10.0.0.1:80": 2} {
		to := b.new(target, backend.Settings{})
		is.True(to.Probe(t.Context()).Passed)
		is.Equal(version(), want)
		is.Equal(status(t, to), 200)
		is.Equal(version(), want)
		is.Equal(to.HTTP2, want == 2)
	}
}

func TestGRPCIsAskedForOverHTTP2(t *testing.T) {
	is := is.New(t)
	b := newBed(t)
	ca := proxytest.NewCA()
	config := &tls.Config{Certificates: []tls.Certificate{ca.Issue("10.0.0.1")}, NextProtos: []string{"h2", "http/1.1"}}
	seen := make(chan sight, 10)
	b.network.ServeTLS(t, "10.0.0.1:443", config, handlerOf(200, "", seen)).SetHealth(0)
	trusting := trust.Settings{Config: &tls.Config{RootCAs: ca.Pool()}}
	for call, want := range map[bool]int{false: 1, true: 2} {
		b.new("https://10.0.0.1:443", backend.Settings{Trust: trusting, Check: healthcheck.Settings{GRPC: call}}).Probe(t.Context())
		is.Equal((<-seen).ProtoMajor, want)
	}
}

func TestHandlerIsServedAndProbed(t *testing.T) {
	is := is.New(t)
	b := newBed(t)
	seen := make(chan sight, 10)
	b.shared.Handlers = inprocess.NewAll(map[string]http.Handler{"web": handlerOf(204, "", seen)}, nil)
	defer b.shared.Handlers["web"].Close()
	to := newOf(t, &b.shared, "handler:web", backend.Settings{})
	defer to.Close()
	saw := to.Probe(t.Context())
	is.True(saw.Passed)
	is.Equal([]string{saw.URL(), saw.Host()}, []string{"http://localhost/up", "localhost"})
	is.Equal(status(t, to), 204)
	is.Equal(len(seen), 2)
	is.Equal(to.Origin, location.Origin{}) // a client may have a localhost of its own
}

func TestNamesAreDialledByDialWhereNobodyLooksThemUp(t *testing.T) {
	is := is.New(t)
	b := newBed(t)
	dialled := make(chan string, 10)
	shared := backend.Shared{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled <- address
		return b.network.Dial(ctx, network, address)
	}}
	b.serve(200, "web:80")
	to := newOf(t, &shared, "web:80", backend.Settings{})
	defer to.Close()
	is.True(to.Probe(t.Context()).Passed)
	is.Equal(status(t, to), 200)
	is.Equal([]string{<-dialled, <-dialled}, []string{"web:80", "web:80"})
}

func TestRealNetworkIsDialledWhereNothingElseIs(t *testing.T) {
	is := is.New(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)
	s := &http.Server{Handler: http.NotFoundHandler()}
	go s.Serve(l)
	defer s.Close()
	to := newOf(t, new(backend.Shared), l.Addr().String(), backend.Settings{Check: healthcheck.Settings{Status: "404"}})
	defer to.Close()
	is.True(to.Probe(t.Context()).Passed)
	is.Equal(status(t, to), 404)
}

func TestLogTellsWhichTargetHasNoName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, "10.0.0.1")
		b.serve(200, "10.0.0.1:80")
		to := newOf(t, &b.shared, "http://web:80", backend.Settings{Log: []any{"service", "shop"}})
		defer to.Close()
		is.Equal(status(t, to), 200)
		b.leadTo()
		is.Equal(status(t, to), 200)
		is.True(bytes.Contains(b.log.Bytes(), []byte("service=shop target=http://web:80 ")))
	})
}

func TestPlaceIsUsedFromStartToClose(t *testing.T) {
	is := is.New(t)
	b := newBed(t)
	b.serve(200, "10.0.0.1:80")
	first, second := newOf(t, &b.shared, "10.0.0.1:80", backend.Settings{}), newOf(t, &b.shared, "h2c://10.0.0.1:80", backend.Settings{})
	is.Equal(first.Place(), second.Place()) // whatever is spoken there
	is.True(!first.IsPlaceUsed())
	start(first)
	is.True(second.IsPlaceUsed())
	second.Close() // which was never started
	is.True(first.IsPlaceUsed())
	first.Close()
	is.True(!second.IsPlaceUsed())
}

func TestCloseCutsRequestsAndProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, "10.0.0.1")
		block := make(chan struct{})
		b.network.Serve(t, "10.0.0.1:80", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-block })).SetHealth(0)
		defer close(block)
		to := newOf(t, &b.shared, "web:80", backend.Settings{})
		results := start(to)
		got := make(chan int)
		go func() { got <- status(t, to) }()
		time.Sleep(time.Second)
		is.Equal(b.network.Conns("10.0.0.1:80"), 2)
		began := time.Now()
		to.Close()
		is.Equal(<-got, 0)
		is.Equal(time.Since(began), 0*time.Second)
		is.Equal(b.network.Conns("10.0.0.1:80"), 0)
		is.Equal(len(results), 0) // what was cut says nothing
		dials := b.network.Dials("10.0.0.1:80")
		time.Sleep(10 * time.Second) // in which probes would come
		is.Equal(status(t, to), 0)
		is.Equal(b.network.Dials("10.0.0.1:80"), dials)
	})
}
