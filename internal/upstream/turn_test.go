package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// TestTurnTellsWhatHappened has the first connection end in each way.
func TestTurnTellsWhatHappened(t *testing.T) {
	reset := func(conn net.Conn) { conn.(*net.TCPConn).SetLinger(0) }
	for name, tt := range map[string]struct {
		end   func(conn net.Conn)
		cause error
	}{
		"closed": {func(net.Conn) {}, io.ErrUnexpectedEOF},
		"reset":  {reset, syscall.ECONNRESET},
	} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(name+"/"+method, func(t *testing.T) {
				is := is.New(t)
				pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{}, func(conn net.Conn, _ int) {
					proxytest.ReadHead(conn)
					tt.end(conn)
				})
				_, err := pool.Exchange(request(method, nil, 0), "/", field.View{}, nil)
				why, repeatable := reason(err)
				is.Equal(why, upstream.Broken)
				is.Equal(repeatable, method == "GET")
				is.True(errors.Is(err, tt.cause)) // the cause is kept
				is.True(tt.cause == io.ErrUnexpectedEOF || strings.Contains(err.Error(), "read tcp 127.0.0.1:"))
			})
		}
	}
}

func TestTurnThatCannotBeginIsRepeatable(t *testing.T) {
	is := is.New(t)
	over := make(chan struct{})
	pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			err = conn.(*net.TCPConn).CloseWrite()
		}
		return conn, err
	}}, func(net.Conn, int) { <-over })
	defer close(over)
	_, err := pool.Exchange(post("hello"), "/", field.View{}, nil)
	why, repeatable := reason(err)
	is.Equal(why, upstream.Broken)
	is.True(repeatable)                    // although it is a POST
	is.True(errors.Is(err, syscall.EPIPE)) // the cause is kept
}

// What a target has closed gets nothing, though the system would take it.
func TestTurnDoesNotBeginWhereTheTargetHasClosed(t *testing.T) {
	is := is.New(t)
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			awaitReadable(t, conn)
		}
		return conn, err
	}
	pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{Dial: dial}, func(net.Conn, int) {})
	_, err := pool.Exchange(post("hello"), "/", field.View{}, nil)
	why, repeatable := reason(err)
	is.Equal(why, upstream.Broken)
	is.True(repeatable)                          // although it is a POST
	is.True(errors.Is(err, io.ErrUnexpectedEOF)) // the cause is kept
}

func TestWriteToATunnelThatTheTargetHasResetFails(t *testing.T) {
	is := is.New(t)
	near, over := make(chan net.Conn, 1), make(chan bool)
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		near <- conn
		return conn, err
	}
	pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{Dial: dial}, func(conn net.Conn, _ int) {
		proxytest.ReadHead(conn)
		io.WriteString(conn, switched)
		<-over
		conn.(*net.TCPConn).SetLinger(0)
	})
	resp, err := pool.Exchange(request("GET", nil, 0), "/", field.View{}, nil)
	is.NoErr(err)
	defer resp.Body.Close()
	close(over)
	awaitReadable(t, <-near)
	n, err := resp.Body.(tunnel).Write([]byte("hello"))
	is.Equal(n, 0)
	why, _ := reason(err)
	is.Equal(why, upstream.Broken)
}

// TestTurnPassesOverSocketsThatAreNotQuiet spoils the newest two of three.
func TestTurnPassesOverSocketsThatAreNotQuiet(t *testing.T) {
	for name, spoil := range map[string]func(conn net.Conn){
		"closed":     func(conn net.Conn) { conn.Close() },
		"written to": func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil") },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			far, near := make(chan net.Conn, 4), make(chan net.Conn, 4)
			dial := func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				near <- conn
				return conn, err
			}
			pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{Dial: dial}, func(conn net.Conn, n int) {
				far <- conn
				always(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n))(conn, n)
			})
			var held []*http.Response
			for n := range 3 {
				resp, err := pool.Exchange(request("GET", nil, 0), "/", field.View{}, nil)
				is.NoErr(err)
				held = append(held, resp)
				conn := <-near
				if spoilt := <-far; n > 0 {
					spoil(spoilt)
					awaitReadable(t, conn)
				}
			}
			for _, resp := range held {
				_, err := readAll(resp, nil)
				is.NoErr(err)
			}
			body, err := readAll(pool.Exchange(request("GET", nil, 0), "/", field.View{}, nil))
			is.NoErr(err)
			is.Equal(body, "0")    // which connection
			is.Equal(len(near), 0) // dials since then
		})
	}
}

// awaitReadable waits until there are bytes to be read from conn, or their end.
func awaitReadable(t *testing.T, conn net.Conn) {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return err != syscall.EAGAIN
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTurnIsEndedAtOnce(t *testing.T) {
	for name, want := range map[string]upstream.Reason{
		"pool": upstream.Cut, "client": upstream.Gone, "time-out": upstream.Timeout,
	} {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(name+"/"+network, func(t *testing.T) {
				is := is.New(t)
				address := "127.0.0.1:0"
				if network == "unix" {
					address = filepath.Join(proxytest.ShortDir(t), "s")
				}
				var o upstream.Options
				if want == upstream.Timeout {
					o.ResponseTimeout = 50 * time.Millisecond
				}
				asked := make(chan bool, 1)
				pool := newSocketTarget(t, network, address, o, func(conn net.Conn, _ int) {
					proxytest.ReadHead(conn)
					asked <- true
					io.Copy(io.Discard, conn)
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				results := make(chan error)
				go func() {
					_, err := pool.Exchange(requestWith(ctx, "GET", nil, 0), "/", field.View{}, nil)
					results <- err
				}()
				<-asked
				switch want {
				case upstream.Cut:
					go pool.Close()
				case upstream.Gone:
					cancel()
				}
				why, repeatable := reason(<-results)
				is.Equal(why, want)
				is.Equal(repeatable, false)
			})
		}
	}
}

// TestTurnWritesWhatHasNoRoom has a target that has not got all of the request
// when a time-out would have passed if it had begun to run before that was
// written, although it never waits for half as long. It then has as long again to
// answer.
func TestTurnWritesWhatHasNoRoom(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	for limit := 400 * time.Millisecond; ; limit *= 2 {
		bodies, slowest, err := askSlowly(t, limit)
		if err != nil && slowest > limit*3/4 && limit < 20*time.Second {
			continue // the machine was slower than the limit
		}
		is.NoErr(err)
		is.Equal(bodies, "okok") // on a new connection, and on that again
		return
	}
}

// askSlowly asks twice, and returns the bodies of the answers, and how long the longest step
// on the way took.
func askSlowly(t *testing.T, limit time.Duration) (bodies string, slowest time.Duration, err error) {
	const parts = 4
	small := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			err = conn.(*net.TCPConn).SetWriteBuffer(4096)
		}
		return conn, err
	}
	long := strings.Repeat("x", 4<<20)
	want := "GET / HTTP/1.1\r\nHost: app.test\r\nLong: " + long + "\r\n\r\n"
	p := newPace()
	pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{Dial: small, ResponseTimeout: limit}, func(conn net.Conn, n int) {
		conn.(*net.TCPConn).SetReadBuffer(32 << 10)
		for head := make([]byte, len(want)); n == 0; {
			for rest := range slices.Chunk(head, len(head)/parts+1) {
				time.Sleep(limit * 4 / 10)
				if _, err := io.ReadFull(conn, rest); err != nil {
					return // which fails the test
				}
				p.step()
			}
			if time.Sleep(limit * 4 / 10); string(head) != want {
				return // likewise
			}
			io.WriteString(conn, ok)
			p.step()
		}
	})
	for range 2 {
		var body string
		body, err = readAll(pool.Exchange(request("GET", nil, 0), "/", field.ViewOf(http.Header{"Long": {long}}), nil))
		slowest = p.step()
		if bodies += body; err != nil {
			break
		}
	}
	return bodies, slowest, err
}

// A pace tells how long the longest step of something took, whoever took it.
type pace struct {
	mu      sync.Mutex // guards what follows
	last    time.Time  // when a step ended
	slowest time.Duration
}

func newPace() *pace { return &pace{last: time.Now()} }

// step ends a step, and returns how long the longest one took so far.
func (p *pace) step() (slowest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slowest = max(p.slowest, time.Since(p.last))
	p.last = time.Now()
	return p.slowest
}

// TestTurnOutlivesADeadlineThatWasLeft is about the second that a body waits
// for a 100, which is not taken back while nothing waits for the target.
func TestTurnOutlivesADeadlineThatWasLeft(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{}, func(conn net.Conn, n int) {
		if n > 0 {
			return // which fails the test
		}
		proxytest.ReadHead(conn)
		io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
		readTo(conn, "hello")
		io.WriteString(conn, ok)
		head, _ := proxytest.ReadHead(conn)
		time.Sleep(1010 * time.Millisecond)
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(head), head)
		if head, _ := proxytest.ReadHead(conn); head != "" {
			t.Errorf("asked once more: %q", head)
		}
	})
	_, err := readAll(pool.Exchange(post("hello"), "/", field.ViewOf(http.Header{"Expect": {"100-continue"}}), nil))
	is.NoErr(err)
	head, err := readAll(pool.Exchange(request("GET", nil, 0), "/last", field.View{}, nil))
	is.NoErr(err)
	is.True(strings.HasPrefix(head, "GET /last HTTP/1.1\r\n")) // what the target got
}
