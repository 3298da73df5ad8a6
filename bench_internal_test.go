package parachute

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shahnk19/parachute/internal/certificate"
	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/health"
	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/http1"
	"github.com/shahnk19/parachute/internal/keypair"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/targets"
)

// sink is a ResponseWriter that keeps nothing.
//
// It can be flushed, and has deadlines, as those of net/http's server have: what
// cannot is told so by an error, which is allocated.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Flush()                      {}

func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

// hello is a body that can be read again and again.
type hello struct{ done bool }

func (h *hello) Read(p []byte) (int, error) {
	if h.done = !h.done; h.done {
		return copy(p, "hello"), nil
	}
	return 0, io.EOF
}

func (h *hello) Close() error { return nil }

// nothing is an exchange without a target: what remains is our own.
func nothing() func(*http.Request, string, field.View, func(int, http.Header)) (*http.Response, error) {
	answer := &http.Response{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, ContentLength: 5,
		Header: http.Header{"Content-Length": {"5"}, "Content-Type": {"text/plain"}}, Body: new(hello)}
	return func(*http.Request, string, field.View, func(int, http.Header)) (*http.Response, error) {
		return answer, nil
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// serving returns a Proxy with n services, each of one target that does
// nothing, and the host of one of them.
func serving(n int) (*Proxy, string) {
	p := New(Options{Observe: func(*http.Request, Outcome) {}})
	services := make(map[string]*version, n)
	var host string
	for i := range n {
		name := fmt.Sprintf("service-%d", i)
		host = name + ".example.com"
		t := idle()
		t.Health.Record(health.Result{Passed: true}, nil)
		main := targets.NewGroup([]*target{t}, nil, "")
		main.Writers[0].Exchange = nothing()
		services[name] = newVersion(Status{Service: name, Generation: 1}, wants{Claims: []hostname.Claim{{Host: host}}}, main)
	}
	p.router.routes.PublishFirst(newTable(services, nil, 10), 1)
	return p, host
}

// visitor returns a small request as net/http's server hands it on.
func visitor(host string) *http.Request {
	r := httptest.NewRequest("GET", "/path?query", nil)
	r.Host = host
	r.RemoteAddr = "192.0.2.1:40001"
	r.Header = http.Header{"User-Agent": {"bench"}, "Accept": {"*/*"}, "Accept-Encoding": {"gzip"}}
	return r
}

// What of a request is ours alone: everything but the server and the target.
func BenchmarkServeNothing(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			p, host := serving(n)
			benchServe(b, p, visitor(host))
		})
	}
	b.Run("ReverseProxy", func(b *testing.B) {
		exchange := nothing()
		benchServe(b, &httputil.ReverseProxy{
			Rewrite:   rewriteTo("web-1:3000"),
			Transport: roundTripper(func(r *http.Request) (*http.Response, error) { return exchange(r, "", field.View{}, nil) }),
		}, visitor("app.example.com"))
	})
}

// guarding returns the TLS of a Proxy with n hosts that have a certificate each,
// and a client's for one of them.
func guarding(b *testing.B, n int) (server, client *tls.Config) {
	ca := proxytest.NewCA()
	certFile, keyFile := ca.WritePair(b, b.TempDir(), "*.example.com")
	loaded, err := keypair.Load(certFile, keyFile)
	if err != nil {
		b.Fatal(err)
	}
	p := New(Options{})
	services := make(map[string]*version, n)
	var host string
	for i := range n {
		name := fmt.Sprintf("service-%d", i)
		host = name + ".example.com"
		v := newVersion(Status{Service: name}, wants{Claims: []hostname.Claim{{Host: host}}}, group{})
		v.Policy.TLS.Mode = string(TLSFiles)
		v.certificates = certificate.Shared(fixedSource{of: loaded.Certificate()})
		services[name] = v
	}
	p.router.routes.PublishFirst(newTable(services, nil, 10), 1)
	return p.TLSConfig(), &tls.Config{ServerName: host, RootCAs: ca.Pool()}
}

// A fixedSource has one certificate, and nothing else.
type fixedSource struct {
	certificate.Source
	of *tls.Certificate
}

func (s fixedSource) Certificate(string) *tls.Certificate { return s.of }

// The whole handshake, both sides of it.
func BenchmarkHandshake(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("certificates=%d", n), func(b *testing.B) {
			server, client := guarding(b, n)
			b.ReportAllocs()
			for b.Loop() {
				handshake(b, server, client)
			}
		})
	}
}

func handshake(b *testing.B, server, client *tls.Config) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	done := make(chan error, 1)
	go func() { done <- tls.Server(far, server).Handshake() }()
	secured := tls.Client(near, client)
	if err := secured.Handshake(); err != nil {
		b.Fatal(err)
	}
	go io.Copy(io.Discard, near) // what the server says after the client is done
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// A whole request, with a target in the same process: in memory, which tells
// the allocations, and by a socket. In memory the time is not ours: to see
// whether a connection that is no socket is alive takes a timer, and those come
// by the millisecond.
func BenchmarkServe(b *testing.B) {
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })
	var network proxytest.Net
	network.Serve(b, "app.test:80", app)
	b.Run("memory", func(b *testing.B) { benchTarget(b, network.Dial, "app.test:80") })
	server := httptest.NewServer(app)
	defer server.Close()
	b.Run("socket", func(b *testing.B) { benchTarget(b, new(net.Dialer).DialContext, server.Listener.Addr().String()) })
}

func benchTarget(b *testing.B, dial func(context.Context, string, string) (net.Conn, error), address string) {
	b.Run("parachute", func(b *testing.B) {
		p := New(Options{Dial: dial})
		defer p.Close()
		if err := p.Deploy(b.Context(), Deployment{Service: "web", Targets: []string{address}, Force: true}); err != nil {
			b.Fatal(err)
		}
		benchServe(b, p, visitor("app.example.com"))
	})
	b.Run("ReverseProxy", func(b *testing.B) {
		transport := &http.Transport{DialContext: dial}
		defer transport.CloseIdleConnections()
		benchServe(b, &httputil.ReverseProxy{Rewrite: rewriteTo(address), Transport: transport}, visitor("app.example.com"))
	})
}

func rewriteTo(address string) func(*httputil.ProxyRequest) {
	return func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: address})
		r.SetXForwarded()
	}
}

func benchServe(b *testing.B, h http.Handler, r *http.Request) {
	b.ReportAllocs()
	w := &sink{header: make(http.Header)}
	for b.Loop() {
		clear(w.header)
		h.ServeHTTP(w, r)
	}
}

// What a small request costs from a client to a target and back by the server, the Proxy
// and its transport, over sockets of this machine. Client and target allocate nothing.
func BenchmarkThrough(b *testing.B) { benchThrough(b, through(b)) }

// The same without sockets: what it costs but for the system's part.
func BenchmarkThroughMemory(b *testing.B) { benchThrough(b, throughMemory(b)) }

func benchThrough(b *testing.B, ask func()) {
	b.ReportAllocs()
	for b.Loop() {
		ask()
	}
}

const (
	smallRequest = "GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n"
	smallAnswer  = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\nDate: Fri, 27 Nov 2026 00:00:00 GMT\r\n\r\nhello"
)

// through returns a func that sends a small request through a Proxy, on a connection that
// is kept, and reads the answer.
func through(t testing.TB) (ask func()) {
	t.Helper()
	app := filepath.Join(proxytest.ShortDir(t), "app")
	answerAll(t, app, smallAnswer)
	p := New(Options{Observe: func(*http.Request, Outcome) {}})
	t.Cleanup(func() { p.Close() })
	if err := p.Deploy(t.Context(), Deployment{Service: "web", Targets: []string{"unix:" + app}, Force: true}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http1.Server{Handler: p}
	t.Cleanup(func() { server.Close() })
	go server.Serve(l)
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	asked, got := []byte(smallRequest), make([]byte, len(smallAnswer))
	return func() {
		client.Write(asked)
		if _, err := io.ReadFull(client, got); err != nil {
			t.Fatal(err)
		}
	}
}

// throughMemory is through, over connections in memory.
func throughMemory(t testing.TB) (ask func()) {
	t.Helper()
	dial := func(context.Context, string, string) (net.Conn, error) {
		return &echoing{answer: []byte(smallAnswer)}, nil
	}
	p := New(Options{Observe: func(*http.Request, Outcome) {}, Dial: dial})
	t.Cleanup(func() { p.Close() })
	if err := p.Deploy(t.Context(), Deployment{Service: "web", Targets: []string{"10.0.0.1:80"}, Force: true}); err != nil {
		t.Fatal(err)
	}
	server := &http1.Server{Handler: p}
	client, conn := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.ServeConn(piped{conn})
	}()
	t.Cleanup(func() {
		client.Close()
		<-served
	})
	asked, got := []byte(smallRequest), make([]byte, len(smallAnswer))
	return func() {
		client.Write(asked)
		if _, err := io.ReadFull(client, got); err != nil {
			t.Fatal(err)
		}
	}
}

// A piped connection is a pipe with what costs nothing on a socket: an address of a
// client, and deadlines.
type piped struct{ net.Conn }

func (piped) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50000} }
func (piped) SetDeadline(time.Time) error      { return nil }
func (piped) SetReadDeadline(time.Time) error  { return nil }
func (piped) SetWriteDeadline(time.Time) error { return nil }

// An echoing connection answers each write, and has nothing else to be read.
type echoing struct {
	net.Conn
	answer, unread []byte
}

func (c *echoing) Write(p []byte) (int, error) {
	c.unread = c.answer
	return len(p), nil
}

func (c *echoing) Read(p []byte) (int, error) {
	if len(c.unread) == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(p, c.unread)
	c.unread = c.unread[n:]
	return n, nil
}

func (c *echoing) SetDeadline(time.Time) error      { return nil }
func (c *echoing) SetReadDeadline(time.Time) error  { return nil }
func (c *echoing) SetWriteDeadline(time.Time) error { return nil }
func (c *echoing) Close() error                     { return nil }

// answerAll listens on a Unix socket, and answers each read from a connection.
func answerAll(t testing.TB, path, answer string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf, sent := make([]byte, 4096), []byte(answer)
				for {
					if _, err := conn.Read(buf); err != nil {
						return
					}
					conn.Write(sent)
				}
			}()
		}
	}()
}

// answering listens on loopback, and answers whatever comes.
func answering(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		var buf [1024]byte
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Read(buf[:])
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
			conn.Close()
		}
	}()
	return l.Addr().String()
}

// What a probe costs, over a socket, a small target's part included.
func BenchmarkProbe(b *testing.B) {
	p := New(Options{})
	defer p.Close()
	s, err := p.parse(Deployment{Service: "web", Targets: []string{answering(b)}})
	if err != nil {
		b.Fatal(err)
	}
	group, _ := p.newGroup("web", 0, s, false)
	t := group.Targets()[0]
	b.ReportAllocs()
	for b.Loop() {
		if saw := t.Probe(b.Context()); !saw.Passed {
			b.Fatal(saw.Error)
		}
	}
}
