package forward_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// asked runs test with a client of HTTP/2 and a target that is a script.
func asked(t *testing.T, target func(net.Conn, int), test func(is *is.I, c *frameClient, p *proxy)) {
	synctest.Test(t, func(t *testing.T) {
		var n proxytest.Net
		n.Script(t, targetAddr, target)
		p := newProxy(newPool(t, &n).Exchange)
		serve2(t, &n, p)
		c := dialFrames(t, &n)
		test(is.New(t), c, p)
		c.conn.Close()
	})
}

func TestRequestWhoseStreamEndsLaterHasNoBody(t *testing.T) {
	for method, framing := range map[string]string{"GET": "", "DELETE": "", "POST": "Content-Length: 0\r\n"} {
		t.Run(method, func(t *testing.T) {
			heads := make(chan string, 1)
			asked(t, func(conn net.Conn, _ int) {
				head, _ := proxytest.ReadHead(conn)
				heads <- head
				io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
			}, func(is *is.I, c *frameClient, p *proxy) {
				id := c.ask(method, true)
				time.Sleep(50 * time.Millisecond) // as packets may take
				begun := time.Now()
				c.must(c.WriteData(id, true, nil))
				is.NoErr((<-p.outcomes).err)
				is.Equal(time.Since(begun), time.Duration(0)) // nobody waits when it is known
				head := <-heads
				is.True(!strings.Contains(head, "Transfer-Encoding"))
				is.Equal(strings.Contains(head, "Content-Length"), framing != "")
				is.True(strings.Contains(head, framing))
			})
		})
	}
}

func TestRequestWhoseStreamEndsLaterIsSentAgain(t *testing.T) {
	asked(t, func(conn net.Conn, i int) {
		proxytest.ReadHead(conn)
		time.Sleep(time.Second)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		b := make([]byte, 1)
		for i == 0 && b[0] != 'G' { // of another GET, with which the connection is lost
			if _, err := conn.Read(b); err != nil {
				return
			}
		}
	}, func(is *is.I, c *frameClient, p *proxy) {
		for range 2 {
			c.must(c.WriteData(c.ask("GET", true), true, nil))
			is.NoErr((<-p.outcomes).err)
		}
	})
}

func TestBodyOfUnknownLengthArrivesWhole(t *testing.T) {
	long := strings.Repeat("x", 2000)
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		bodies := make(chan string, 1)
		var n proxytest.Net
		p := newProxy(serveHTTP1(t, &n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			bodies <- string(b)
		})))
		serve2(t, &n, p)
		c := dialFrames(t, &n)
		for _, method := range []string{"GET", "POST"} {
			for _, pieces := range [][]string{{"h"}, {"", "hello"}, {long}, {"hello", long, "world"}} {
				id := c.ask(method, true)
				for _, piece := range pieces {
					c.must(c.WriteData(id, false, []byte(piece)))
					time.Sleep(10 * time.Millisecond)
				}
				c.must(c.WriteData(id, true, nil))
				is.Equal(<-bodies, strings.Join(pieces, ""))
				o := <-p.outcomes
				is.NoErr(o.err)
				is.Equal(o.BytesIn, int64(len(strings.Join(pieces, ""))))
			}
		}
		c.conn.Close()
	})
}

func TestClientMayWaitForTheHeadBeforeItSendsABody(t *testing.T) {
	for _, tt := range []struct {
		method string
		fields []string
		wait   time.Duration
	}{
		{"GET", nil, time.Second},
		{"POST", nil, 100 * time.Millisecond},
		{"POST", []string{"content-type", "application/grpc"}, 0}, // its client does just that
	} {
		asked(t, func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nDate: today\r\nContent-Length: 5\r\n\r\n")
			io.CopyN(conn, conn, int64(len("5\r\nhello")))
			proxytest.ReadHead(conn) // the last chunk
		}, func(is *is.I, c *frameClient, p *proxy) {
			begun := time.Now()
			id := c.ask(tt.method, true, tt.fields...)
			is.Equal(c.next(), "HEADERS :status=200 date=today content-length=5")
			is.Equal(time.Since(begun), tt.wait)
			c.must(c.WriteData(id, true, []byte("hello")))
			is.Equal(c.next()[:len("DATA")], "DATA")
		})
	}
}

// HTTP/1 says in the head whether there is a body.
func TestHTTP1BodyIsNotLookedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		x := newExchange()
		serve(t, n, newProxy(x.Exchange))
		client := dial(t, n)
		begun := time.Now()
		io.WriteString(client, post+"Transfer-Encoding: chunked\r\n\r\n")
		c := <-x.calls
		is.Equal(time.Since(begun), time.Duration(0)) // it is not waited for
		io.WriteString(client, "0\r\n\r\n")
		b, err := io.ReadAll(c.r.Body)
		is.NoErr(err)
		is.Equal(string(b), "")
		c.answer <- answer{res: response(204, "")}
		_, state := hear(client, time.Second)
		is.Equal(state, "open")
	})
}

// What was looked at is not lost with a target that was not there.
func TestBodyThatWasLookedAtIsSentToAnother(t *testing.T) {
	for name, late := range map[string]time.Duration{"there": 0, "late": 500 * time.Millisecond, "too late": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var n proxytest.Net
				down := upstream.New(upstream.Options{Network: "tcp", Address: "nobody:1", Dial: n.Dial})
				defer down.Close()
				bodies := make(chan string, 1)
				up := newProxy(serveHTTP1(t, &n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					b, _ := io.ReadAll(r.Body)
					bodies <- string(b)
				})))
				read := make(chan bool, 1)
				serve2(t, &n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					result, err := forward.Forward(w, r, down.Exchange, &forward.Options{RequestTarget: "/"})
					if err == nil {
						panic("nobody has answered")
					}
					read <- result.BodyRead
					if !result.BodyRead {
						up.ServeHTTP(w, r)
					}
				}))
				c := dialFrames(t, &n)
				id := c.ask("POST", true)
				if late == time.Hour {
					is.Equal(<-read, true)
					is.Equal(c.next()[:len("HEADERS")], "HEADERS")
					return
				}
				time.Sleep(late)
				c.must(c.WriteData(id, true, []byte("hello")))
				is.Equal(<-read, false)
				is.Equal(<-bodies, "hello")
				is.NoErr((<-up.outcomes).err)
				c.conn.Close()
			})
		})
	}
}

// Many servers take a body in chunks for an empty one.
func TestSmallBodyOfUnknownLengthIsSentWithItsLength(t *testing.T) {
	const most = 16 << 10
	for name, tt := range map[string]struct {
		method string
		pieces []int // their lengths
		pause  time.Duration
		length int64 // -1: it is sent in chunks
	}{
		"small":                   {"POST", []int{5}, 0, 5},
		"of a method without":     {"DELETE", []int{5}, 0, 5},
		"in pieces":               {"PUT", []int{1, 600, 0, 3000, 9000}, 10 * time.Millisecond, 12601},
		"as long as may be":       {"POST", []int{most}, 0, most},
		"as long, in pieces":      {"POST", []int{most - 1, 1}, 0, most},
		"too long":                {"POST", []int{most, 1}, 0, -1},
		"much too long":           {"POST", []int{most, most, most}, 0, -1},
		"late, but in time":       {"POST", []int{5, 5}, 90 * time.Millisecond / 2, 10},
		"whose end comes late":    {"POST", []int{5}, 110 * time.Millisecond, -1},
		"whose rest comes late":   {"GET", []int{5, 5}, time.Second, -1},
		"that comes drop by drop": {"POST", []int{1, 1, 1, 1, 1}, 30 * time.Millisecond, -1},
	} {
		t.Run(name, func(t *testing.T) {
			type request struct {
				length int64
				body   int
			}
			var requests chan request
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				requests = make(chan request, 1)
				var n proxytest.Net
				p := newProxy(serveHTTP1(t, &n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					b, _ := io.ReadAll(r.Body)
					requests <- request{r.ContentLength, len(b)}
				})))
				serve2(t, &n, p)
				c := dialFrames(t, &n)
				id, sum := c.ask(tt.method, true), 0
				for _, size := range tt.pieces {
					c.must(c.WriteData(id, false, make([]byte, size)))
					sum += size
					time.Sleep(tt.pause)
				}
				c.must(c.WriteData(id, true, nil))
				is.Equal(<-requests, request{tt.length, sum})
				o := <-p.outcomes
				is.NoErr(o.err)
				is.Equal(o.BytesIn, int64(sum))
				c.conn.Close()
			})
		})
	}
}

// An app may answer each message of its client.
func TestFirstMessageOfABodyIsNotHeldBackForLong(t *testing.T) {
	asked(t, func(conn net.Conn, _ int) {
		proxytest.ReadHead(conn)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nDate: today\r\nContent-Length: 5\r\n\r\n")
		io.CopyN(conn, conn, int64(len("5\r\nhello")))
		proxytest.ReadHead(conn) // the last chunk
	}, func(is *is.I, c *frameClient, p *proxy) {
		begun := time.Now()
		id := c.ask("POST", true)
		c.must(c.WriteData(id, false, []byte("hello")))
		is.Equal(c.next(), "HEADERS :status=200 date=today content-length=5")
		is.Equal(time.Since(begun), 100*time.Millisecond)
	})
}

func TestLengthOfABodyThatWasLookedAtIsKnownToTheNextTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		lengths := make(chan int64, 1)
		var n proxytest.Net
		down := upstream.New(upstream.Options{Network: "tcp", Address: "nobody:1", Dial: n.Dial})
		defer down.Close()
		up := newProxy(serveHTTP1(t, &n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			lengths <- r.ContentLength
		})))
		serve2(t, &n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for range 2 {
				forward.Forward(w, r, down.Exchange, &forward.Options{RequestTarget: "/"})
			}
			up.ServeHTTP(w, r)
		}))
		c := dialFrames(t, &n)
		c.must(c.WriteData(c.ask("POST", true), true, []byte("hello")))
		is.Equal(<-lengths, int64(5))
		is.NoErr((<-up.outcomes).err)
		c.conn.Close()
	})
}
