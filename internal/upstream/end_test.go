package upstream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

func TestErrorsTellWhatHappenedAndWhetherToTryAgain(t *testing.T) {
	get, long := request("GET", nil, 0), func() *http.Request { return request("POST", strings.NewReader("x"), -1) }
	for name, tt := range map[string]struct {
		r    *http.Request
		play func(net.Conn, int)
		want upstream.Error
		text string
	}{
		"closed before the answer": {
			get, thenClose(""),
			upstream.Error{Reason: upstream.Broken, Repeatable: true}, "broken: unexpected EOF",
		},
		"closed before the answer to a POST": {
			post("x"), thenClose(""),
			upstream.Error{Reason: upstream.Broken}, "",
		},
		"closed before the answer to an upload": {
			long(), thenClose(""),
			upstream.Error{Reason: upstream.Broken}, "",
		},
		"closed in the status line": {
			get, thenClose("HTTP/1.1 2"),
			upstream.Error{Reason: upstream.Broken}, "broken: unexpected EOF",
		},
		"closed in the header": {
			get, thenClose("HTTP/1.1 200 OK\r\nContent-"),
			upstream.Error{Reason: upstream.Broken}, "broken: unexpected EOF",
		},
		"closed after an interim answer": {
			get, thenClose("HTTP/1.1 103 Early Hints\r\n\r\n"),
			upstream.Error{Reason: upstream.Broken}, "",
		},
		"not HTTP": {
			get, once("220 mail.test ESMTP\r\n"),
			upstream.Error{Reason: upstream.Malformed}, "malformed: not a status line of HTTP/1.0 or HTTP/1.1: \"220 mail.test ESMTP\\r\\n\"",
		},
		"endless header": {
			get, once("HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 50_000)),
			upstream.Error{Reason: upstream.Malformed}, "malformed: head larger than 256 KiB, interim answers included",
		},
		"endless header line": {
			get, once("HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 300<<10)),
			upstream.Error{Reason: upstream.Malformed}, "malformed: head larger than 256 KiB, interim answers included",
		},
		"endless status line": {
			get, once("HTTP/1.1 200 " + strings.Repeat("b", 300<<10)),
			upstream.Error{Reason: upstream.Malformed}, "",
		},
		"alert of TLS": {
			get, thenClose("\x15\x03\x03\x00\x02\x02\x46"),
			upstream.Error{Reason: upstream.Malformed}, "malformed: an alert of TLS, which was not spoken",
		},
		"endless interim answers": {
			get, once(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 10_000) + ok),
			upstream.Error{Reason: upstream.Malformed}, "malformed: head larger than 256 KiB, interim answers included",
		},
		"large interim answers": {
			get, once(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("b", 100<<10)+"\r\n\r\n", 3) + ok),
			upstream.Error{Reason: upstream.Malformed}, "malformed: head larger than 256 KiB, interim answers included",
		},
		"other protocol, and the body never ends": {
			request("POST", io.MultiReader(strings.NewReader("hel"), iotest.ErrReader(io.ErrUnexpectedEOF)), -1),
			once("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
			upstream.Error{Reason: upstream.ClientBody}, "",
		},
		"no answer": {
			get, once(""),
			upstream.Error{Reason: upstream.Timeout}, "",
		},
		"no answer after half a head": {
			get, once("HTTP/1.1 200 OK\r\n"),
			upstream.Error{Reason: upstream.Timeout}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{ResponseTimeout: time.Minute}, tt.play)
				_, err := g.send(tt.r)
				why, repeatable := reason(err)
				is.Equal(why, tt.want.Reason)            // reason
				is.Equal(repeatable, tt.want.Repeatable) // repeatable
				if tt.text != "" {
					is.Equal(err.Error(), tt.text) // text
				}
				is.Equal(g.conns(), 0) // connections left
			})
		})
	}
}

func TestReasonsHaveNames(t *testing.T) {
	is := is.New(t)
	for r, want := range map[upstream.Reason]string{
		upstream.Dial: "dial", upstream.Timeout: "timeout", upstream.Cut: "cut", upstream.Gone: "gone",
		upstream.ClientBody: "client", upstream.Broken: "broken", upstream.Malformed: "malformed",
		upstream.BadRequest: "request",
	} {
		is.Equal(r.String(), want)
	}
}

func TestDialErrorIsRepeatable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var network proxytest.Net
		p := upstream.New(upstream.Options{Network: "tcp", Address: "127.0.0.1:1", Dial: network.Dial})
		defer p.Close()
		_, err := p.Exchange(request("POST", strings.NewReader("x"), -1), "/", field.View{}, nil)
		why, repeatable := reason(err)
		is.Equal(why, upstream.Dial)
		is.True(repeatable)
		is.True(errors.Is(err, syscall.ECONNREFUSED)) // the cause is kept
	})
}

func TestDialIsGivenUp(t *testing.T) {
	for name, tt := range map[string]struct {
		limit, want time.Duration
		reason      upstream.Reason
	}{
		"after five seconds":     {0, 5 * time.Second, upstream.Dial},
		"after DialTimeout":      {time.Second, time.Second, upstream.Dial},
		"when the client leaves": {-1, time.Hour, upstream.Gone},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var network proxytest.Net
				network.Blackhole("127.0.0.1:1")
				p := upstream.New(upstream.Options{Network: "tcp", Address: "127.0.0.1:1", Dial: network.Dial, DialTimeout: tt.limit})
				defer p.Close()
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				start := time.Now()
				_, err := p.Exchange(requestWith(ctx, "GET", nil, 0), "/", field.View{}, nil)
				why, repeatable := reason(err)
				is.Equal(why, tt.reason)                         // reason
				is.Equal(repeatable, tt.reason != upstream.Gone) // for whom would it be
				is.Equal(time.Since(start), tt.want)             // time it took
			})
		})
	}
}

// TestExchangeEndsAtOnce ends exchanges in each state and in each way.
func TestExchangeEndsAtOnce(t *testing.T) {
	for state, play := range map[string]func(net.Conn, int){
		"dialing":                      nil,
		"waiting for an answer":        once(""),
		"waiting for the final answer": once("HTTP/1.1 103 Early Hints\r\n\r\n"),
		"reading the head":             once("HTTP/1.1 200 OK\r\nA: "),
		"reading a counted body":       once("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"),
		"reading a chunked body":       once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel"),
		"reading trailers":             once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA:"),
		"reading a body to the end":    once("HTTP/1.1 200 OK\r\n\r\nhel"),
		"tunnelling":                   once("HTTP/1.1 101 Switching Protocols\r\n\r\nhel"),
	} {
		t.Run(state, func(t *testing.T) {
			endAtOnce(t, func(t *testing.T) exchanger {
				g := newTarget(t, upstream.Options{ResponseTimeout: time.Hour, DialTimeout: -1}, play)
				if play == nil {
					g.net.Blackhole(g.script.Addr())
				}
				return g
			})
		})
	}
}

// An exchanger is a target of either kind.
type exchanger interface {
	send(r *http.Request) (*http.Response, error)
	Close()
}

// endAtOnce ends an exchange with a target, a second after it began, in each
// way.
func endAtOnce(t *testing.T, open func(t *testing.T) exchanger) {
	for way, want := range map[string]upstream.Reason{"client": upstream.Gone, "pool": upstream.Cut} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := open(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan error)
				go func() {
					_, err := readAll(g.send(requestWith(ctx, "GET", nil, 0)))
					done <- err
				}()
				time.Sleep(time.Second)
				start := time.Now()
				if way == "pool" {
					go g.Close()
				} else {
					cancel()
				}
				why, _ := reason(<-done)
				is.Equal(why, want)                        // reason
				is.Equal(time.Since(start), 0*time.Second) // time it took
				synctest.Wait()
				if g, ok := g.(*target); ok { // HTTP/2 may go on with its own
					is.Equal(g.conns(), 0) // connections left
				}
			})
		})
	}
}

// TestClientThatLeavesEarlyIsNoticedSoon has it leave before the exchange has
// lasted long enough to be worth a closer look.
func TestClientThatLeavesEarlyIsNoticedSoon(t *testing.T) {
	for _, after := range []time.Duration{-1, 0, time.Millisecond, 11 * time.Millisecond, 19 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{}, once(""))
				ctx, cancel := context.WithTimeoutCause(t.Context(), after, errors.New("gone home"))
				defer cancel()
				time.Sleep(3 * time.Millisecond)
				start := time.Now()
				_, err := g.send(requestWith(ctx, "GET", nil, 0))
				why, repeatable := reason(err)
				is.Equal(why, upstream.Gone)
				is.Equal(repeatable, false)
				is.True(strings.HasSuffix(err.Error(), "gone home")) // the context's cause
				is.True(time.Since(start) <= 20*time.Millisecond)    // time it took
				is.True(after > 0 || time.Since(start) == 0)         // no time for who is gone
				g.Close()
				is.Equal(g.conns(), 0) // connections left
			})
		})
	}
}

func TestCloseEndsUploads(t *testing.T) {
	for name, body := range map[string]io.Reader{
		"to a target that reads":      waitingReader{},
		"to a target that is stalled": zeroReader{},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{}, func(conn net.Conn, _ int) {
					proxytest.ReadHead(conn)
					time.Sleep(time.Hour)
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan error)
				go func() {
					_, err := g.send(requestWith(ctx, "POST", body, -1))
					done <- err
				}()
				time.Sleep(time.Second)
				start := time.Now()
				g.Close()
				why, _ := reason(<-done)
				is.Equal(why, upstream.Cut)
				is.True(time.Since(start) < time.Minute) // no more than one Read of the body
			})
		})
	}
}

// A waitingReader gives a byte every ten seconds.
type waitingReader struct{}

func (waitingReader) Read(p []byte) (int, error) {
	time.Sleep(10 * time.Second)
	return 1, nil
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { return len(p), nil }

// Each look for exchanges that last finds those that were found before, too.
func TestCloseReturnsAfterExchangesThatOverlapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, func(conn net.Conn, n int) {
			proxytest.ReadHead(conn)
			time.Sleep(10 * time.Second)
			io.WriteString(conn, ok)
		})
		done := make(chan error)
		for range 3 {
			go func() {
				_, err := g.get()
				done <- err
			}()
			time.Sleep(time.Second)
		}
		for range 3 {
			is.NoErr(<-done)
		}
		g.Close() // for ever, if one of them is counted twice
	})
}

func TestClosedPoolRefusesExchanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, always(ok))
		_, err := g.get()
		is.NoErr(err)
		g.Close()
		is.Equal(g.conns(), 0) // connections left
		_, err = g.get()
		why, repeatable := reason(err)
		is.Equal(why, upstream.Cut)
		is.True(repeatable)    // another target may have it
		is.Equal(g.dials(), 1) // dials
		g.Close()
	})
}

// TestCloseWaitsForNoReader has answers whose bodies nobody reads or closes
// until Close has returned.
func TestCloseWaitsForNoReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, once("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		resp, err := g.send(requestWith(ctx, "GET", nil, 0))
		is.NoErr(err)
		g.Close()
		_, err = readAll(resp, nil)
		why, _ := reason(err)
		is.Equal(why, upstream.Cut)
	})
}

func TestBodyMayBeClosedByAnyGoroutine(t *testing.T) {
	for name, read := range map[string]func(io.Reader) error{
		"Read": func(body io.Reader) error {
			_, err := io.ReadAll(body)
			return err
		},
		"WriteTo": func(body io.Reader) error {
			_, err := body.(io.WriterTo).WriteTo(io.Discard)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{}, once("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"))
				resp, err := g.send(request("GET", nil, 0))
				is.NoErr(err)
				done := make(chan error)
				go func() { done <- read(resp.Body) }()
				synctest.Wait()
				is.NoErr(resp.Body.Close())
				why, _ := reason(<-done)
				is.Equal(why, upstream.Cut) // reason
				is.Equal(g.conns(), 0)      // connections left
				is.NoErr(resp.Body.Close())
			})
		})
	}
}

func TestBodyClosedLateLeavesItsConnectionToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, always(ok))
		resp, err := g.send(request("GET", nil, 0))
		is.NoErr(err)
		io.ReadAll(resp.Body)
		other, err := g.send(request("GET", nil, 0))
		is.NoErr(err)
		resp.Body.Close()
		body, err := readAll(other, nil)
		is.NoErr(err)
		is.Equal(body, "ok")
		is.Equal(g.dials(), 1) // dials
	})
}

func TestResponseTimeoutRunsFromTheLastByteToTheHead(t *testing.T) {
	const limit = 10 * time.Second
	pause := func(d time.Duration, text string) func(net.Conn) {
		return func(conn net.Conn) { time.Sleep(d); io.WriteString(conn, text) }
	}
	readBody := func(conn net.Conn) { readTo(conn, "\r\n0\r\n\r\n") }
	for name, tt := range map[string]struct {
		steps []func(net.Conn)
		body  io.Reader
		after time.Duration // 0: no time-out
	}{
		"in time":               {[]func(net.Conn){pause(limit-1, ok)}, nil, 0},
		"too late":              {[]func(net.Conn){pause(limit+1, ok)}, nil, limit},
		"a 1xx starts it anew":  {[]func(net.Conn){pause(limit-1, "HTTP/1.1 102 Processing\r\n\r\n"), pause(limit-1, ok)}, nil, 0},
		"too late after a 1xx":  {[]func(net.Conn){pause(limit-1, "HTTP/1.1 102 Processing\r\n\r\n"), pause(limit+1, ok)}, nil, 2*limit - 1},
		"a slow body":           {[]func(net.Conn){pause(0, ok[:len(ok)-2]), pause(5*limit, "ok")}, nil, 0},
		"a slow upload":         {[]func(net.Conn){readBody, pause(limit-1, ok)}, slowReader(5), 0},
		"too late after upload": {[]func(net.Conn){readBody, pause(limit+1, ok)}, slowReader(5), 6 * limit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{ResponseTimeout: limit}, func(conn net.Conn, _ int) {
					proxytest.ReadHead(conn)
					for _, step := range tt.steps {
						step(conn)
					}
				})
				r := request("GET", nil, 0)
				if tt.body != nil {
					r = request("POST", tt.body, -1)
				}
				start := time.Now()
				text, err := readAll(g.send(r))
				if tt.after == 0 {
					is.NoErr(err)
					is.Equal(text, "ok")
					return
				}
				why, repeatable := reason(err)
				is.Equal(why, upstream.Timeout)
				is.True(!repeatable)                  // the target is at work on it
				is.Equal(time.Since(start), tt.after) // when it was given up
			})
		})
	}
}

// slowReader returns a reader of n bytes, one every ten seconds.
func slowReader(n int64) io.Reader { return io.LimitReader(waitingReader{}, n) }

func TestBodyOfAnEarlyAnswerIsNotTimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{ResponseTimeout: time.Second}, func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
			readTo(conn, "\r\n0\r\n\r\n")
			time.Sleep(time.Hour)
			io.WriteString(conn, "ok")
		})
		text, err := readAll(g.send(request("POST", slowReader(5), -1)))
		is.NoErr(err)
		is.Equal(text, "ok")
	})
}

func TestUploadIsNotTimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{ResponseTimeout: time.Second}, func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\n\r\n")
			readTo(conn, "\r\n0\r\n\r\n")
			io.WriteString(conn, ok)
		})
		hints := 0
		_, err := readAll(g.Exchange(request("POST", slowReader(5), -1), "/", field.View{}, func(int, http.Header) { hints++ }))
		is.NoErr(err)
		is.Equal(hints, 1)
	})
}
