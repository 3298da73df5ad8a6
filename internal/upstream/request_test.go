package upstream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// countWrites returns a Dial whose connections count their writes.
func countWrites(dial dialFunc, writes *atomic.Int64) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return &writeCounter{Conn: conn, writes: writes}, err
	}
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

type writeCounter struct {
	net.Conn
	writes *atomic.Int64
}

func (c *writeCounter) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// readTo reads until what was read ends with end.
func readTo(conn net.Conn, end string) string {
	var got strings.Builder
	for b := make([]byte, 1); !strings.HasSuffix(got.String(), end); {
		if _, err := io.ReadFull(conn, b); err != nil {
			break
		}
		got.Write(b)
	}
	return got.String()
}

func TestSmallBodyLeavesWithTheHeadInOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var network proxytest.Net
		var writes atomic.Int64
		bodies := make(chan string, 1)
		script := network.Script(t, "127.0.0.1:0", func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			bodies <- readTo(conn, "end")
			io.WriteString(conn, ok)
		})
		p := upstream.New(upstream.Options{Network: "tcp", Address: script.Addr(), Dial: countWrites(network.Dial, &writes)})
		defer p.Close()
		sent := strings.Repeat("x", 16<<10-3) + "end"
		_, err := readAll(p.Exchange(post(sent), "/", field.View{}, nil))
		is.NoErr(err)
		is.Equal(<-bodies, sent)        // body
		is.Equal(int(writes.Load()), 1) // writes
	})
}

func TestSmallBodyIsReadBeforeAConnectionIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			readTo(conn, "hello")
			io.WriteString(conn, ok)
		})
		client, body := net.Pipe()
		done := make(chan error)
		go func() {
			_, err := readAll(g.send(request("POST", body, 5)))
			done <- err
		}()
		io.WriteString(client, "hel")
		synctest.Wait()
		is.Equal(g.dials(), 0) // dials for half a body
		io.WriteString(client, "lo")
		is.NoErr(<-done)
		is.Equal(g.dials(), 1) // dials for a whole one
	})
}

func TestLongBodiesAreFramedAsTheClientDid(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 10_000)
	for name, tt := range map[string]struct {
		length  int64
		trailer http.Header
	}{
		"counted":  {int64(len(long)), nil},
		"chunked":  {-1, nil},
		"trailers": {-1, http.Header{"X-Sum": {"1", "2"}, "X-None": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var network proxytest.Net
				var got *http.Request
				var body string
				backend := network.Serve(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					b, _ := io.ReadAll(r.Body)
					got, body = r, string(b)
				}))
				p := upstream.New(upstream.Options{Network: "tcp", Address: backend.Addr(), Dial: network.Dial})
				defer p.Close()
				for range 2 {
					r := request("POST", strings.NewReader(long), tt.length)
					r.Trailer = tt.trailer
					_, err := readAll(p.Exchange(r, "/", field.View{}, nil))
					is.NoErr(err)
					is.Equal(got.ContentLength, tt.length) // length at the target
					is.True(body == long)                  // the body is the same
					is.Equal(got.Trailer["X-Sum"], tt.trailer["X-Sum"])
				}
				is.Equal(network.Dials(backend.Addr()), 1) // the connection is used again
			})
		})
	}
}

func TestChunksArriveAsTheClientMakesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		pieces := make(chan string)
		g := newTarget(t, upstream.Options{}, func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			pieces <- readTo(conn, "one\r\n")
			pieces <- readTo(conn, "twotwotwotwotwotwo\r\n")
			pieces <- readTo(conn, "0\r\n\r\n")
			io.WriteString(conn, ok)
		})
		client, body := net.Pipe()
		done := make(chan error)
		go func() {
			_, err := readAll(g.send(request("POST", body, -1)))
			done <- err
		}()
		io.WriteString(client, "one")
		is.Equal(<-pieces, "3\r\none\r\n")
		io.WriteString(client, "twotwotwotwotwotwo")
		is.Equal(<-pieces, "12\r\ntwotwotwotwotwotwo\r\n")
		client.Close()
		is.Equal(<-pieces, "0\r\n\r\n")
		is.NoErr(<-done)
	})
}

func TestTargetNeverSeesABrokenBodyComplete(t *testing.T) {
	for name, tt := range map[string]struct {
		length int64
		body   io.Reader
		dials  int
	}{
		"small and counted, short":  {5, strings.NewReader("hell"), 0},
		"small and counted, broken": {5, brokenAfter("hell"), 0},
		"long and counted, short":   {20_000, strings.NewReader("hell"), 1},
		"long and counted, broken":  {20_000, brokenAfter("hell"), 1},
		"chunked, broken":           {-1, brokenAfter("hell"), 1},
		"chunked, nothing read":     {-1, stuckReader{}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				ends := make(chan string, 1)
				g := newTarget(t, upstream.Options{}, func(conn net.Conn, _ int) {
					proxytest.ReadHead(conn)
					b, _ := io.ReadAll(conn)
					ends <- string(b)
				})
				body := &countedBody{Reader: tt.body}
				_, err := g.send(request("POST", body, tt.length))
				synctest.Wait()
				why, repeatable := reason(err)
				is.Equal(why, upstream.ClientBody) // reason
				is.True(!repeatable)               // the body is gone
				is.Equal(body.closed, 1)           // Close of the body
				is.Equal(g.dials(), tt.dials)      // dials
				is.Equal(g.conns(), 0)             // connections left
				if tt.dials > 0 {
					got := <-ends
					is.True(len(got) < 20_000)                    // part of a counted body
					is.True(!strings.HasSuffix(got, "0\r\n\r\n")) // no end of a chunked one
				}
			})
		})
	}
}

// brokenAfter returns a reader of s that fails at its end.
func brokenAfter(s string) io.Reader {
	return io.MultiReader(strings.NewReader(s), errorReader{})
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errors.New("client hung up") }

// A stuckReader returns nothing and no error, for ever.
type stuckReader struct{}

func (stuckReader) Read([]byte) (int, error) { return 0, nil }

func TestBadTrailersBreakTheBody(t *testing.T) {
	for name, trailer := range map[string]http.Header{
		"LF in value":   {"X-Sum": {"1\nX: 2"}},
		"colon in name": {"X:": {"1"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				ends := make(chan string, 1)
				g := newTarget(t, upstream.Options{}, func(conn net.Conn, _ int) {
					proxytest.ReadHead(conn)
					b, _ := io.ReadAll(conn)
					ends <- string(b)
				})
				r := request("POST", strings.NewReader("x"), -1)
				r.Trailer = trailer
				_, err := g.send(r)
				why, _ := reason(err)
				is.Equal(why, upstream.ClientBody)
				is.Equal(<-ends, "1\r\nx\r\n") // what the target got of the body
			})
		})
	}
}

func TestTrailersFollowTheLastChunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ends := make(chan string, 1)
		g := newTarget(t, upstream.Options{}, func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			ends <- readTo(conn, "\r\n\r\n")
			io.WriteString(conn, ok)
		})
		r := request("POST", strings.NewReader("x"), -1)
		r.Trailer = http.Header{"X-Sum": {"1", "2"}, "X-None": nil, "Content-Length": {"5"}, "Host": {"evil"}}
		_, err := readAll(g.send(r))
		is.NoErr(err)
		is.Equal(<-ends, "1\r\nx\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n")
	})
}

// A lingering connection's writes return some time after they are through.
type lingering struct {
	net.Conn
	by time.Duration
}

func (c lingering) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	time.Sleep(c.by)
	return n, err
}

func TestAnswerThatIsFasterThanTheLastWriteIsNotEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var network proxytest.Net
		backend := network.Serve(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
		}))
		p := upstream.New(upstream.Options{
			Network: "tcp", Address: backend.Addr(),
			Dial: func(ctx context.Context, n, address string) (net.Conn, error) {
				conn, err := network.Dial(ctx, n, address)
				return lingering{conn, 10 * time.Millisecond}, err
			},
		})
		defer p.Close()
		for range 3 {
			_, err := readAll(p.Exchange(request("POST", strings.NewReader("x"), -1), "/", field.View{}, nil))
			is.NoErr(err)
		}
		is.Equal(network.Dials(backend.Addr()), 1) // the connection is used again
	})
}

func TestEarlyAnswerIsPassedOnWhileTheUploadRuns(t *testing.T) {
	for name, length := range map[string]int64{"counted": 1 << 20, "chunked": -1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{}, once("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"))
				client, body := net.Pipe()
				closed := new(closeSignal)
				closed.ReadCloser = body
				resp, err := g.send(request("POST", closed, length))
				is.NoErr(err)
				is.Equal(resp.StatusCode, 413) // status
				_, err = io.WriteString(client, "the upload goes on")
				is.NoErr(err)
				text, err := readAll(resp, nil)
				is.NoErr(err)
				is.Equal(text, "big")  // body
				is.Equal(g.conns(), 0) // the connection is not used again
				client.Close()         // as a forwarder does in the end
				synctest.Wait()
				is.True(closed.yes.Load()) // the body is closed by its goroutine
			})
		})
	}
}

// A closeSignal remembers that it was closed.
type closeSignal struct {
	io.ReadCloser
	yes atomic.Bool
}

func (c *closeSignal) Close() error {
	c.yes.Store(true)
	return c.ReadCloser.Close()
}

func TestAnswerOutlivesAnUploadThatTheClientGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
			io.Copy(io.Discard, conn) // up to the half close
			io.WriteString(conn, "done")
		})
		client, body := net.Pipe()
		resp, err := g.send(request("POST", body, 1<<20))
		is.NoErr(err)
		client.Close()
		text, err := readAll(resp, nil)
		is.NoErr(err)
		is.Equal(text, "done") // body
		is.Equal(g.conns(), 0) // connections left
	})
}

func TestAnswerOfATargetThatHungUpInTheUploadIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			readTo(conn, "xxxx")
			io.WriteString(conn, "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig")
			conn.(interface{ CloseRead() error }).CloseRead()
			time.Sleep(time.Second)
		})
		text, err := readAll(g.send(request("POST", strings.NewReader(strings.Repeat("x", 1<<20)), 1<<20)))
		is.NoErr(err)
		is.Equal(text, "big")
		synctest.Wait()
		is.Equal(g.conns(), 0) // connections left
	})
}

// A journal takes notes from any goroutine.
type journal struct {
	mu    sync.Mutex // guards notes
	notes []string
}

func (j *journal) note(s string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.notes = append(j.notes, s)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.notes, ", ")
}

type noteReads struct {
	io.Reader
	journal *journal
}

func (r noteReads) Read(p []byte) (int, error) {
	r.journal.note("read")
	return r.Reader.Read(p)
}
