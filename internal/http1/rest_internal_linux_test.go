package http1

import (
	"bufio"
	"crypto/tls"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/socket"
)

// A guest is a client of a host, with one connection.
type guest struct {
	net.Conn
	halves *halves // what is spoken on
	br     *bufio.Reader
}

// A halves is a connection on which something happens in the middle of the next write.
type halves struct {
	net.Conn
	between func() // nil: nothing does
}

func (h *halves) Write(p []byte) (n int, err error) {
	if f := h.between; f != nil {
		h.between = nil
		if n, err = h.Conn.Write(p[:len(p)/2]); err != nil {
			return n, err
		}
		f()
	}
	rest, err := h.Conn.Write(p[n:])
	return n + rest, err
}

// newGuest returns one that speaks TLS if config is not nil.
func newGuest(t *testing.T, address string, config *tls.Config) *guest {
	t.Helper()
	raw, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	g := &guest{halves: &halves{Conn: raw}}
	g.Conn = g.halves
	if config != nil {
		secured := tls.Client(g.halves, config)
		if err := secured.Handshake(); err != nil {
			t.Fatal(err)
		}
		g.Conn = secured
	}
	g.br = bufio.NewReader(g.Conn)
	return g
}

const ask = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n"

func (g *guest) answered(t *testing.T) {
	t.Helper()
	is := is.New(t)
	answer, err := http.ReadResponse(g.br, nil)
	is.NoErr(err)
	_, err = io.Copy(io.Discard, answer.Body)
	is.NoErr(err)
	is.Equal(answer.StatusCode, http.StatusOK)
}

func (g *guest) ask(t *testing.T) {
	t.Helper()
	is := is.New(t)
	_, err := io.WriteString(g, ask)
	is.NoErr(err)
	g.answered(t)
}

// tlsHost returns a host that speaks TLS if that is told, and how clients do it; nil: they do
// not.
func tlsHost(t *testing.T, secured bool) (*host, *tls.Config) {
	h := newHostOf(t, func(s *Server) {
		if secured {
			s.TLSConfig = &tls.Config{Certificates: certificates(t)}
		}
	})
	if secured {
		return h, &tls.Config{InsecureSkipVerify: true}
	}
	return h, nil
}

func certificates(t *testing.T) []tls.Certificate {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return s.TLS.Certificates
}

// awaitOpen returns when n connections are open.
func (h *host) awaitOpen(t *testing.T, n int) {
	t.Helper()
	h.awaitThat(t, func() bool { return len(h.conns) == n })
}

// awaitRest returns when the connections rest.
func (h *host) awaitRest(t *testing.T) {
	t.Helper()
	h.awaitThat(t, func() bool {
		for _, c := range h.conns {
			c.mu.Lock()
			rests := c.rests
			c.mu.Unlock()
			if !rests {
				return false
			}
		}
		return true
	})
}

// awaitArrival returns when requests have begun to arrive on the connections, which rested.
func (h *host) awaitArrival(t *testing.T) {
	t.Helper()
	h.awaitThat(t, func() bool {
		for _, c := range h.conns {
			c.mu.Lock()
			idle := c.idle
			c.mu.Unlock()
			if idle {
				return false
			}
		}
		return true
	})
}

// makeLively makes the connections lively, which rest.
func (h *host) makeLively() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		c.mu.Lock()
		c.isLively = true
		c.mu.Unlock()
	}
}

// passTime makes it longer that the connections, which rest, have been without a request.
func (h *host) passTime(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		c.mu.Lock()
		c.idleSince = c.idleSince.Add(-d)
		c.mu.Unlock()
	}
}

// only returns the connection that is open, which rests.
func (h *host) only(t *testing.T) *conn {
	t.Helper()
	h.awaitOpen(t, 1)
	h.awaitRest(t)
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.conns))[0]
}

// hasArrived reports whether there is something to be read from the connection.
func (c *conn) hasArrived() (has bool) {
	c.sock.Control(func(fd uintptr) {
		_, err := socket.Peek(fd, make([]byte, 1))
		has = err == nil
	})
	return has
}

// serving is the function that connections have a goroutine in while they do not rest.
const serving = "(*conn).serve("

func TestConnectionThatWaitsHasNoGoroutine(t *testing.T) {
	for name, secured := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			h, config := tlsHost(t, secured)
			const clients = 100 // more than are told of at once
			guests := make([]*guest, clients)
			for i := range guests {
				guests[i] = newGuest(t, h.address, config)
				if i%2 == 0 { // the others have not sent anything yet
					guests[i].ask(t)
				}
			}
			h.awaitOpen(t, clients)
			awaitEnd(t, serving)
			open, busy := h.Connections()
			is.Equal(open, clients)
			is.Equal(busy, 0)
			for _, g := range guests {
				_, err := io.WriteString(g, ask)
				is.NoErr(err)
			}
			for _, g := range guests {
				g.answered(t)
			}
			for _, g := range guests {
				is.NoErr(g.Close())
			}
			h.awaitOpen(t, 0)
		})
	}
}

func TestConnectionRestsUntilItsRequestHasArrived(t *testing.T) {
	for name, secured := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			h, config := tlsHost(t, secured)
			g := newGuest(t, h.address, config)
			g.ask(t)
			awaitEnd(t, serving)
			g.halves.between = func() {
				if secured { // half a record is nothing to read yet
					h.awaitRest(t)
				}
			}
			g.ask(t)
		})
	}
}

func TestConnectionIsLivelyWhileItsRequestsComeSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		c := &conn{isLively: true, idleSince: time.Now()}
		c.endIdle(true)
		is.True(!c.isLively) // it is not new any more
		c.requests++
		c.isResumed, c.idleSince = true, time.Now().Add(-livelyTime)
		c.endIdle(true)
		is.True(!c.isLively)
		c.idleSince = time.Now()
		c.endIdle(false) // there is no request
		is.True(!c.isLively)
		c.idleSince = time.Now().Add(-livelyTime + 1)
		c.endIdle(true)
		is.True(c.isLively)
		c.isResumed, c.idleSince = false, time.Now().Add(-time.Hour)
		c.endIdle(true)
		is.True(c.isLively) // until it is looked after
		c.mustRest = true
		_, mustRest := c.endIdle(false)
		is.True(mustRest)
		is.True(!c.isLively)
	})
}

func TestLivelyConnectionRestsWhenItIsLivelyNoMore(t *testing.T) {
	for name, secured := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			h, config := tlsHost(t, secured)
			g := newGuest(t, h.address, config)
			g.ask(t)
			awaitEnd(t, serving)
			h.makeLively()
			g.ask(t)
			awaitEnd(t, serving)
			g.ask(t)
		})
	}
}

func TestConnectionThatRestsIsClosedAfterTheIdleTimeout(t *testing.T) {
	is := is.New(t)
	h := newHostOf(t, func(s *Server) { s.IdleTimeout = time.Hour })
	used, unused := newGuest(t, h.address, nil), newGuest(t, h.address, nil)
	used.ask(t)
	h.awaitOpen(t, 2)
	h.awaitRest(t)
	h.passTime(time.Hour)
	for _, g := range []*guest{used, unused} {
		_, err := g.br.ReadByte()
		is.Equal(err, io.EOF)
	}
	h.awaitOpen(t, 0)
}

func TestLivelyConnectionIsClosedAfterTheIdleTimeout(t *testing.T) {
	is := is.New(t)
	h := newHostOf(t, func(s *Server) { s.IdleTimeout = time.Hour })
	g := newGuest(t, h.address, nil)
	g.ask(t)
	c := h.only(t)
	h.makeLively()
	g.ask(t)
	h.awaitThat(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.idle {
			c.idleSince = c.idleSince.Add(-time.Hour)
		}
		return c.idle
	})
	_, err := g.br.ReadByte()
	is.Equal(err, io.EOF)
	h.awaitOpen(t, 0)
}

func TestDeadlinesOfAHandlerDoNotEndTheWaitForTheNextRequest(t *testing.T) {
	h := newHostOf(t, func(s *Server) {
		s.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
		})
	})
	g := newGuest(t, h.address, nil)
	g.ask(t)
	g.ask(t)
	h.only(t)
	h.makeLively()
	g.ask(t)
	g.ask(t)
}

func TestNothingWaitsForConnectionsWhenTheServerIsShutDown(t *testing.T) {
	is := is.New(t)
	h := newHostOf(t, func(*Server) {})
	g := newGuest(t, h.address, nil)
	g.ask(t)
	awaitEnd(t, serving)
	is.NoErr(h.Shutdown(t.Context()))
	_, err := g.br.ReadByte()
	is.Equal(err, io.EOF)
	awaitEnd(t, "(*Server).wakeRested(")
}

// Shutdown may come to a connection that has found no request, and does not rest yet.
func TestConnectionThatIsToStopDoesNotRest(t *testing.T) {
	is := is.New(t)
	h := newHostOf(t, func(s *Server) { s.IdleTimeout = -1 })
	g := newGuest(t, h.address, nil)
	g.ask(t)
	c := h.only(t)
	is.True(c.endRest()) // this is its goroutine from now on
	c.stop()
	is.True(!c.rest())
	c.serve()
	_, err := g.br.ReadByte()
	is.Equal(err, io.EOF)
	h.awaitOpen(t, 0)
}

func TestRequestThatHasArrivedIsServedAlthoughTheTimeForItIsOver(t *testing.T) {
	for name, tt := range map[string]struct {
		used bool
		stop bool // or else the connection has been idle for too long
	}{
		"the server stops":                    {true, true},
		"the server stops, the first request": {false, true},
		"the idle timeout":                    {true, false},
		"the idle timeout, the first request": {false, false},
	} {
		for kind, secured := range map[string]bool{"plain": false, "TLS": true} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				is := is.New(t)
				h, config := tlsHost(t, secured)
				g := newGuest(t, h.address, config)
				if tt.used {
					g.ask(t)
				}
				c := h.only(t)
				h.mu.Lock() // the connection is not told of the request
				_, err := io.WriteString(g, ask)
				for err == nil && !c.hasArrived() {
				}
				c.mu.Lock()
				c.began, c.idleSince = c.began.Add(-time.Hour), c.idleSince.Add(-time.Hour)
				if !tt.stop {
					c.resumeLocked()
				}
				c.mu.Unlock()
				if tt.stop {
					c.stop()
				}
				h.mu.Unlock()
				is.NoErr(err)
				g.answered(t)
				if !tt.stop {
					g.ask(t) // the time has begun anew
					return
				}
				_, err = g.br.ReadByte()
				is.Equal(err, io.EOF)
			})
		}
	}
}

func TestConnectionsAreServedWithoutAPollerThatHasFailed(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	used, unused := newGuest(t, h.address, nil), newGuest(t, h.address, nil)
	used.ask(t)
	h.awaitOpen(t, 2)
	h.awaitRest(t)
	h.mu.Lock()
	failed := h.poller
	h.mu.Unlock()
	is.NoErr(failed.Close())
	for range 2 {
		used.ask(t)
		unused.ask(t)
	}
	awaitEnd(t, "(*Server).wakeRested(")
	is.NoErr(h.Shutdown(t.Context()))
	for _, g := range []*guest{used, unused} {
		_, err := g.br.ReadByte()
		is.Equal(err, io.EOF)
	}
}

func TestShutdownServesWhatHasBegunToArriveOnAConnectionThatHasRested(t *testing.T) {
	for name, used := range map[string]bool{"on a new connection": false, "on one that was used": true} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			h := newHost(t)
			g := newGuest(t, h.address, nil)
			if used {
				g.ask(t)
			}
			h.awaitOpen(t, 1)
			h.awaitRest(t)
			_, err := io.WriteString(g, ask[:len(ask)/2])
			is.NoErr(err)
			h.awaitArrival(t)
			ended := make(chan error, 1)
			go func() { ended <- h.Shutdown(t.Context()) }()
			h.awaitThat(t, func() bool { return h.stopping }) // all of them are told
			_, err = io.WriteString(g, ask[len(ask)/2:])
			is.NoErr(err)
			g.answered(t)
			is.NoErr(<-ended)
		})
	}
}
