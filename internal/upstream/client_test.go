package upstream_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// A front is a server that passes each request on to a target, and what its
// WriteTos returned.
type front struct {
	*target
	server  *proxytest.Backend
	results chan error
	answers chan *http.Response // before its WriteTo; buffered
}

func newFront(t *testing.T, o upstream.Options, play func(net.Conn, int)) *front {
	f := &front{target: newTarget(t, o, play), results: make(chan error, 10), answers: make(chan *http.Response, 10)}
	f.server = f.net.Serve(t, "127.0.0.1:80", http.HandlerFunc(f.pass))
	return f
}

func (f *front) pass(w http.ResponseWriter, r *http.Request) {
	resp, err := f.send(r)
	if err != nil {
		f.results <- err
		return
	}
	defer resp.Body.Close()
	f.answers <- resp
	for _, name := range []string{"Content-Type", "Content-Length"} {
		if v := resp.Header.Get(name); v != "" {
			w.Header().Set(name, v)
		}
	}
	w.WriteHeader(resp.StatusCode)
	_, err = resp.Body.(io.WriterTo).WriteTo(w)
	f.results <- err
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// ask sends a request over a connection of its own.
func (f *front) ask(t *testing.T) net.Conn {
	conn, err := f.net.Dial(t.Context(), "tcp", f.server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
	return conn
}

// zeros answers with an endless body.
func zeros(head string) func(net.Conn, int) {
	return func(conn net.Conn, _ int) {
		proxytest.ReadHead(conn)
		io.WriteString(conn, head+"\r\n")
		io.Copy(conn, zeroReader{})
	}
}

const (
	endlessCounted = "HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n"
	endlessPlain   = "HTTP/1.1 200 OK\r\n"
)

func TestClientThatTakesNothingIsGivenUp(t *testing.T) {
	for name, head := range map[string]string{"counted": endlessCounted, "unknown length": endlessPlain} {
		for _, limit := range []time.Duration{0, 10 * time.Second} {
			t.Run(name+"/"+limit.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					f := newFront(t, upstream.Options{WriteTimeout: limit}, zeros(head))
					start := time.Now()
					f.ask(t)
					err := <-f.results
					why, _ := reason(err)
					is.Equal(why, upstream.Reason(0))               // it is not the target's fault
					is.True(errors.Is(err, os.ErrDeadlineExceeded)) // it is the writer's error
					if limit == 0 {
						limit = time.Minute
					}
					is.Equal(time.Since(start), limit) // when it was given up
				})
			})
		}
	}
}

func TestClientThatTakesALittleIsNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := newFront(t, upstream.Options{}, zeros(endlessCounted))
		conn := f.ask(t)
		for range 20 {
			_, err := io.ReadFull(conn, make([]byte, 40<<10))
			is.NoErr(err)
			time.Sleep(50 * time.Second)
		}
		is.Equal(len(f.results), 0) // the transfer goes on
	})
}

func TestClientIsNeverGivenUpForASlowTarget(t *testing.T) {
	for name, head := range map[string]string{
		"short and counted": "HTTP/1.1 200 OK\r\nContent-Length: 15000\r\n\r\n",
		"long and counted":  "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n",
		"unknown length":    "HTTP/1.1 200 OK\r\n\r\n",
		"event stream":      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 15000\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				size := 15_000
				if strings.Contains(head, "200000") {
					size = 200_000
				}
				f := newFront(t, upstream.Options{}, func(conn net.Conn, _ int) {
					proxytest.ReadHead(conn)
					io.WriteString(conn, head)
					for range 5 {
						io.WriteString(conn, strings.Repeat("x", size/5))
						time.Sleep(time.Hour)
					}
				})
				resp, err := http.ReadResponse(bufio.NewReader(f.ask(t)), nil)
				is.NoErr(err)
				b, err := io.ReadAll(resp.Body)
				is.NoErr(err)
				is.Equal(len(b), size)
				is.NoErr(<-f.results)
			})
		})
	}
}

func TestDeadlineOfAWriteIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := newFront(t, upstream.Options{}, always("HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n"+strings.Repeat("x", 3000)))
		conn := f.ask(t)
		in := bufio.NewReader(conn)
		for range 3 {
			resp, err := http.ReadResponse(in, nil)
			is.NoErr(err)
			_, err = io.Copy(io.Discard, resp.Body)
			is.NoErr(err)
			time.Sleep(2 * time.Minute)
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
		}
	})
}

func TestStalledClientDoesNotOutliveItsExchange(t *testing.T) {
	for name, head := range map[string]string{"counted": endlessCounted, "unknown length": endlessPlain} {
		for way, end := range map[string]func(f *front, resp *http.Response){
			"pool closed": func(f *front, _ *http.Response) { f.Close() },
			"body closed": func(_ *front, resp *http.Response) { resp.Body.Close() },
		} {
			t.Run(name+"/"+way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					f := newFront(t, upstream.Options{WriteTimeout: -1}, zeros(head))
					f.ask(t)
					resp := <-f.answers
					time.Sleep(time.Hour)
					start := time.Now()
					end(f, resp)
					why, _ := reason(<-f.results)
					is.Equal(why, upstream.Cut)                // reason
					is.Equal(time.Since(start), 0*time.Second) // time it took
					is.Equal(f.conns(), 0)                     // connections left
				})
			})
		}
	}
}

func TestEachPieceOfAStreamIsThroughAtOnce(t *testing.T) {
	for name, tt := range map[string]struct{ head, frame, end string }{
		"event stream":          {"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n", "1\r\nx\r\n", "0\r\n\r\n"},
		"counted event stream":  {"Content-Type: text/event-stream; charset=utf-8\r\nContent-Length: 3\r\n", "x", ""},
		"chunked":               {"Transfer-Encoding: chunked\r\n", "1\r\nx\r\n", "0\r\n\r\n"},
		"up to the end":         {"", "x", ""},
		"chunk end comes later": {"Transfer-Encoding: chunked\r\n", "\r\n1\r\nx", "\r\n0\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				f := newFront(t, upstream.Options{}, func(conn net.Conn, _ int) {
					proxytest.ReadHead(conn)
					io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+tt.head+"\r\n")
					frame := strings.TrimPrefix(tt.frame, "\r\n")
					for range 3 {
						time.Sleep(time.Second)
						io.WriteString(conn, frame)
						frame = tt.frame
					}
					io.WriteString(conn, tt.end)
				})
				start := time.Now()
				resp, err := http.ReadResponse(bufio.NewReader(f.ask(t)), nil)
				is.NoErr(err)
				is.Equal(time.Since(start), 0*time.Second) // when the head came
				for i := range 3 {
					_, err := io.ReadFull(resp.Body, make([]byte, 1))
					is.NoErr(err)
					is.Equal(time.Since(start), time.Duration(i+1)*time.Second) // when the piece came
				}
			})
		})
	}
}

// A recorder is a ResponseWriter that notes what is done to it.
type recorder struct {
	http.ResponseWriter // nil: nothing else may be called
	journal
}

func (r *recorder) Write(p []byte) (int, error) { r.note("write"); return len(p), nil }
func (r *recorder) FlushError() error           { r.note("flush"); return nil }
func (r *recorder) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		r.note("clear")
	} else {
		r.note("set")
	}
	return nil
}

func TestClientIsTroubledNoMoreThanNecessary(t *testing.T) {
	medium := strings.Repeat("x", 3000)
	for name, tt := range map[string]struct{ raw, want string }{
		"small and counted":  {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "write"},
		"small and chunked":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", "write"},
		"medium and counted": {"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + medium, "set, write, flush, clear"},
		"broken":             {"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\nhello", "write, set, flush, clear"}, // it was waited for
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{}, thenClose(tt.raw))
				resp, err := g.send(request("GET", nil, 0))
				is.NoErr(err)
				defer resp.Body.Close()
				var w recorder
				resp.Body.(io.WriterTo).WriteTo(&w)
				is.Equal(w.String(), tt.want) // calls
			})
		})
	}
}

// A plainWriter is a ResponseWriter without anything that a server's has
// besides, and whose Write fails after some bytes.
type plainWriter struct {
	http.ResponseWriter
	left int
	err  error
}

func (w *plainWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	if w.left -= n; n < len(p) {
		return n, w.err
	}
	return n, nil
}

func TestErrorsOfTheWriterAreReturnedAsTheyCame(t *testing.T) {
	for name, raw := range map[string]string{
		"buffered":       "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"counted":        endlessCounted + "\r\n" + strings.Repeat("x", 8<<10),
		"unknown length": endlessPlain + "\r\nok",
	} {
		for want, err := range map[string]error{"client hung up": errors.New("client hung up"), "short write": nil} {
			t.Run(name+"/"+want, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					g := newTarget(t, upstream.Options{}, once(raw))
					resp, sendErr := g.send(request("GET", nil, 0))
					is.NoErr(sendErr)
					n, writeErr := resp.Body.(io.WriterTo).WriteTo(&plainWriter{left: 1, err: err})
					is.Equal(n, int64(1))                  // bytes written
					is.Equal(writeErr.Error(), want)       // error
					is.True(err == nil || writeErr == err) // the very same
					resp.Body.Close()
					is.Equal(g.conns(), 0) // connections left
				})
			})
		}
	}
}

func TestEndOfTheRequestsContextEndsAWriteToStalledClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{WriteTimeout: -1}, zeros(endlessCounted))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		results := make(chan error, 1)
		server := g.net.Serve(t, "127.0.0.1:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			resp, err := g.send(r.WithContext(ctx))
			if err != nil {
				results <- err
				return
			}
			defer resp.Body.Close()
			_, err = resp.Body.(io.WriterTo).WriteTo(w)
			results <- err
		}))
		conn, err := g.net.Dial(t.Context(), "tcp", server.Addr())
		is.NoErr(err)
		defer conn.Close()
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
		time.Sleep(time.Hour)
		cancel()
		is.True(errors.Is(<-results, os.ErrDeadlineExceeded))
	})
}

// A closer is a recorder that closes a body when it is written to.
type closer struct {
	recorder
	body io.Closer
}

func (c *closer) Write(p []byte) (int, error) {
	c.body.Close()
	return c.recorder.Write(p)
}

func TestDeadlineOfACutStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, once("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"+strings.Repeat("x", 3000)))
		resp, err := g.send(request("GET", nil, 0))
		is.NoErr(err)
		w := closer{body: resp.Body}
		_, err = resp.Body.(io.WriterTo).WriteTo(&w)
		why, _ := reason(err)
		is.Equal(why, upstream.Cut)
		is.Equal(w.String(), "set, set, write") // the second one is in the past
	})
}
