package upstream_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// TestUploadToATargetThatStopsReadingTimesOut sends more than sockets hold.
func TestUploadToATargetThatStopsReadingTimesOut(t *testing.T) {
	ca := proxytest.NewCA()
	certificate := ca.Issue("app.test")
	const size = 20 << 20
	for _, way := range []string{"tcp", "unix", "tls"} {
		for framing, length := range map[string]int64{"counted": size, "in chunks": -1} {
			t.Run(way+"/"+framing, func(t *testing.T) {
				t.Parallel()
				is := is.New(t)
				network, address := "tcp", "127.0.0.1:0"
				if way == "unix" {
					network, address = "unix", filepath.Join(proxytest.ShortDir(t), "s")
				}
				o := upstream.Options{ResponseTimeout: 200 * time.Millisecond}
				if way == "tls" {
					o.TLS = &tls.Config{RootCAs: ca.Pool(), ServerName: "app.test"}
				}
				over := make(chan struct{})
				pool := newSocketTarget(t, network, address, o, func(conn net.Conn, _ int) {
					if way == "tls" {
						conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}})
					}
					io.ReadFull(conn, make([]byte, 1<<20))
					<-over
				})
				body := &countedBody{Reader: io.LimitReader(zeroReader{}, size)}
				_, err := pool.Exchange(request("POST", body, length), "/", field.View{}, nil)
				close(over)
				why, repeatable := reason(err)
				is.Equal(why, upstream.Timeout)
				is.True(!repeatable)
				is.Equal(err.Error(), "timeout: the target takes nothing more of the request")
				pool.Close()
				is.Equal(body.closed, 1)
			})
		}
	}
}

// TestUploadToATargetThatReadsALittleIsNotTimedOut has a socket that holds more
// than it may, as the system has it when memory is short: for longer than the
// limit it has no room, although its target reads.
func TestUploadToATargetThatReadsALittleIsNotTimedOut(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("what is on its way is not known here")
	}
	t.Parallel()
	is := is.New(t)
	for limit := 400 * time.Millisecond; ; limit *= 2 {
		body, slowest, err := uploadSlowly(t, limit)
		if err != nil && slowest > limit*3/4 && limit < 20*time.Second {
			continue // the machine was slower than the limit
		}
		is.NoErr(err)
		is.Equal(body, "ok")
		return
	}
}

// uploadSlowly sends to a target that reads a little at a time, for longer than limit. It
// returns the answer, and the longest time between two reads.
func uploadSlowly(t *testing.T, limit time.Duration) (body string, slowest time.Duration, err error) {
	const size = 20 << 20
	near := make(chan *net.TCPConn, 1)
	o := upstream.Options{ResponseTimeout: limit, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			near <- conn.(*net.TCPConn)
		}
		return conn, err
	}}
	p := newPace()
	pool := newSocketTarget(t, "tcp", "127.0.0.1:0", o, func(conn net.Conn, _ int) {
		conn.(*net.TCPConn).SetReadBuffer(128 << 10)
		proxytest.ReadHead(conn)
		time.Sleep(limit * 3 / 8)
		tight := <-near
		tight.SetWriteBuffer(4 << 10)
		n := int64(0)
		for ; n < 10*64<<10; n += 64 << 10 {
			io.CopyN(io.Discard, conn, 64<<10)
			time.Sleep(limit * 3 / 20)
			p.step()
		}
		tight.SetWriteBuffer(1 << 20)
		io.CopyN(io.Discard, conn, size-n)
		io.WriteString(conn, ok)
		p.step()
	})
	body, err = readAll(pool.Exchange(request("POST", io.LimitReader(zeroReader{}, size), size), "/", field.View{}, nil))
	return body, p.step(), err
}

func TestResponseTimeoutRunsWhileTheTargetTakesNothing(t *testing.T) {
	const (
		limit = 10 * time.Second
		size  = 1 << 20 // of what is sent; a connection holds 64 KiB
	)
	long := http.Header{"Long": {strings.Repeat("x", size)}}
	upload := func() *http.Request { return request("POST", io.LimitReader(zeroReader{}, size), size) }
	// take reads n bytes at once, after a time.
	take := func(conn net.Conn, after time.Duration, n int64) {
		time.Sleep(after)
		io.CopyN(io.Discard, conn, n)
	}
	for name, tt := range map[string]struct {
		header http.Header
		r      *http.Request
		play   func(conn net.Conn)
		after  time.Duration // 0: it is answered
	}{
		"an upload": {nil, upload(), func(conn net.Conn) { time.Sleep(time.Hour) }, limit},
		"a head":    {long, request("GET", nil, 0), func(conn net.Conn) { time.Sleep(time.Hour) }, limit},
		"an upload that goes on": {nil, upload(), func(conn net.Conn) {
			take(conn, limit-time.Second, 1000)
			take(conn, limit-time.Second, 1000)
			take(conn, limit-time.Second, size-2000)
			io.WriteString(conn, ok)
		}, 0},
		"a head that goes on": {long, request("GET", nil, 0), func(conn net.Conn) {
			take(conn, limit-time.Second, 1000)
			take(conn, limit-time.Second, 1000)
			take(conn, limit-time.Second, size-2000)
			time.Sleep(limit - time.Second)
			io.WriteString(conn, ok)
		}, 0},
		"an upload that went on": {nil, upload(), func(conn net.Conn) {
			take(conn, limit-time.Second, 1000)
			time.Sleep(time.Hour)
		}, 2*limit - time.Second},
		"a head, which is answered": {long, request("GET", nil, 0), func(conn net.Conn) {
			io.WriteString(conn, ok)
			time.Sleep(time.Hour)
		}, 0},
		"an upload, which is answered": {nil, upload(), func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
			time.Sleep(10 * limit)
			io.WriteString(conn, "k")
			time.Sleep(time.Hour)
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{ResponseTimeout: limit}, func(conn net.Conn, _ int) { tt.play(conn) })
				start := time.Now()
				body, err := readAll(g.Exchange(tt.r, "/", field.ViewOf(tt.header), nil))
				if tt.after == 0 {
					is.NoErr(err)
					is.Equal(body, "ok")
					return
				}
				why, repeatable := reason(err)
				is.Equal(why, upstream.Timeout)
				is.True(!repeatable)
				// Whether something goes is seen to eight times per limit, and then
				// a tenth of a second passes in which an answer might come.
				late := time.Since(start) - tt.after
				is.True(0 <= late && late <= limit/8+100*time.Millisecond) // when it was given up
			})
		})
	}
}

func TestRequestThatATargetTookNothingOfGoesOutOnAnotherConnection(t *testing.T) {
	const limit, size = 10 * time.Second, 64 << 10 // which is what a connection holds
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{ResponseTimeout: limit}, func(conn net.Conn, n int) {
			proxytest.ReadHead(conn)
			time.Sleep(time.Second) // in which the upload is sent
			io.WriteString(conn, ok)
			time.Sleep(time.Hour)
		})
		_, err := readAll(g.send(request("POST", io.LimitReader(zeroReader{}, size), size)))
		is.NoErr(err)
		start := time.Now()
		body, err := g.get()
		is.NoErr(err)
		is.Equal(body, "ok")
		is.Equal(g.dials(), 2)              // the first connection was full of the upload
		is.True(time.Since(start) >= limit) // which was waited for
	})
}

func TestFullDuplexIsNotTimed(t *testing.T) {
	const limit, size = time.Second, 1 << 20
	for name, head := range map[string]string{
		"an upload that was answered early": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
		"a tunnel":                          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				big := blob(size)
				g := newTarget(t, upstream.Options{ResponseTimeout: limit}, func(conn net.Conn, _ int) {
					proxytest.ReadHead(conn)
					io.WriteString(conn, head)
					time.Sleep(10 * limit)
					got := make([]byte, size)
					io.ReadFull(conn, got)
					if bytes.Equal(got, big) {
						io.WriteString(conn, "ok")
					}
				})
				r := request("POST", bytes.NewReader(big), size)
				if name == "a tunnel" {
					r = request("GET", nil, 0)
				}
				resp, err := g.Exchange(r, "/", field.View{}, nil)
				is.NoErr(err)
				defer resp.Body.Close()
				if tunnel, ok := resp.Body.(io.Writer); ok {
					_, err := tunnel.Write(big)
					is.NoErr(err)
				}
				got := make([]byte, 2)
				_, err = io.ReadFull(resp.Body, got)
				is.NoErr(err)
				is.Equal(string(got), "ok")
			})
		})
	}
}

func TestH2CUploadToATargetThatStopsReadingTimesOut(t *testing.T) {
	const limit, size = 10 * time.Second, 20 << 20
	for name, tt := range map[string]struct {
		reads int64 // how much the target does, before it stops for as long as it can
		slow  bool  // and half of that a little at a time
		early bool  // it has begun to answer
		want  upstream.Reason
	}{
		"nothing":           {want: upstream.Timeout},
		"some":              {reads: 1 << 20, want: upstream.Timeout},
		"all, slowly":       {reads: size, slow: true},
		"some, and answers": {reads: 1 << 20, early: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newH2CTarget(t, upstream.Options{ResponseTimeout: limit}, func(w http.ResponseWriter, r *http.Request) {
					if tt.early {
						http.NewResponseController(w).Flush()
					}
					step := tt.reads
					if tt.slow {
						step = size / 20
					}
					for n := int64(0); n < tt.reads; n += step {
						io.CopyN(io.Discard, r.Body, step)
						if tt.slow && n < size/2 {
							time.Sleep(limit - time.Second)
						}
					}
					if !tt.slow {
						select {
						case <-r.Context().Done():
						case <-time.After(5 * limit):
						}
					}
					io.WriteString(w, "ok")
				})
				body, err := readAll(g.send(request("POST", io.LimitReader(zeroReader{}, size), size)))
				why, repeatable := reason(err)
				is.Equal(why, tt.want)
				is.True(!repeatable)
				if tt.want == 0 {
					is.Equal(body, "ok")
				} else {
					is.Equal(err.Error(), "timeout: the target takes nothing more of the request")
				}
			})
		})
	}
}

func TestH2CTargetThatDoesNotTakeTheHeadTimesOut(t *testing.T) {
	const limit, size = 10 * time.Second, 1 << 20 // of the head; a connection holds 64 KiB
	long := field.ViewOf(http.Header{"Long": {strings.Repeat("x", size)}})
	for name, r := range map[string]*http.Request{
		"without a body": request("GET", nil, 0),
		"a small body":   post("x"),
		"an upload":      request("POST", strings.NewReader("hello"), -1),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var n proxytest.Net
				f := &frameTarget{todo: []any{"answer"}}
				script := n.Script(t, "127.0.0.1:0", func(conn net.Conn, n int) {
					if n == 0 {
						time.Sleep(time.Hour)
					}
					f.serve(conn, n)
				})
				p := upstream.NewH2C(upstream.Options{Network: "tcp", Address: script.Addr(), Dial: n.Dial, ResponseTimeout: limit})
				defer p.Close()
				start := time.Now()
				_, err := p.Exchange(r, "/", long, nil)
				is.Equal(time.Since(start), limit) // when it was given up
				why, repeatable := reason(err)
				is.Equal(why, upstream.Timeout)
				is.True(!repeatable) // a part of it may be there
				resp, next := p.Exchange(request("GET", nil, 0), "/", field.View{}, nil)
				is.NoErr(next) // on another connection
				is.Equal(resp.StatusCode, 204)
				is.Equal(err.Error(), "timeout: the target takes nothing more of the request")
			})
		})
	}
}

func TestH2CBodyThatWaitsForA100IsNotTimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newH2CTarget(t, upstream.Options{ResponseTimeout: 100 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(900 * time.Millisecond) // a second is what the body waits for at most
			body, _ := io.ReadAll(r.Body)
			w.Write(body)
		})
		expect := field.ViewOf(http.Header{"Expect": {"100-continue"}})
		body, err := readAll(g.Exchange(post("hello"), "/", expect, nil))
		is.NoErr(err)
		is.Equal(body, "hello")
	})
}
