package forward_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"golang.org/x/net/http2"

	"github.com/shahnk19/parachute/internal/proxytest"
)

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

func TestEachInterimAnswerGoesOn(t *testing.T) {
	played(t, get+"\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
		is := is.New(t)
		for _, status := range []int{99, 101, 200} {
			c.interim(status, nil) // which are none
		}
		for range 20 {
			c.interim(103, nil)
		}
		c.interim(199, nil) // of which nobody knows what it means
		c.answer <- answer{res: response(200, "")}
		got, _ := hear(client, time.Second)
		is.Equal(strings.Count(got, "HTTP/1.1 103 "), 20)
		is.Equal(strings.Count(got, "HTTP/1.1 199 "), 1)
		is.Equal(strings.Count(got, "HTTP/1.1 "), 22) // with the final one
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

// A server that has lost the stream returns from the writing of a head while it
// still reads that. (The race detector watches; without it, the runtime ends the
// program.)
func TestInterimHeadIsLeftAloneWhenTheClientLeaves(t *testing.T) {
	long := make(http.Header)
	for i := range 2000 {
		long[fmt.Sprintf("X-%d", i)] = []string{"v"}
	}
	for range 20 {
		var n proxytest.Net
		x := newExchange()
		p := newProxy(x.Exchange)
		serve2(t, &n, p)
		client := dialFrames(t, &n)
		id := client.ask("GET", false)
		call := <-x.calls
		go client.WriteRSTStream(id, http2.ErrCodeCancel)
		call.interim(103, long)
		call.answer <- answer{res: response(204, "")}
		<-p.outcomes
		client.conn.Close()
	}
}
