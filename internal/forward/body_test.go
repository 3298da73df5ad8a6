package forward_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// An exchange hands what it is called with to a test, and returns what that
// says.
type exchange struct {
	calls chan call
}

type call struct {
	r       *http.Request
	interim func(int, http.Header)
	answer  chan<- answer
}

type answer struct {
	res *http.Response
	err error
}

func newExchange() *exchange { return &exchange{calls: make(chan call)} }

// Exchange runs interim on this goroutine, as it must.
func (x *exchange) Exchange(r *http.Request, _ string, _ http.Header, interim func(int, http.Header)) (*http.Response, error) {
	answers := make(chan answer)
	heads := make(chan interimHead)
	later := func(status int, h http.Header) { heads <- interimHead{status, h} }
	x.calls <- call{r, later, answers}
	for {
		select {
		case h := <-heads:
			interim(h.status, h.header)
		case a := <-answers:
			return a.res, a.err
		}
	}
}

// response makes an answer of a head and a body.
func response(status int, body string, fields ...string) *http.Response {
	h := http.Header{"Content-Type": {"a/b"}}
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, ContentLength: -1, Body: io.NopCloser(strings.NewReader(body))}
}

// played is a test of one request on a Net, answered by the test itself.
func played(t *testing.T, send string, test func(t *testing.T, client net.Conn, p *proxy, c call)) {
	synctest.Test(t, func(t *testing.T) {
		n := new(proxytest.Net)
		x := newExchange()
		p := newProxy(x.Exchange)
		serve(t, n, p)
		client := dial(t, n)
		go io.WriteString(client, send)
		test(t, client, p, <-x.calls)
	})
}

const (
	countedUpload = post + "Content-Length: 1000000\r\n\r\nhello"
	chunkedUpload = post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
)

func TestEarlyAnswerReachesAClientThatWaits(t *testing.T) {
	for name, send := range map[string]string{"counted": countedUpload, "chunked": chunkedUpload} {
		t.Run(name, func(t *testing.T) {
			played(t, send, func(t *testing.T, client net.Conn, p *proxy, c call) {
				is := is.New(t)
				go io.Copy(io.Discard, c.r.Body)
				synctest.Wait()
				c.answer <- answer{res: response(413, "no", "Content-Length", "2")}
				head, err := proxytest.ReadHead(client)
				is.NoErr(err)
				is.True(strings.HasPrefix(head, "HTTP/1.1 413 "))
				is.True(strings.Contains(head, "\r\nConnection: close\r\n"))
				begun := time.Now()
				is.Equal(nextPiece(is, client), "no")
				is.Equal(time.Since(begun), time.Duration(0))
				got, state := hear(client, time.Minute)
				is.Equal(got, "")
				is.Equal(state, "closed")
				is.True(time.Since(begun) <= 500*time.Millisecond) // the client is not waited for any longer
				o := <-p.outcomes
				is.NoErr(o.err)
				is.Equal(o.Status, 413)
				is.Equal(o.BytesIn, int64(5))
				is.True(o.BodyRead)
			})
		})
	}
}

// Whoever closes a connection on which data arrives resets it, and a reset may
// destroy what the other side has not read yet.
func TestAClientThatGoesOnSendingGetsItsAnswer(t *testing.T) {
	for _, tt := range []struct{ name, send, piece string }{
		{"counted", post + "Content-Length: 100000\r\n\r\n", strings.Repeat("x", 1000)},
		{"chunked", post + "Transfer-Encoding: chunked\r\n\r\n", "3e8\r\n" + strings.Repeat("x", 1000) + "\r\n"},
	} {
		for _, answer := range []answer{
			{res: response(413, "no", "Content-Length", "2")},
			{err: errors.New("broken")},
		} {
			if answer.err != nil && tt.name == "chunked" {
				continue // the end of a running Read spoils the framing
			}
			t.Run(tt.name, func(t *testing.T) {
				played(t, tt.send, func(t *testing.T, client net.Conn, p *proxy, c call) {
					is := is.New(t)
					go io.Copy(io.Discard, c.r.Body)
					sent := make(chan error, 1)
					go func() {
						var err error
						for range 10 {
							time.Sleep(20 * time.Millisecond)
							_, failed := io.WriteString(client, tt.piece)
							err = errors.Join(err, failed)
						}
						sent <- err
					}()
					time.Sleep(50 * time.Millisecond)
					c.answer <- answer
					got, state := hear(client, time.Minute)
					is.True(strings.Contains(got, "\r\nConnection: close\r\n"))
					is.Equal(state, "closed") // and not reset
					is.NoErr(<-sent)
				})
			})
		}
	}
}

func TestNobodyReadsTheBodyAfterForward(t *testing.T) {
	played(t, countedUpload, func(t *testing.T, client net.Conn, p *proxy, c call) {
		is := is.New(t)
		reads := make(chan error)
		var running atomic.Bool
		running.Store(true)
		go func() {
			_, err := io.Copy(io.Discard, c.r.Body)
			running.Store(false)
			_, again := c.r.Body.Read(make([]byte, 1))
			reads <- errors.Join(err, again)
		}()
		synctest.Wait()
		c.answer <- answer{err: errors.New("broken")}
		<-p.outcomes
		synctest.Wait()
		is.True(!running.Load()) // a running Read was ended
		err := <-reads
		is.True(strings.HasSuffix(err.Error(), "its request is answered")) // and none can be begun
	})
}

func TestAClosedBodyIsReadNoMore(t *testing.T) {
	played(t, countedUpload, func(t *testing.T, client net.Conn, p *proxy, c call) {
		is := is.New(t)
		b := make([]byte, 100)
		n, err := c.r.Body.Read(b)
		is.NoErr(err)
		is.Equal(string(b[:n]), "hello")
		is.NoErr(c.r.Body.Close())
		_, err = c.r.Body.Read(b)
		is.True(err != nil)
		c.answer <- answer{res: response(200, "ok", "Content-Length", "2")}
		got, state := hear(client, time.Minute)
		is.True(strings.Contains(got, "\r\nConnection: close\r\n"))
		is.Equal(state, "closed")
	})
}

func TestABodyThatWasNotReadCanBeSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		var outcomes []outcome
		serve(t, n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for _, x := range []forward.Exchange{failing, failing, echoing} {
				result, err := forward.Forward(w, r, x, forward.Options{Target: "/"})
				outcomes = append(outcomes, outcome{result, err})
			}
		}))
		client := dial(t, n)
		io.WriteString(client, post+"Content-Length: 5\r\n\r\nhello")
		got, state := hear(client, time.Second)
		is.Equal(show(got)+state, "HTTP/1.1 200 OK\nContent-Length: 5\nContent-Type: a/b\n\"hello\" (5 of 5)\nopen")
		is.Equal(len(outcomes), 3)
		for _, o := range outcomes[:2] {
			is.True(o.err != nil)
			is.Equal(o.Status, 0)
			is.True(!o.BodyRead)
		}
		is.NoErr(outcomes[2].err)
		is.Equal(outcomes[2].BytesIn, int64(5))
		is.Equal(outcomes[2].BytesOut, int64(5))
	})
}

// An exchange that has read all of the body may keep it for another attempt.
func TestABodyThatWasKeptCanBeSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		var outcomes []outcome
		serve(t, n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for _, x := range []forward.Exchange{keeping, keeping, echoing} {
				result, err := forward.Forward(w, r, x, forward.Options{Target: "/"})
				outcomes = append(outcomes, outcome{result, err})
			}
		}))
		client := dial(t, n)
		io.WriteString(client, post+"Content-Length: 5\r\n\r\nhello"+get+"\r\n")
		got, state := hear(client, time.Second)
		is.True(strings.HasPrefix(show(got), "HTTP/1.1 200 OK\nContent-Length: 5\nContent-Type: a/b\n\"hello\" (5 of 5)\n"))
		is.Equal(state, "open") // and what followed was the next request
		is.Equal(len(outcomes), 6)
		for _, o := range outcomes[:2] {
			is.True(o.err != nil)
			is.Equal(o.Status, 0)
			is.True(!o.BodyRead)
		}
	})
}

func keeping(r *http.Request, _ string, _ http.Header, _ func(int, http.Header)) (*http.Response, error) {
	b, err := io.ReadAll(r.Body)
	if err == nil {
		r.Body = io.NopCloser(strings.NewReader(string(b)))
	}
	return nil, errors.Join(err, errors.New("no target"))
}

func failing(*http.Request, string, http.Header, func(int, http.Header)) (*http.Response, error) {
	return nil, errors.New("no target")
}

func echoing(r *http.Request, _ string, _ http.Header, _ func(int, http.Header)) (*http.Response, error) {
	b, err := io.ReadAll(r.Body)
	return response(200, string(b), "Content-Length", strconv.Itoa(len(b))), err
}

// The server would take what is left of the body for the next request.
func TestAnAnswerOfTheCallersClosesAConnectionWithABodyInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		serve(t, n, newProxy(failing))
		client := dial(t, n)
		io.WriteString(client, post+"Transfer-Encoding: chunked\r\n\r\nZZ\r\n"+get+"\r\n")
		got, state := hear(client, time.Second)
		is.Equal(strings.Count(got, "HTTP/1.1 "), 1)
		is.True(strings.Contains(got, "\r\nConnection: close\r\n"))
		is.True(state != "open")
	})
}

func TestAnotherHandlersConnectionCloseStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		p := newProxy(echoing)
		serve(t, n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Connection", "close")
			p.ServeHTTP(w, r)
		}))
		client := dial(t, n)
		io.WriteString(client, post+"Content-Length: 5\r\n\r\nhello")
		got, state := hear(client, time.Second)
		is.True(strings.Contains(got, "\r\nConnection: close\r\n"))
		is.Equal(state, "closed")
	})
}

// A plain writer hides what the server's can do beyond http.ResponseWriter.
type plain struct{ http.ResponseWriter }

func TestWithoutFullDuplexTheAnswerWaitsForTheBody(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(client net.Conn, body io.ReadCloser)
		want string
	}{
		{"read to its end", func(client net.Conn, body io.ReadCloser) {
			io.WriteString(client, "world")
			io.Copy(io.Discard, body)
		}, "open"},
		{"failed", func(client net.Conn, body io.ReadCloser) {
			client.(interface{ CloseWrite() error }).CloseWrite()
			io.Copy(io.Discard, body)
		}, "closed"},
		{"closed", func(client net.Conn, body io.ReadCloser) {
			body.Close()
			io.WriteString(client, "world") // the server wants it before it writes
		}, "closed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				n := new(proxytest.Net)
				x := newExchange()
				p := newProxy(x.Exchange)
				serve(t, n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.ServeHTTP(plain{w}, r) }))
				client := dial(t, n)
				io.WriteString(client, post+"Content-Length: 10\r\n\r\nhello")
				c := <-x.calls
				c.answer <- answer{res: response(200, "ok", "Content-Length", "2")}
				got, state := hear(client, 10*time.Second)
				is.Equal(got, "")
				is.Equal(state, "open") // nothing came yet
				tt.end(client, c.r.Body)
				got, state = hear(client, 10*time.Second)
				is.True(strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n"))
				is.Equal(state, tt.want)
			})
		})
	}
}

func TestHTTP1GoesBothWaysAtOnce(t *testing.T) {
	played(t, post+"Transfer-Encoding: chunked\r\n\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
		is := is.New(t)
		res, out := piped(response(200, ""))
		go echo(out, c.r.Body)
		synctest.Wait() // until the body is waited for
		c.answer <- answer{res: res}
		head, err := proxytest.ReadHead(client)
		is.NoErr(err)
		is.True(strings.Contains(head, "\r\nConnection: close\r\n"))
		for _, piece := range []string{"3\r\none\r\n", "3\r\ntwo\r\n", "5\r\nthree\r\n"} {
			io.WriteString(client, piece)
			is.Equal(nextPiece(is, client), piece)
			time.Sleep(24 * time.Hour) // nobody owes anybody anything
		}
		io.WriteString(client, "0\r\n\r\n")
		got, state := hear(client, time.Second)
		is.Equal(got, "0\r\n\r\n")
		is.Equal(state, "closed")
		o := <-p.outcomes
		is.NoErr(o.err)
		is.Equal(o.BytesIn, int64(11))
		is.Equal(o.BytesOut, int64(11))
	})
}

// echo sends back what comes.
func echo(out *io.PipeWriter, in io.Reader) {
	_, err := io.Copy(out, in)
	out.CloseWithError(err)
}

func TestAnInterimAnswerIsNotWrittenForEver(t *testing.T) {
	played(t, get+"\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
		is := is.New(t)
		begun := time.Now()
		c.interim(103, http.Header{"Link": {strings.Repeat("x", 100000)}})
		c.answer <- answer{res: response(204, "")}
		is.Equal(time.Since(begun), time.Minute)
		<-p.outcomes
	})
}

func TestATargets100IsTheOnlyOne(t *testing.T) {
	played(t, post+"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
		is := is.New(t)
		c.interim(100, http.Header{"X-A": {"b"}})
		synctest.Wait()
		go io.ReadAll(c.r.Body)
		io.WriteString(client, "hello")
		synctest.Wait()
		c.answer <- answer{res: response(200, "ok", "Content-Length", "2")}
		got, state := hear(client, time.Second)
		is.True(strings.HasPrefix(got, "HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\nHTTP/1.1 200 OK\r\n"))
		is.Equal(state, "open")
	})
}

func TestASecond100IsNotSent(t *testing.T) {
	played(t, post+"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
		is := is.New(t)
		go io.ReadAll(c.r.Body) // does not wait for the target
		head, err := proxytest.ReadHead(client)
		is.NoErr(err)
		is.Equal(head, "HTTP/1.1 100 Continue\r\n\r\n")
		io.WriteString(client, "hello")
		synctest.Wait()
		c.interim(100, nil)
		c.interim(102, nil)
		c.answer <- answer{res: response(200, "ok", "Content-Length", "2")}
		got, state := hear(client, time.Second)
		is.True(strings.HasPrefix(got, "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n"))
		is.Equal(state, "open")
	})
}

func TestABodyIsNotAskedForOnceTheAnswerIsGiven(t *testing.T) {
	played(t, post+"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
		is := is.New(t)
		in, out := io.Pipe()
		res := response(403, "")
		res.Body = in
		c.answer <- answer{res: res}
		synctest.Wait()
		_, err := c.r.Body.Read(make([]byte, 1))
		is.True(err != nil)
		out.Close()
		got, state := hear(client, time.Minute)
		is.True(strings.HasPrefix(got, "HTTP/1.1 403 Forbidden\r\n"))
		is.Equal(state, "closed")
		is.True(!(<-p.outcomes).BodyRead)
	})
}

// The 100 that the body's reader sends and the heads that Forward sends have
// two goroutines. (The race detector watches.)
func TestHeadsDoNotMix(t *testing.T) {
	for range 50 {
		played(t, post+"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
			is := is.New(t)
			go io.ReadAll(c.r.Body)
			c.interim(103, http.Header{"Link": {"</a>"}})
			c.interim(103, http.Header{"Link": {"</b>"}})
			io.WriteString(client, "hello")
			c.answer <- answer{res: response(200, "ok", "Content-Length", "2")}
			got, _ := hear(client, time.Second)
			got = strings.Replace(got, "HTTP/1.1 100 Continue\r\n\r\n", "", 1)
			is.True(strings.HasPrefix(got, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\nHTTP/1.1 200 OK\r\n"))
		})
	}
}

func TestNoMoreThanEightInterimAnswersGoOn(t *testing.T) {
	played(t, get+"\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
		is := is.New(t)
		for _, status := range []int{99, 101, 200} {
			c.interim(status, nil) // which are none
		}
		for range 20 {
			c.interim(103, nil)
		}
		c.answer <- answer{res: response(200, "")}
		got, _ := hear(client, time.Second)
		is.Equal(strings.Count(got, "HTTP/1.1 103 "), 8)
	})
}

func TestOuterHeadersAreForTheFinalAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		x := newExchange()
		p := newProxy(x.Exchange)
		serve(t, n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Outer", "a")
			w.Header().Set("Set-Cookie", "outer=1")
			p.ServeHTTP(w, r)
		}))
		client := dial(t, n)
		io.WriteString(client, get+"\r\n")
		c := <-x.calls
		c.interim(103, http.Header{"Link": {"</a>"}})
		c.answer <- answer{res: response(204, "", "Set-Cookie", "app=2")}
		got, _ := hear(client, time.Second)
		is.Equal(show(got), "HTTP/1.1 103 Early Hints\nLink: </a>\nHTTP/1.1 204 No Content\n"+
			"Content-Type: a/b\nSet-Cookie: outer=1\nSet-Cookie: app=2\nX-Outer: a\n")
		is.Equal((<-p.outcomes).Header, http.Header{"Content-Type": {"a/b"}, "Set-Cookie": {"app=2"}})
	})
}

func TestAClientThatSendsNothingForAMinuteIsGivenUp(t *testing.T) {
	for name, send := range map[string]string{"counted": countedUpload, "chunked": chunkedUpload} {
		t.Run(name, func(t *testing.T) {
			played(t, send, func(t *testing.T, client net.Conn, p *proxy, c call) {
				is := is.New(t)
				begun := time.Now()
				_, err := io.Copy(io.Discard, c.r.Body)
				is.True(errors.Is(err, os.ErrDeadlineExceeded))
				waited := time.Since(begun)
				is.True(59*time.Second <= waited && waited <= 60*time.Second)
				c.answer <- answer{err: err}
				o := <-p.outcomes
				is.Equal(o.Status, 0)
				got, state := hear(client, time.Minute)
				is.True(strings.HasPrefix(got, "HTTP/1.1 502 "))
				is.Equal(state, "closed")
			})
		})
	}
}

func TestAClientThatSendsATrickleIsNotGivenUp(t *testing.T) {
	played(t, post+"Content-Length: 10\r\n\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
		is := is.New(t)
		go func() {
			for range 10 {
				time.Sleep(55 * time.Second)
				io.WriteString(client, "x")
			}
		}()
		b, err := io.ReadAll(c.r.Body)
		is.NoErr(err)
		is.Equal(string(b), "xxxxxxxxxx")
		c.answer <- answer{res: response(200, "ok", "Content-Length", "2")}
		_, state := hear(client, time.Second)
		is.Equal(state, "open")
	})
}

func TestATargetMayThinkForAsLongAsItLikes(t *testing.T) {
	for name, send := range map[string]string{"GET": get + "\r\n", "POST": post + "Content-Length: 5\r\n\r\nhello"} {
		t.Run(name, func(t *testing.T) {
			played(t, send, func(t *testing.T, client net.Conn, p *proxy, c call) {
				is := is.New(t)
				io.ReadAll(c.r.Body)
				time.Sleep(24 * time.Hour)
				is.NoErr(c.r.Context().Err())
				c.answer <- answer{res: response(200, "ok", "Content-Length", "2")}
				got, state := hear(client, time.Second)
				is.True(strings.HasSuffix(got, "\r\n\r\nok"))
				is.Equal(state, "open")
			})
		})
	}
}

// A handler in front may have read the body and put another in its place.
func TestABodyFromMemoryLeavesTheConnectionAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		x := newExchange()
		p := newProxy(x.Exchange)
		serve(t, n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(string(b)))
			p.ServeHTTP(w, r)
		}))
		client := dial(t, n)
		io.WriteString(client, post+"Content-Length: 5\r\n\r\nhello")
		c := <-x.calls
		b, err := io.ReadAll(c.r.Body)
		is.NoErr(err)
		is.Equal(string(b), "hello")
		time.Sleep(time.Hour)
		is.NoErr(c.r.Context().Err()) // no deadline of ours was left behind
		c.answer <- answer{res: response(200, "ok", "Content-Length", "2")}
		_, state := hear(client, time.Second)
		is.Equal(state, "open")
	})
}

func TestABodyOfAnotherHandlerCounts(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		length     int64
		want       error
	}{
		{"whole", "hello", 5, nil},
		{"short", "hell", 5, io.ErrUnexpectedEOF},
		{"of unknown length", "hello", -1, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			r := read(t, "POST", "/")
			// It tells its end by itself, where the server's body tells it with the last byte.
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(tt.body)), tt.length
			var err error
			result, _ := forward.Forward(&nowhere{make(http.Header)}, r, func(r *http.Request, _ string, _ http.Header, _ func(int, http.Header)) (*http.Response, error) {
				_, err = io.ReadAll(r.Body)
				return response(204, ""), nil
			}, forward.Options{})
			is.Equal(err, tt.want)
			is.Equal(result.BytesIn, int64(len(tt.body)))
		})
	}
}

func TestABodyNeedNotBeReadToItsEndToBeWhole(t *testing.T) {
	is := is.New(t)
	r := read(t, "POST", "/")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader("hello")), 5
	w := &nowhere{make(http.Header)}
	_, err := forward.Forward(w, r, func(r *http.Request, _ string, _ http.Header, _ func(int, http.Header)) (*http.Response, error) {
		_, err := io.ReadFull(r.Body, make([]byte, 5))
		return response(204, ""), err
	}, forward.Options{})
	is.NoErr(err)
	is.Equal(w.header["Connection"], nil)
}

func TestWithoutABodyTheRequestIsNotCopied(t *testing.T) {
	is := is.New(t)
	r := read(t, "GET", "/")
	r.Body = io.NopCloser(strings.NewReader("not to be sent")) // ContentLength is 0
	_, err := forward.Forward(&nowhere{make(http.Header)}, r, func(sent *http.Request, _ string, _ http.Header, _ func(int, http.Header)) (*http.Response, error) {
		is.True(sent == r)
		return response(204, ""), nil
	}, forward.Options{})
	is.NoErr(err)
}

func TestAPanickingExchangeLeavesNoReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		var read sync.WaitGroup
		serve(t, n, newProxy(func(r *http.Request, _ string, _ http.Header, _ func(int, http.Header)) (*http.Response, error) {
			read.Go(func() { io.Copy(io.Discard, r.Body) })
			panic(http.ErrAbortHandler)
		}))
		client := dial(t, n)
		io.WriteString(client, countedUpload)
		got, state := hear(client, time.Second)
		is.Equal(got, "")
		is.True(state != "open")
		read.Wait()
	})
}
