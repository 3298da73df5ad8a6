package upstream_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// TestReusedConnectionThatBeginsWithNoAnswerIsNotTheRequestsLast has the second
// answer on a connection begin with what may be left of another one.
func TestReusedConnectionThatBeginsWithNoAnswerIsNotTheRequestsLast(t *testing.T) {
	for name, tt := range map[string]struct {
		begins string
		again  bool // such a request is sent once more
	}{
		"bytes of a body":          {"body", true},
		"an empty line":            {"\r\n", true},
		"a part of a name":         {"HT", true},
		"a part of a status line":  {"HTTP/1.1 20", true},
		"a status line":            {"HTTP/1.1 200 OK\r\n", false},
		"a part of another's head": {"Type: text/html\r\n\r\n", true},
	} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(name+"/"+method, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					asked := 0
					g := newTarget(t, upstream.Options{}, func(conn net.Conn, n int) {
						proxytest.ReadHead(conn)
						io.WriteString(conn, ok)
						if n > 0 {
							return
						}
						proxytest.ReadHead(conn)
						asked++
						io.WriteString(conn, tt.begins)
					})
					_, err := readAll(g.Exchange(request("GET", nil, 0), "/", field.View{}, nil))
					is.NoErr(err)
					body, err := readAll(g.Exchange(request(method, nil, 0), "/", field.View{}, nil))
					is.Equal(asked, 1)
					if tt.again && method == "GET" {
						is.NoErr(err)
						is.Equal(body, "ok")
						return
					}
					why, repeatable := reason(err)
					is.True(why == upstream.Broken || why == upstream.Malformed)
					is.True(!repeatable)
				})
			})
		}
	}
}

// TestH2CHeadThatMayStillArriveIsNotSentTwice has a target read a head, which it
// had no room for, when its exchange was cut.
func TestH2CHeadThatMayStillArriveIsNotSentTwice(t *testing.T) {
	long := field.ViewOf(http.Header{"Long": {strings.Repeat("x", 1<<20)}}) // a connection holds 64 KiB
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		f := &frameTarget{todo: []any{"answer"}}
		late, served := make(chan bool), make(chan bool)
		script := n.Script(t, "127.0.0.1:0", func(conn net.Conn, n int) {
			<-late
			f.serve(conn, n)
			close(served)
		})
		p := upstream.NewH2C(upstream.Options{Network: "tcp", Address: script.Addr(), Dial: n.Dial})
		defer p.Close()
		group := p.NewExchanges()
		failed := make(chan error, 1)
		go func() {
			_, err := group.Exchange(request("POST", nil, 0), "/", long, nil)
			failed <- err
		}()
		synctest.Wait()
		group.CutRequests()
		why, repeatable := reason(<-failed)
		is.Equal(why, upstream.Cut)
		is.True(!repeatable)
		close(late)
		synctest.Wait()
		p.Close()
		<-served
		is.Equal(len(f.bodies), 1) // it has arrived
	})
}

// TestH2CWordsOfATargetDoNotHaveARequestSentAgain has the target say what the
// transport does when a request was not processed.
func TestH2CWordsOfATargetDoNotHaveARequestSentAgain(t *testing.T) {
	for _, words := range []string{
		"stream error: stream ID 1; REFUSED_STREAM; received from peer",
		"http2: Transport received Server's graceful shutdown GOAWAY",
		"http2: Transport received GOAWAY from server ErrCode:NO_ERROR",
		"http2: Transport: cannot retry err [stream error: stream ID 1; REFUSED_STREAM; received from peer]",
	} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			var n proxytest.Net
			f := &frameTarget{todo: []any{goAway(words), "answer"}}
			script := n.Script(t, "127.0.0.1:0", f.serve)
			p := upstream.NewH2C(upstream.Options{Network: "tcp", Address: script.Addr(), Dial: n.Dial})
			defer p.Close()
			_, err := p.Exchange(post("hello"), "/", field.View{}, nil)
			why, repeatable := reason(err)
			is.Equal(why, upstream.Broken)
			is.True(!repeatable)
			is.True(strings.Contains(err.Error(), words)) // they were told
			is.Equal(f.bodies, []string{"hello"})
		})
	}
}
