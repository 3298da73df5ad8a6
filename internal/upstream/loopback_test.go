package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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

// newSocketTarget is newTarget with the system's network.
func newSocketTarget(t *testing.T, network, address string, o upstream.Options, play func(net.Conn, int)) *upstream.Pool {
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				play(conn, n)
			})
		}
	})
	o.Network, o.Address, o.DialTimeout = network, l.Addr().String(), -1
	p := upstream.New(o)
	t.Cleanup(func() {
		p.Close()
		l.Close()
		running.Wait()
	})
	return p
}

// blob returns n bytes without a pattern.
func blob(n int) []byte {
	b := make([]byte, n)
	for i, x := 0, uint32(1); i < n; i++ {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// A passer is a handler that passes requests on to a Pool with WriteTo.
type passer struct {
	pool    *upstream.Pool
	results chan error
}

func (p *passer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resp, err := p.pool.Exchange(r, "/", field.View{}, nil)
	if err != nil {
		p.results <- err
		return
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	_, err = resp.Body.(io.WriterTo).WriteTo(w)
	p.results <- err
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

func newPasser(t *testing.T, pool *upstream.Pool) (*passer, *httptest.Server) {
	p := &passer{pool: pool, results: make(chan error, 10)}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	return p, server
}

func TestBodiesAreTheSameOverSockets(t *testing.T) {
	big := blob(1<<20 + 17)
	for name, network := range map[string]string{"tcp": "tcp", "unix": "unix"} {
		for framing, head := range map[string]string{
			"counted":       "Content-Length: 1048593\r\n",
			"up to the end": "Connection: close\r\n",
		} {
			t.Run(name+"/"+framing, func(t *testing.T) {
				is := is.New(t)
				address := "127.0.0.1:0"
				if network == "unix" {
					address = filepath.Join(proxytest.ShortDir(t), "app.sock")
				}
				pool := newSocketTarget(t, network, address, upstream.Options{}, func(conn net.Conn, _ int) {
					for {
						if _, err := proxytest.ReadHead(conn); err != nil {
							return
						}
						io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+head+"\r\n")
						conn.Write(big)
						if framing != "counted" {
							return
						}
					}
				})
				p, server := newPasser(t, pool)
				for range 3 {
					resp, err := http.Get(server.URL)
					is.NoErr(err)
					got, err := io.ReadAll(resp.Body)
					is.NoErr(err)
					is.True(bytes.Equal(got, big)) // body
					is.NoErr(<-p.results)
				}
			})
		}
	}
}

// Each upload is several times what the sockets hold, so it is written in parts.
func TestUploadsAreTheSameOverSockets(t *testing.T) {
	big := blob(2<<20 + 17)
	for _, network := range []string{"tcp", "unix"} {
		for framing, length := range map[string]int64{"counted": int64(len(big)), "in chunks": -1} {
			t.Run(network+"/"+framing, func(t *testing.T) {
				is := is.New(t)
				address := "127.0.0.1:0"
				if network == "unix" {
					address = filepath.Join(proxytest.ShortDir(t), "app.sock")
				}
				got := make(chan []byte, 2)
				pool := newSocketTarget(t, network, address, upstream.Options{}, func(conn net.Conn, _ int) {
					conn.(interface{ SetReadBuffer(int) error }).SetReadBuffer(32 << 10)
					br := bufio.NewReader(conn)
					for {
						r, err := http.ReadRequest(br)
						if err != nil {
							return
						}
						body, _ := io.ReadAll(r.Body)
						got <- body
						io.WriteString(conn, ok)
					}
				})
				for range 2 {
					_, err := readAll(pool.Exchange(request("POST", bytes.NewReader(big), length), "/", field.View{}, nil))
					is.NoErr(err)
					is.True(bytes.Equal(<-got, big)) // what arrived
				}
			})
		}
	}
}

// A target that goes away in the middle of an upload has that said of it.
func TestUploadThatATargetDoesNotTakeIsBroken(t *testing.T) {
	is := is.New(t)
	big := blob(12 << 20)
	pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{}, func(conn net.Conn, _ int) {
		io.ReadFull(conn, make([]byte, 1<<20))
	})
	_, err := pool.Exchange(request("POST", bytes.NewReader(big), int64(len(big))), "/", field.View{}, nil)
	why, repeatable := reason(err)
	is.Equal(why, upstream.Broken)
	is.True(!repeatable)
}

// A splicer is a ResponseWriter that notes what ReadFrom is called with.
type splicer struct {
	recorder
	got    []byte
	pieces []int64
	err    error // what ReadFrom returns after half a piece; nil: it reads all
}

func (s *splicer) ReadFrom(r io.Reader) (int64, error) {
	s.note("splice")
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return 0, errors.New("not limited")
	}
	if _, ok := limited.R.(*net.TCPConn); !ok {
		return 0, errors.New("not a TCP connection")
	}
	s.pieces = append(s.pieces, limited.N)
	if s.err != nil {
		n, _ := io.CopyN(io.Discard, limited, limited.N/2)
		return n, s.err
	}
	b, err := io.ReadAll(limited)
	s.got = append(s.got, b...)
	return int64(len(b)), err
}

func (s *splicer) Write(p []byte) (int, error) {
	s.got = append(s.got, p...)
	return s.recorder.Write(p)
}

func TestLongCountedBodyIsSplicedInPieces(t *testing.T) {
	is := is.New(t)
	big := blob(1 << 20)
	pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{}, func(conn net.Conn, _ int) {
		for {
			if _, err := proxytest.ReadHead(conn); err != nil {
				return
			}
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n")
			conn.Write(big)
		}
	})
	for range 2 {
		resp, err := pool.Exchange(request("GET", nil, 0), "/", field.View{}, nil)
		is.NoErr(err)
		_, err = io.ReadFull(resp.Body, make([]byte, 100)) // so that something is buffered
		is.NoErr(err)
		var w splicer
		n, err := resp.Body.(io.WriterTo).WriteTo(&w)
		is.NoErr(err)
		is.Equal(n, int64(len(big)-100))
		is.True(bytes.Equal(w.got, big[100:]))                // body
		is.Equal(w.pieces[:2], []int64{256 << 10, 512 << 10}) // for the client is fast
		calls := strings.Replace(w.String(), "set, write, flush", "write, set, flush", 1)
		is.Equal(calls, "write, set, flush, set, splice, set, splice, set, splice, clear")
	}
}

func TestSplicedBodyThatEndsEarlyIsTheTargetsFault(t *testing.T) {
	for name, end := range map[string]func(*net.TCPConn){
		"closed": func(conn *net.TCPConn) {},
		"reset":  func(conn *net.TCPConn) { conn.SetLinger(0) },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{}, func(conn net.Conn, _ int) {
				proxytest.ReadHead(conn)
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
				conn.Write(blob(5_000_000))
				end(conn.(*net.TCPConn))
			})
			p, server := newPasser(t, pool)
			resp, err := http.Get(server.URL)
			is.NoErr(err)
			_, err = io.Copy(io.Discard, resp.Body)
			is.True(err != nil) // the client sees that it is not complete
			why, _ := reason(<-p.results)
			is.Equal(why, upstream.Broken)
		})
	}
}

func TestSplicedBodyThatTheClientLeavesIsTheWritersError(t *testing.T) {
	is := is.New(t)
	pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{}, func(conn net.Conn, _ int) {
		proxytest.ReadHead(conn)
		io.WriteString(conn, endlessCounted+"\r\n")
		io.Copy(conn, zeroReader{})
	})
	resp, err := pool.Exchange(request("GET", nil, 0), "/", field.View{}, nil)
	is.NoErr(err)
	defer resp.Body.Close()
	reset := &net.OpError{Op: "readfrom", Net: "tcp", Err: os.NewSyscallError("splice", syscall.ECONNRESET)}
	_, err = resp.Body.(io.WriterTo).WriteTo(&splicer{err: reset})
	is.Equal(err, error(reset))
}

// A slowSplicer is a splicer whose client takes longer than a deadline, which
// its server puts off. Meanwhile that of the source passes.
type slowSplicer struct {
	splicer
	limit time.Duration
	late  func() // called when it has
}

func (s *slowSplicer) ReadFrom(r io.Reader) (int64, error) {
	n, err := s.splicer.ReadFrom(r)
	if err != nil {
		time.Sleep(s.limit)
		s.late()
	}
	return n, err
}

func TestSpliceGoesOnForASlowClient(t *testing.T) {
	is := is.New(t)
	big := blob(600 << 10)
	const limit = 20 * time.Millisecond
	goOn := make(chan struct{})
	pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{WriteTimeout: limit}, func(conn net.Conn, _ int) {
		proxytest.ReadHead(conn)
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(big))
		conn.Write(big[:len(big)/2])
		<-goOn
		conn.Write(big[len(big)/2:])
	})
	resp, err := pool.Exchange(request("GET", nil, 0), "/", field.View{}, nil)
	is.NoErr(err)
	w := slowSplicer{limit: limit, late: sync.OnceFunc(func() { close(goOn) })}
	_, err = resp.Body.(io.WriterTo).WriteTo(&w)
	is.NoErr(err)
	is.True(bytes.Equal(w.got, big)) // body
}

// A vagueSplicer is a splicer that fails once.
type vagueSplicer struct{ splicer }

func (s *vagueSplicer) ReadFrom(r io.Reader) (int64, error) {
	n, err := s.splicer.ReadFrom(r)
	s.err = nil
	return n, err
}

func TestSpliceThatDoesNotTellWhoseDeadlineHasPassedGoesOnWhileTheClientHasTime(t *testing.T) {
	is := is.New(t)
	const size = 600 << 10
	pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{WriteTimeout: time.Hour}, func(conn net.Conn, _ int) {
		proxytest.ReadHead(conn)
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
		conn.Write(blob(size))
	})
	resp, err := pool.Exchange(request("GET", nil, 0), "/", field.View{}, nil)
	is.NoErr(err)
	defer resp.Body.Close()
	var w vagueSplicer
	w.err = &net.OpError{Op: "readfrom", Net: "tcp", Err: os.NewSyscallError("splice", os.ErrDeadlineExceeded)}
	n, err := resp.Body.(io.WriterTo).WriteTo(&w)
	is.NoErr(err)
	is.Equal(n, int64(size))
	is.True(len(w.pieces) > 1)
}

func TestSpliceGivesUpAStalledClient(t *testing.T) {
	is := is.New(t)
	pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{WriteTimeout: time.Millisecond}, func(conn net.Conn, _ int) {
		proxytest.ReadHead(conn)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
		io.CopyN(conn, zeroReader{}, 100_000_000)
	})
	p, server := newPasser(t, pool)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	is.NoErr(err)
	defer conn.Close()
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
	err = <-p.results
	why, _ := reason(err)
	is.True(errors.Is(err, os.ErrDeadlineExceeded)) // the writer's
	is.Equal(why, upstream.Reason(0))
}

func TestCutEndsASplice(t *testing.T) {
	for name, want := range map[string]upstream.Reason{"pool": upstream.Cut, "client": upstream.Gone} {
		for state, amount := range map[string]int64{"stalled client": 100_000_000, "silent target": 100_000} {
			t.Run(name+"/"+state, func(t *testing.T) {
				is := is.New(t)
				pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{WriteTimeout: -1}, func(conn net.Conn, _ int) {
					proxytest.ReadHead(conn)
					io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
					io.CopyN(conn, zeroReader{}, amount)
					io.Copy(io.Discard, conn)
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				results := make(chan error, 1)
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					resp, err := pool.Exchange(r.WithContext(ctx), "/", field.View{}, nil)
					if err != nil {
						results <- err
						return
					}
					defer resp.Body.Close()
					w.Header().Set("Content-Length", "100000000")
					_, err = resp.Body.(io.WriterTo).WriteTo(w)
					results <- err
				}))
				defer server.Close()
				conn, err := net.Dial("tcp", server.Listener.Addr().String())
				is.NoErr(err)
				defer conn.Close()
				io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
				_, err = proxytest.ReadHead(conn)
				is.NoErr(err)
				if want == upstream.Cut {
					pool.Close()
				} else {
					cancel()
				}
				err = <-results
				why, _ := reason(err)
				// Which side of a splice notices first is left open for a client that is gone.
				is.True(why == want || want == upstream.Gone && errors.Is(err, os.ErrDeadlineExceeded))
			})
		}
	}
}

func TestStaleSocketIsFoundBeforeItIsUsed(t *testing.T) {
	is := is.New(t)
	near := make(chan net.Conn, 2)
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		near <- conn
		return conn, err
	}
	pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{Dial: dial, ResponseTimeout: time.Minute}, func(conn net.Conn, n int) {
		proxytest.ReadHead(conn)
		io.WriteString(conn, ok)
		if n == 0 {
			conn.Close()
			return
		}
		always(ok)(conn, n)
	})
	_, err := readAll(pool.Exchange(request("GET", nil, 0), "/", field.View{}, nil))
	is.NoErr(err)
	awaitReadable(t, <-near) // the end is there
	for range 3 {
		body, err := readAll(pool.Exchange(post(""), "/", field.View{}, nil))
		is.NoErr(err)
		is.Equal(body, "ok")
	}
}
