package forward_test

import (
	"bytes"
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

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/proxytest"
)

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
				result, err := forward.Forward(w, r, x, &forward.Options{RequestTarget: "/"})
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
				result, err := forward.Forward(w, r, x, &forward.Options{RequestTarget: "/"})
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

func keeping(r *http.Request, _ string, _ field.View, _ func(int, http.Header)) (*http.Response, error) {
	b, err := io.ReadAll(r.Body)
	if err == nil {
		r.Body = io.NopCloser(strings.NewReader(string(b)))
	}
	return nil, errors.Join(err, errors.New("no target"))
}

// What is left of a body in the connection is lost when Forward returns.
func TestABodyThatWasKeptInPartCannotBeSentAgain(t *testing.T) {
	played(t, countedUpload, func(t *testing.T, client net.Conn, p *proxy, c call) {
		is := is.New(t)
		part := make([]byte, 5)
		_, err := io.ReadFull(c.r.Body, part)
		is.NoErr(err)
		c.r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(part), c.r.Body))
		c.answer <- answer{err: errors.New("no target")}
		is.True((<-p.outcomes).BodyRead)
	})
}

func failing(*http.Request, string, field.View, func(int, http.Header)) (*http.Response, error) {
	return nil, errors.New("no target")
}

func echoing(r *http.Request, _ string, _ field.View, _ func(int, http.Header)) (*http.Response, error) {
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
			result, _ := forward.Forward(&nowhere{make(http.Header)}, r, func(r *http.Request, _ string, _ field.View, _ func(int, http.Header)) (*http.Response, error) {
				_, err = io.ReadAll(r.Body)
				return response(204, ""), nil
			}, &forward.Options{})
			is.Equal(err, tt.want)
			is.Equal(result.BytesIn, int64(len(tt.body)))
		})
	}
}

func TestABodyNeedNotBeReadToItsEndToBeWhole(t *testing.T) {
	for name, trailer := range map[string]http.Header{"alone": nil, "with trailers": {"X-Sum": nil}} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			r := read(t, "POST", "/")
			r.Body, r.ContentLength, r.Trailer = io.NopCloser(strings.NewReader("hello")), 5, trailer
			w := &nowhere{make(http.Header)}
			_, err := forward.Forward(w, r, func(r *http.Request, _ string, _ field.View, _ func(int, http.Header)) (*http.Response, error) {
				_, err := io.ReadFull(r.Body, make([]byte, 5))
				return response(204, ""), err
			}, &forward.Options{})
			is.NoErr(err)
			is.Equal(w.header["Connection"], nil)
		})
	}
}

func TestWithoutABodyTheRequestIsNotCopied(t *testing.T) {
	is := is.New(t)
	r := read(t, "GET", "/")
	r.Body = io.NopCloser(strings.NewReader("not to be sent")) // ContentLength is 0
	_, err := forward.Forward(&nowhere{make(http.Header)}, r, func(sent *http.Request, _ string, _ field.View, _ func(int, http.Header)) (*http.Response, error) {
		is.True(sent == r)
		return response(204, ""), nil
	}, &forward.Options{})
	is.NoErr(err)
}

func TestAPanickingExchangeLeavesNoReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		var read sync.WaitGroup
		serve(t, n, newProxy(func(r *http.Request, _ string, _ field.View, _ func(int, http.Header)) (*http.Response, error) {
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

// It tells what was wrong with a body apart from what Forward did to it, whoever
// notices first: the exchange, or the context, which a server ends as well.
func TestResultTellsWhatWasWrongWithTheClientsBody(t *testing.T) {
	for name, tt := range map[string]struct {
		then func(client net.Conn) // nil: the exchange fails by itself
		want error
	}{
		"the client leaves":   {func(client net.Conn) { client.Close() }, io.ErrUnexpectedEOF},
		"the client stalls":   {func(net.Conn) { time.Sleep(time.Minute) }, os.ErrDeadlineExceeded},
		"nobody wants it now": {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			played(t, countedUpload, func(t *testing.T, client net.Conn, p *proxy, c call) {
				is := is.New(t)
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					io.Copy(io.Discard, c.r.Body)
				}()
				synctest.Wait()
				if tt.then != nil {
					tt.then(client)
					<-c.r.Context().Done()
				}
				c.answer <- answer{err: errors.New("broken")}
				result := (<-p.outcomes).Result
				is.True(errors.Is(result.BodyErr, tt.want))
				<-ended
			})
		})
	}
}
