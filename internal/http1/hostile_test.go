package http1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/http1"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// serveMemory serves s to those who dial, in memory and in the time of a bubble. When
// the test ends, nothing of s must be left.
func serveMemory(t *testing.T, s *http1.Server) (dial func() net.Conn) {
	t.Helper()
	var network proxytest.Net
	l, err := network.Listen("proxy.test:80")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; err != http.ErrServerClosed {
			t.Errorf("Serve returned %v", err)
		}
		s.Shutdown(t.Context())
	})
	return func() net.Conn {
		client, err := network.Dial(context.Background(), "tcp", "proxy.test:80")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		return client
	}
}

// beside calls f, which uses client, on another goroutine. It returns what waits for that.
func beside(t *testing.T, client net.Conn, f func()) (wait func()) {
	var running sync.WaitGroup
	running.Go(f)
	t.Cleanup(func() { // where the test has failed
		client.Close()
		running.Wait()
	})
	return running.Wait
}

// repeat writes piece again and again, with pauses of interval, until client takes no
// more. It returns how many bytes it has written.
func repeat(client net.Conn, piece string, interval time.Duration) (n int) {
	for {
		m, err := io.WriteString(client, piece)
		if n += m; err != nil {
			return n
		}
		time.Sleep(interval)
	}
}

func TestHeadThatDripsIsEndedTenSecondsAfterItsFirstByte(t *testing.T) {
	for name, before := range map[string]string{
		"first on the connection":   "",
		"behind another request":    get + "\r\n",
		"sent along with that":      get + "\r\nG",
		"behind an empty line":      get + "\r\n\r\n",
		"behind a body":             post + "Content-Length: 3\r\n\r\nabc",
		"behind a body, unfinished": post + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET / HT",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				server := &http1.Server{Handler: answer("ok")}
				client := serveMemory(t, server)()
				br := bufio.NewReader(client)
				begun := time.Now()
				if before != "" {
					_, err := io.WriteString(client, before)
					is.NoErr(err)
					is.Equal(answered(t, br), "ok")
				}
				if before == "" || strings.HasSuffix(before, "abc") || before == get+"\r\n" {
					time.Sleep(30 * time.Second) // without a request
					begun = time.Now()
				}
				drip := beside(t, client, func() { repeat(client, "G", 3*time.Second) })
				res, err := http.ReadResponse(br, nil)
				is.NoErr(err)
				is.Equal(res.StatusCode, http.StatusRequestTimeout)
				is.Equal(time.Since(begun), 10*time.Second)
				drip()
				is.True(time.Since(begun) < 15*time.Second) // the connection is closed
				synctest.Wait()
				open, _ := server.Connections()
				is.Equal(open, 0)
			})
		})
	}
}

// bodyStops are beginnings of requests, which end somewhere in the body.
var bodyStops = map[string]string{
	"in front of a body":      post + "Content-Length: 1000\r\n\r\n",
	"in a body":               post + "Content-Length: 1000\r\n\r\nabc",
	"in front of a chunk":     post + "Transfer-Encoding: chunked\r\n\r\n",
	"in the size of one":      post + "Transfer-Encoding: chunked\r\n\r\n0",
	"in a chunk":              post + "Transfer-Encoding: chunked\r\n\r\n300\r\nabc",
	"in an extension":         post + "Transfer-Encoding: chunked\r\n\r\n300;a",
	"in the trailer":          post + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: ",
	"in front of the trailer": post + "Transfer-Encoding: chunked\r\n\r\n0\r\n",
}

// read returns a handler that reads bodies, and the channel on which it says how that
// has ended.
func read() (http.HandlerFunc, chan error) {
	ended := make(chan error, 1)
	return func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	}, ended
}

func TestBodyThatStopsIsEndedAMinuteAfterItsLastByte(t *testing.T) {
	for name, begin := range bodyStops {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				handler, ended := read()
				server := &http1.Server{Handler: handler}
				client := serveMemory(t, server)()
				_, err := io.WriteString(client, begin)
				is.NoErr(err)
				begun := time.Now()
				is.True(errors.Is(<-ended, os.ErrDeadlineExceeded))
				is.Equal(time.Since(begun), time.Minute)
				_, err = io.Copy(io.Discard, client)
				is.NoErr(err)
				is.True(time.Since(begun) < time.Minute+5*time.Second) // the connection is closed
			})
		})
	}
}

// That many a client is slow is no reason to end it. What is not data is bounded.
func TestBodyThatDripsLastsAsLongAsItsBytesCome(t *testing.T) {
	for name, begin := range bodyStops {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				handler, ended := read()
				client := serveMemory(t, &http1.Server{Handler: handler})()
				_, err := io.WriteString(client, begin)
				is.NoErr(err)
				for range 10 {
					time.Sleep(59 * time.Second)
					_, err := io.WriteString(client, "0")
					is.NoErr(err)
				}
				synctest.Wait()
				select {
				case err := <-ended:
					is.NoErr(err) // it has ended early
					is.Fail()
				default:
				}
				begun := time.Now()
				is.True(errors.Is(<-ended, os.ErrDeadlineExceeded))
				is.Equal(time.Since(begun), time.Minute)
			})
		})
	}
}

func TestBodyThatNobodyReadsHoldsNoConnection(t *testing.T) {
	for name, begin := range bodyStops {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				client := serveMemory(t, &http1.Server{Handler: answer("ok")})()
				_, err := io.WriteString(client, begin)
				is.NoErr(err)
				begun := time.Now()
				drip := beside(t, client, func() { repeat(client, "0", 100*time.Millisecond) })
				is.Equal(answered(t, bufio.NewReader(client)), "ok")
				is.Equal(time.Since(begun), time.Duration(0)) // the answer waits for nothing
				drip()
				is.True(time.Since(begun) < 5*time.Second) // the connection is closed
			})
		})
	}
}

func TestClientThatTakesNothingIsEndedAfterAMinute(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	for name, write := range map[string]func(w http.ResponseWriter) error{
		"one write": func(w http.ResponseWriter) error {
			_, err := io.WriteString(w, big)
			return err
		},
		"many writes": func(w http.ResponseWriter) (err error) {
			for err == nil {
				_, err = io.WriteString(w, big[:1000])
			}
			return err
		},
		"flushes": func(w http.ResponseWriter) (err error) {
			for err == nil {
				io.WriteString(w, "x")
				err = http.NewResponseController(w).Flush()
			}
			return err
		},
		"with a length": func(w http.ResponseWriter) error {
			w.Header().Set("Content-Length", fmt.Sprint(len(big)))
			_, err := io.Copy(w, strings.NewReader(big))
			return err
		},
		"interim responses": func(w http.ResponseWriter) (err error) {
			for range 10_000 {
				w.WriteHeader(http.StatusEarlyHints)
			}
			return http.NewResponseController(w).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				ended := make(chan error, 1)
				server := &http1.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { ended <- write(w) })}
				client := serveMemory(t, server)()
				begun := time.Now()
				_, err := io.WriteString(client, get+"\r\n")
				is.NoErr(err)
				is.True(errors.Is(<-ended, os.ErrDeadlineExceeded))
				is.Equal(time.Since(begun), time.Minute)
				synctest.Wait()
				open, _ := server.Connections()
				is.Equal(open, 0)
			})
		})
	}
}

func TestClientThatPipelinesAndReadsNothingIsServedNoMoreThanItCouldTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		const requests, size = 10_000, 4 << 10
		var served atomic.Int64
		server := &http1.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			served.Add(1)
			io.WriteString(w, strings.Repeat("x", size))
		})}
		client := serveMemory(t, server)()
		begun := time.Now()
		var write error
		writing := beside(t, client, func() { _, write = io.WriteString(client, strings.Repeat(get+"\r\n", requests)) })
		synctest.Wait()
		is.True(served.Load() <= 64<<10/size+1) // the connection holds 64 KiB
		writing()
		is.True(write != nil) // the server has not taken all of the requests
		is.Equal(time.Since(begun), time.Minute)
		synctest.Wait()
		open, _ := server.Connections()
		is.Equal(open, 0)
	})
}

func TestPipelineOfManyRequestsIsAnsweredInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		client := serveMemory(t, &http1.Server{Handler: http.HandlerFunc(echoAll)})()
		all := make([]sent, 10_000)
		var want strings.Builder
		for i := range all {
			all[i] = getting(fmt.Sprint("/", i))
			fmt.Fprintln(&want, all[i].path+"<nil>")
		}
		writing := beside(t, client, func() { io.WriteString(client, wire(all)) })
		is.Equal(answers(client, all), want.String())
		writing()
	})
}

func TestConnectionsWithoutARequestAreClosedAfterTheIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		const connections = 3000
		server := &http1.Server{Handler: answer("ok")}
		dial := serveMemory(t, server)
		begun := time.Now()
		clients := make([]net.Conn, connections)
		for i := range clients {
			clients[i] = dial()
			if i%2 == 0 { // the others never send anything
				io.WriteString(clients[i], get+"\r\n")
				is.Equal(answered(t, bufio.NewReader(clients[i])), "ok")
			}
		}
		time.Sleep(75*time.Second - 1)
		synctest.Wait()
		open, busy := server.Connections()
		is.Equal(open, connections)
		is.Equal(busy, 0)
		other := dial()
		io.WriteString(other, get+"\r\n")
		is.Equal(answered(t, bufio.NewReader(other)), "ok")
		is.Equal(time.Since(begun), 75*time.Second-1)
		for _, client := range clients {
			rest, err := io.ReadAll(client)
			is.NoErr(err)
			is.Equal(string(rest), "") // nothing is said to who has asked for nothing
		}
		is.Equal(time.Since(begun), 75*time.Second)
		synctest.Wait()
		open, _ = server.Connections()
		is.Equal(open, 1)
	})
}

func TestClientsThatConnectAndLeaveLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		server := &http1.Server{Handler: answer("ok")}
		dial := serveMemory(t, server)
		for i := range 5000 {
			client := dial()
			io.WriteString(client, (get + "\r\n")[:i%len(get)])
			client.Close()
		}
		synctest.Wait()
		open, busy := server.Connections()
		is.Equal(open, 0)
		is.Equal(busy, 0)
	})
}

// What has no end is refused, and soon.
func TestWhatHasNoEndIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name, begin, piece string
		status             int // of the answer; 0: the handler answers, and says so
	}{
		{"empty lines", "", "\r\n", 400},
		{"spaces", "", " ", 400},
		{"bytes that begin nothing", "", "\x00", 400},
		{"a method", "", "A", 414},
		{"a target", "GET /", "a", 414},
		{"white space behind the target", "GET / ", " ", 414},
		{"a name", get, "a", 431},
		{"fields", get, "a: b\r\n", 431},
		{"white space in front of a value", get + "a:", " ", 431},
		{"a value", get + "a: ", "b\t", 431},
		{"folded lines", get, " \r\n", 431},
		{"white space behind a size", post + "Transfer-Encoding: chunked\r\n\r\n1", " ", 0},
		{"zeros of a size", post + "Transfer-Encoding: chunked\r\n\r\n", "0", 0},
		{"an extension", post + "Transfer-Encoding: chunked\r\n\r\n1;", "a", 0},
		{"extensions", post + "Transfer-Encoding: chunked\r\n\r\n", "1;" + strings.Repeat("a", 1000) + "\r\na\r\n", 0},
		{"fields of a trailer", post + "Transfer-Encoding: chunked\r\n\r\n0\r\n", "a: b\r\n", 0},
		{"a field of a trailer", post + "Transfer-Encoding: chunked\r\n\r\n0\r\na: ", "b", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				handler, ended := read()
				server := &http1.Server{Handler: handler}
				client := serveMemory(t, server)()
				_, err := io.WriteString(client, tt.begin)
				is.NoErr(err)
				many := strings.Repeat(tt.piece, 1+1000/len(tt.piece))
				n := 0
				writing := beside(t, client, func() { n = repeat(client, many, 10*time.Millisecond) })
				res, err := http.ReadResponse(bufio.NewReader(client), nil)
				is.NoErr(err)
				if tt.status == 0 {
					is.True(<-ended != nil)
					tt.status = 200
				}
				is.Equal(res.StatusCode, tt.status)
				is.True(res.Close)
				writing()
				is.True(n < 200<<10) // 64 KiB of a head at most, and what comes within half a second
			})
		})
	}
}

func TestBodyOfOneByteChunksIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		const size = 1 << 20
		client := serveMemory(t, &http1.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err)
		})})()
		writing := beside(t, client, func() {
			bw := bufio.NewWriterSize(client, 64<<10)
			bw.WriteString(post + "Transfer-Encoding: chunked\r\n\r\n")
			for range size {
				bw.WriteString("1\r\na\r\n")
			}
			bw.WriteString("0\r\n\r\n")
			bw.Flush()
		})
		is.Equal(answered(t, bufio.NewReader(client)), fmt.Sprint(size, nil))
		writing()
	})
}

func TestManyRequestsOnAConnectionAreServed(t *testing.T) {
	const requests = 10_000
	for name, limit := range map[string]int{"unlimited": 0, "as many as may be": requests} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				client := serveMemory(t, &http1.Server{Handler: answer("ok"), MaxRequests: limit})()
				br := bufio.NewReader(client)
				for i := range requests {
					io.WriteString(client, get+"\r\n")
					res, err := http.ReadResponse(br, nil)
					is.NoErr(err)
					io.Copy(io.Discard, res.Body)
					is.Equal(res.Close, i == limit-1)
				}
				if limit > 0 {
					_, err := br.ReadByte()
					is.Equal(err, io.EOF)
				}
			})
		})
	}
}
