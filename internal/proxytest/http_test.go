package proxytest_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

func hello(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }

// waitForever answers when its client has gone or its server has stopped.
func waitForever(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func get(client *http.Client, url string) (status int, body string, err error) {
	resp, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func TestBackendServesWithoutABubbleToo(t *testing.T) {
	is := is.New(t)
	var n proxytest.Net
	b := n.Serve(t, "127.0.0.1:0", http.HandlerFunc(hello))
	status, body, err := get(n.Client(t), "http://"+b.Addr()+"/")
	is.NoErr(err)
	is.Equal(status, 200)
	is.Equal(body, "hello")
}

func TestBackendKeepsTheNameItWasGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		is.Equal(n.Serve(t, "web-1:3000", http.HandlerFunc(hello)).Addr(), "web-1:3000")
		free := n.Serve(t, "web-1:0", http.HandlerFunc(hello))
		is.Equal(free.Addr(), "web-1:30001")
		_, body, err := get(n.Client(t), "http://"+free.Addr())
		is.NoErr(err)
		is.Equal(body, "hello")
	})
}

func TestHealthChecksAreAnsweredAsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		b := n.Serve(t, "web-1:3000", http.HandlerFunc(hello))
		client := n.Client(t)

		status, body, err := get(client, "http://web-1:3000/up")
		is.NoErr(err)
		is.Equal(status, 200)
		is.Equal(body, "")
		b.SetHealth(503)
		status, _, err = get(client, "http://web-1:3000/up")
		is.NoErr(err)
		is.Equal(status, 503)
		is.Equal(b.Probes(), 2)
		is.Equal(b.Requests(), 0) // health checks are no requests

		b.SetHealth(0)
		_, body, err = get(client, "http://web-1:3000/up")
		is.NoErr(err)
		is.Equal(body, "hello") // the handler's answer
		is.Equal(b.Probes(), 2)
		is.Equal(b.Requests(), 1)
	})
}

func TestOnlyGetUpIsAHealthCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		b := n.Serve(t, "web-1:3000", http.HandlerFunc(hello))
		client := n.Client(t)
		for _, path := range []string{"/", "/up/", "/upper"} {
			_, body, err := get(client, "http://web-1:3000"+path)
			is.NoErr(err)
			is.Equal(body, "hello")
		}
		resp, err := client.Post("http://web-1:3000/up", "text/plain", nil)
		is.NoErr(err)
		is.NoErr(resp.Body.Close())
		is.Equal(b.Requests(), 4)
		is.Equal(b.Probes(), 0)
	})
}

func TestStopCutsARunningRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		b := n.Serve(t, "web-1:3000", http.HandlerFunc(waitForever))
		client := n.Client(t)
		start := time.Now()
		time.AfterFunc(time.Second, b.Stop)
		_, _, err := get(client, "http://web-1:3000/")
		is.True(err != nil)
		is.Equal(time.Since(start), time.Second)
	})
}

func TestStopEndsAHandlerThatLeftItsBodyUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		ended := make(chan struct{})
		b := n.Serve(t, "web-1:3000", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			waitForever(w, r)
			close(ended)
		}))
		c, err := n.Dial(t.Context(), "tcp", b.Addr())
		is.NoErr(err)
		defer c.Close()
		_, err = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123")
		is.NoErr(err)
		synctest.Wait()
		is.Equal(b.Requests(), 1)
		b.Stop()
		<-ended
	})
}

func TestStopCutsHijackedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		b := n.Serve(t, "web-1:3000", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
			io.Copy(conn, conn)
		}))
		c, err := n.Dial(t.Context(), "tcp", b.Addr())
		is.NoErr(err)
		defer c.Close()
		_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
		is.NoErr(err)
		head, err := proxytest.ReadHead(c)
		is.NoErr(err)
		is.Equal(head[:12], "HTTP/1.1 101")
		b.Stop()
		_, err = c.Read(make([]byte, 1))
		is.Equal(err, io.EOF)
	})
}

func TestStoppedBackendRefusesAndServesAgainOnceStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		b := n.Serve(t, "web-1:0", http.HandlerFunc(hello))
		client := n.Client(t)
		address := b.Addr()
		for range 3 {
			_, body, err := get(client, "http://"+address)
			is.NoErr(err)
			is.Equal(body, "hello")
			b.Stop()
			b.Stop() // does nothing
			_, err = n.Dial(t.Context(), "tcp", address)
			is.True(errors.Is(err, syscall.ECONNREFUSED))
			b.Start()
			is.Equal(b.Addr(), address) // the same port as before
		}
		is.Equal(b.Requests(), 3) // counted across restarts
	})
}

func TestStopResetsAConnectionThatIsStillSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		b := n.Serve(t, "web-1:3000", http.HandlerFunc(waitForever))
		c, err := n.Dial(t.Context(), "tcp", b.Addr())
		is.NoErr(err)
		defer c.Close()
		time.AfterFunc(time.Second, b.Stop)
		_, err = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
		is.NoErr(err)
		_, err = c.Write(make([]byte, 1_000_000))
		is.True(errors.Is(err, syscall.ECONNRESET))
	})
}

func TestServeEndsTheTestWhereTheAddressIsTaken(t *testing.T) {
	is := is.New(t)
	var n proxytest.Net
	_, err := n.Listen("web-1:3000")
	is.NoErr(err)
	failed := failure(t, func(t testing.TB) { n.Serve(t, "web-1:3000", http.HandlerFunc(hello)) })
	is.True(failed)
	failed = failure(t, func(t testing.TB) { n.Script(t, "web-1:3000", nil) })
	is.True(failed)
}

func TestClientShowsRedirectsAndSendsNothingOfItsOwn(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		n.Serve(t, "web-1:3000", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Got", r.Header.Get("Accept-Encoding"))
			w.Header().Set("From", r.RemoteAddr)
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}))
		resp, err := n.Client(t).Get("http://web-1:3000/")
		is.NoErr(err)
		is.NoErr(resp.Body.Close())
		is.Equal(resp.StatusCode, 302)
		is.Equal(resp.Header.Get("Got"), "")
		from, err := netip.ParseAddrPort(resp.Header.Get("From"))
		is.NoErr(err)
		is.True(from.Addr().IsLoopback())
	})
}

func TestClientKeepsItsConnectionUntilTheTestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		n.Serve(t, "web-1:3000", http.HandlerFunc(hello))
		t.Cleanup(func() { is.Equal(n.Conns("web-1:3000"), 0) }) // runs after the client's and before the server's
		client := n.Client(t)
		for range 2 {
			_, _, err := get(client, "http://web-1:3000/")
			is.NoErr(err)
			synctest.Wait()
		}
		is.Equal(n.Dials("web-1:3000"), 1)
		is.Equal(n.Conns("web-1:3000"), 1)
	})
}

func TestHandlerSeesTheChosenClientAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		b := n.Serve(t, "web-1:3000", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, r.RemoteAddr)
		}))
		c, err := n.DialFrom(t.Context(), netip.MustParseAddr("203.0.113.9"), b.Addr())
		is.NoErr(err)
		defer c.Close()
		_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		is.NoErr(err)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		is.NoErr(err)
		body, err := io.ReadAll(resp.Body)
		is.NoErr(err)
		is.Equal(string(body), c.LocalAddr().String())
		is.Equal(netip.MustParseAddrPort(string(body)).Addr().String(), "203.0.113.9")
	})
}

func TestDialServesAStandardTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		n.Blackhole("web-1:3000")
		client := n.Client(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, "GET", "http://web-1:3000/", nil)
		is.NoErr(err)
		_, err = client.Do(r)
		var timeout net.Error
		is.True(errors.As(err, &timeout) && timeout.Timeout())
	})
}

// A fatal is a testing.TB that notes a Fatal instead of failing.
type fatal struct {
	testing.TB
	failed bool
}

func (f *fatal) Helper()      {}
func (f *fatal) Fatal(...any) { f.failed = true; panic(f) }

// failure tells whether run calls Fatal.
func failure(t *testing.T, run func(testing.TB)) (failed bool) {
	f := &fatal{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(f) {
			panic(r)
		}
		failed = f.failed
	}()
	run(f)
	return
}
