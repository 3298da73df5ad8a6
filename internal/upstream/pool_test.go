package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

func TestAnswerReadInPartLosesItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, always(ok))
		resp, err := g.send(request("GET", nil, 0))
		is.NoErr(err)
		_, err = io.ReadFull(resp.Body, make([]byte, 1))
		is.NoErr(err)
		is.NoErr(resp.Body.Close())
		is.Equal(g.conns(), 0) // connections left
	})
}

func TestNewestIdleConnectionIsUsedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, func(conn net.Conn, n int) {
			always(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n))(conn, n)
		})
		var held []*http.Response
		for range 3 {
			resp, err := g.send(request("GET", nil, 0))
			is.NoErr(err)
			held = append(held, resp)
		}
		for _, n := range []int{2, 0, 1} {
			readAll(held[n], nil)
			time.Sleep(time.Second)
		}
		for range 5 {
			body, err := g.get()
			is.NoErr(err)
			is.Equal(body, "1") // which connection
		}
		time.Sleep(2 * time.Second)
		is.Equal(g.conns(), 1) // the others have had their time
	})
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, always(ok))
		var held []*http.Response
		for range 300 {
			resp, err := g.send(request("GET", nil, 0))
			is.NoErr(err)
			held = append(held, resp)
		}
		for _, resp := range held {
			readAll(resp, nil)
		}
		is.Equal(g.conns(), 256) // connections kept
	})
}

func TestIdleConnectionIsGivenUpBeforeTheTargetDoes(t *testing.T) {
	for keepAlive, limit := range map[string]time.Duration{
		"":                                  4 * time.Second,
		"Keep-Alive: max=100\r\n":           4 * time.Second,
		"Keep-Alive: timeout=x\r\n":         4 * time.Second,
		"Keep-Alive: timeout=3\r\n":         2 * time.Second,
		"Keep-Alive: max=9, Timeout=30\r\n": 29 * time.Second,
		"Keep-Alive: timeout=60000\r\n":     59 * time.Second,
		"Keep-Alive: timeout=999999999\r\n": 4 * time.Second,
	} {
		t.Run(keepAlive, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{}, always("HTTP/1.1 200 OK\r\n"+keepAlive+"Content-Length: 2\r\n\r\nok"))
				_, err := g.get()
				is.NoErr(err)
				for range 3 {
					time.Sleep(limit - 2*time.Millisecond)
					_, err = g.get()
					is.NoErr(err)
					is.Equal(g.dials(), 1) // dials within the limit
				}
				time.Sleep(limit + time.Millisecond)
				synctest.Wait()
				is.Equal(g.conns(), 0) // connections after the limit
				_, err = g.get()
				is.NoErr(err)
				is.Equal(g.dials(), 2) // dials after the limit
			})
		})
	}
}

func TestConnectionThatIsSweptLateIsNotUsed(t *testing.T) {
	const limit = time.Second // of the second connection
	for _, idle := range []time.Duration{limit, limit * 3 / 2} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			g := newTarget(t, upstream.Options{}, func(conn net.Conn, n int) {
				keep := []string{"30", "2", "2"}[n]
				always("HTTP/1.1 200 OK\r\nKeep-Alive: timeout="+keep+"\r\nContent-Length: 2\r\n\r\nok")(conn, n)
			})
			first, err := g.send(request("GET", nil, 0))
			is.NoErr(err)
			second, err := g.send(request("GET", nil, 0))
			is.NoErr(err)
			readAll(first, nil)
			readAll(second, nil)
			time.Sleep(idle)
			_, err = g.get()
			is.NoErr(err)
			is.Equal(g.conns(), 1) // the first, for the second has had its time
			is.Equal(g.dials(), 2) // dials
		})
	}
}

func TestWhatCannotBeRepeatedGetsAFreshConnection(t *testing.T) {
	for name, tt := range map[string]struct {
		method    string
		body      string
		keepAlive string
		idle      time.Duration
		dials     int
	}{
		"young enough":       {"POST", "x", "", 500 * time.Millisecond, 1},
		"too old":            {"POST", "x", "", 501 * time.Millisecond, 2},
		"no body":            {"POST", "", "", 501 * time.Millisecond, 2},
		"half of a second":   {"POST", "x", "Keep-Alive: timeout=2\r\n", 500 * time.Millisecond, 1},
		"idempotent, a body": {"PUT", "x", "", 501 * time.Millisecond, 2},
		"idempotent":         {"DELETE", "", "", 3 * time.Second, 1},
		"GET":                {"GET", "", "", 3 * time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{}, always("HTTP/1.1 200 OK\r\n"+tt.keepAlive+"Content-Length: 2\r\n\r\nok"))
				_, err := g.get()
				is.NoErr(err)
				time.Sleep(tt.idle)
				_, err = readAll(g.send(request(tt.method, strings.NewReader(tt.body), int64(len(tt.body)))))
				is.NoErr(err)
				is.Equal(g.dials(), tt.dials) // dials
				is.Equal(g.conns(), tt.dials) // the old connection stays for others
			})
		})
	}
}

func TestIdleConnectionThatIsNotQuietIsNotUsed(t *testing.T) {
	for name, then := range map[string]func(net.Conn){
		"closed":      func(conn net.Conn) {},
		"half closed": func(conn net.Conn) { conn.(interface{ CloseWrite() error }).CloseWrite(); io.Copy(io.Discard, conn) },
		"speaking":    func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 408 Timeout\r\n\r\n"); io.Copy(io.Discard, conn) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{}, func(conn net.Conn, n int) {
					proxytest.ReadHead(conn)
					io.WriteString(conn, ok)
					if n == 0 {
						time.Sleep(time.Millisecond)
						then(conn)
						return
					}
					io.Copy(io.Discard, conn)
				})
				_, err := g.get()
				is.NoErr(err)
				time.Sleep(10 * time.Millisecond)
				body, err := readAll(g.send(post("x")))
				is.NoErr(err)
				is.Equal(body, "ok")
				is.Equal(g.dials(), 2) // dials
				is.Equal(g.conns(), 1) // connections left
			})
		})
	}
}

func TestStaleConnectionIsReplacedWhereTheRequestIsRepeatable(t *testing.T) {
	for name, tt := range map[string]struct {
		r     *http.Request
		again bool
	}{
		"GET":            {request("GET", nil, 0), true},
		"DELETE":         {request("DELETE", nil, 0), true},
		"POST":           {post("x"), false},
		"POST, no body":  {request("POST", nil, 0), false},
		"PUT":            {request("PUT", strings.NewReader("x"), 1), false},
		"GET with body":  {request("GET", strings.NewReader("x"), 1), false},
		"POST, streamed": {request("POST", strings.NewReader("x"), -1), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{}, func(conn net.Conn, n int) {
					proxytest.ReadHead(conn)
					io.WriteString(conn, ok)
					proxytest.ReadHead(conn) // and closes just then
				})
				_, err := g.get()
				is.NoErr(err)
				body, err := readAll(g.send(tt.r))
				if tt.again {
					is.NoErr(err)
					is.Equal(body, "ok")
					is.Equal(g.dials(), 2) // dials
					return
				}
				why, repeatable := reason(err)
				is.Equal(why, upstream.Broken)
				is.True(!repeatable)   // the target may have acted on it
				is.Equal(g.dials(), 1) // dials
			})
		})
	}
}

// TestStaleConnectionIsReplacedOnlyOnce has a target that never answers twice on a
// connection and, from the third connection on, not even once.
func TestStaleConnectionIsReplacedOnlyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var lost atomic.Int64
		g := newTarget(t, upstream.Options{}, func(conn net.Conn, n int) {
			proxytest.ReadHead(conn)
			if n < 2 {
				time.Sleep(time.Millisecond)
				io.WriteString(conn, ok)
				proxytest.ReadHead(conn)
			}
			lost.Add(1)
		})
		done := make(chan error)
		for range 2 {
			go func() {
				_, err := g.get()
				done <- err
			}()
		}
		is.NoErr(<-done)
		is.NoErr(<-done)
		_, err := g.get()
		why, repeatable := reason(err)
		is.Equal(why, upstream.Broken)
		is.True(repeatable)             // on another target
		is.Equal(g.dials(), 3)          // dials
		is.Equal(lost.Load(), int64(2)) // attempts: the other idle one is not tried
	})
}

// A refusing connection takes no byte of any request but the first.
type refusing struct {
	net.Conn
	heads int
}

func (c *refusing) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte("POST ")) {
		c.heads++
	}
	if c.heads > 1 {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

func TestRequestThatWasNotWrittenIsRepeatedWhateverItIs(t *testing.T) {
	for name, tt := range map[string]struct {
		body   string
		length int64
	}{"small": {"hello", 5}, "chunked": {"hello", -1}, "none": {"", 0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var network proxytest.Net
				backend := network.Serve(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					io.Copy(w, r.Body)
				}))
				p := upstream.New(upstream.Options{
					Network: "tcp", Address: backend.Addr(),
					Dial: func(ctx context.Context, network_, address string) (net.Conn, error) {
						conn, err := network.Dial(ctx, network_, address)
						return &refusing{Conn: conn}, err
					},
				})
				defer p.Close()
				for range 2 {
					body, err := readAll(p.Exchange(request("POST", strings.NewReader(tt.body), tt.length), "/", field.View{}, nil))
					is.NoErr(err)
					is.Equal(body, tt.body)
				}
				is.Equal(network.Dials(backend.Addr()), 2) // dials
			})
		})
	}
}

func TestBodyOfARepeatableFailureCanBeReadAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		body   string
		length int64
	}{"small": {"hello", 5}, "chunked": {"hello", -1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var network proxytest.Net
				p := upstream.New(upstream.Options{Network: "tcp", Address: "127.0.0.1:1", Dial: network.Dial})
				defer p.Close()
				body := &countedBody{Reader: strings.NewReader(tt.body)}
				r := request("POST", body, tt.length)
				for range 2 {
					_, err := p.Exchange(r, "/", field.View{}, nil)
					why, repeatable := reason(err)
					is.Equal(why, upstream.Dial)
					is.True(repeatable) // nothing was sent
				}
				got, err := io.ReadAll(r.Body)
				is.NoErr(err)
				is.Equal(string(got), tt.body)           // body
				is.Equal(body.closed > 0, tt.length > 0) // closed only if it was read
			})
		})
	}
}

func TestCloseIdleLeavesExchangesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, always(ok))
		resp, err := g.send(request("GET", nil, 0))
		is.NoErr(err)
		_, err = g.get()
		is.NoErr(err)
		is.Equal(g.conns(), 2) // connections before
		g.CloseIdle()
		is.Equal(g.conns(), 1) // connections after
		_, err = readAll(resp, nil)
		is.NoErr(err)
		is.Equal(g.conns(), 1) // the busy one is kept
	})
}

func TestCutRequestsSparesWhatHasBecomeAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, func(conn net.Conn, n int) {
			proxytest.ReadHead(conn)
			if n == 0 {
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: one\n\n")
			}
			io.Copy(io.Discard, conn)
		})
		group := g.NewExchanges()
		stream, err := group.Exchange(request("GET", nil, 0), "/", field.View{}, nil)
		is.NoErr(err)
		defer stream.Body.Close()
		stream.Body.(interface{ BecomeStream() }).BecomeStream()
		result := make(chan error, 1)
		go func() {
			_, err := group.Exchange(request("GET", nil, 0), "/", field.View{}, nil)
			result <- err
		}()
		synctest.Wait()
		is.Equal(group.CutRequests(), int64(1))
		failure := new(upstream.Error)
		is.True(errors.As(<-result, &failure))
		is.Equal(failure.Reason, upstream.Cut)
		event := make([]byte, 11)
		_, err = io.ReadFull(stream.Body, event)
		is.NoErr(err)
		is.Equal(string(event), "data: one\n\n") // the stream goes on
	})
}

func TestCutRequestsReachesNoOtherGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, func(conn net.Conn, n int) {
			proxytest.ReadHead(conn)
			time.Sleep(time.Second)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		})
		one, other := g.NewExchanges(), g.NewExchanges()
		result := make(chan error, 1)
		go func() {
			resp, err := other.Exchange(request("GET", nil, 0), "/", field.View{}, nil)
			if err == nil {
				_, err = readAll(resp, nil)
			}
			result <- err
		}()
		synctest.Wait()
		is.Equal(one.CutRequests(), int64(0))
		is.NoErr(<-result)
	})
}

// A request that was let in just before the cut has not been sent yet.
func TestNoExchangeOfAGroupBeginsAfterItIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, func(conn net.Conn, n int) {
			t.Error("the target was asked")
		})
		group := g.NewExchanges()
		is.Equal(group.CutRequests(), int64(0))
		_, err := group.Exchange(request("GET", nil, 0), "/", field.View{}, nil)
		failure := new(upstream.Error)
		is.True(errors.As(err, &failure))
		is.Equal(failure.Reason, upstream.Cut)
		is.True(failure.Repeatable) // elsewhere
	})
}
