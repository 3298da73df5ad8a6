package upstream_test

import (
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

func TestConnectionIsUsedAgainOnlyWhereNothingCanBeLeftOnIt(t *testing.T) {
	for answer, again := range map[string]bool{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok":                                                               true,
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n":                                                                 true,
		"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok":                                                            true,
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay":                                                             false,
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nokay":                                                             false,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n":                                    true,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n":                            true,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/":                               false,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok!!0\r\n\r\n":                                      false,
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n":                          false,
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok":                                          false,
		"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok":                                       false,
		"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok":                                                               false,
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok":                                     true,
		"HTTP/1.1 204 No Content\r\n\r\n":                                                                              true,
		"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n":                                                         true,
		"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n":                                                         false,
		"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n":                                                false,
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n":                                                     false,
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 0\r\n\r\n":                                                       true,
		"HTTP/1.1 304 Not Modified\r\n\r\n":                                                                            true,
		"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n":                                              false,
		"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok":                                      false,
		"HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok":          false,
		"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok": false,
		"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok":                               true,
	} {
		t.Run(answer, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{}, once(answer))
				g.get()
				is.Equal(g.conns() == 1, again) // the connection is kept
			})
		})
	}
}

func TestConnectionIsNotUsedAgainAfterAHeadThatTellsOfABody(t *testing.T) {
	for lines, again := range map[string]bool{
		"":                               true,
		"Content-Length: 0\r\n":          true,
		"Content-Length: 5\r\n":          false,
		"Transfer-Encoding: chunked\r\n": false,
	} {
		t.Run(lines, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{}, once("HTTP/1.1 200 OK\r\n"+lines+"\r\n"))
				_, err := readAll(g.send(request("HEAD", nil, 0)))
				is.NoErr(err)
				is.Equal(g.conns() == 1, again) // the connection is kept
			})
		})
	}
}

// TestLateBodyOfABodilessAnswerIsNobodysAnswer has a target that sends a body
// with what has none, as late as the next request, and has it look like an answer.
func TestLateBodyOfABodilessAnswerIsNobodysAnswer(t *testing.T) {
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	for name, tt := range map[string]struct{ method, answer string }{
		"HEAD":    {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\n"},
		"204":     {"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 41\r\n\r\n"},
		"304":     {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 41\r\n\r\n"},
		"interim": {"GET", "HTTP/1.1 103 Early Hints\r\nContent-Length: 41\r\n\r\n" + ok},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{}, func(conn net.Conn, n int) {
					proxytest.ReadHead(conn)
					if n > 0 {
						io.WriteString(conn, ok)
						return
					}
					io.WriteString(conn, tt.answer)
					if _, err := proxytest.ReadHead(conn); err == nil {
						io.WriteString(conn, evil)
					}
				})
				_, err := readAll(g.send(request(tt.method, nil, 0)))
				is.NoErr(err)
				body, err := g.get()
				is.NoErr(err)
				is.Equal(body, "ok")
			})
		})
	}
}

// TestWhatIsNoAnswerIsAskedForAgain has connections that begin with what is left
// of another answer.
func TestWhatIsNoAnswerIsAskedForAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		r     *http.Request
		left  string
		again bool
	}{
		"GET":                        {request("GET", nil, 0), "evil" + ok, true},
		"GET, silent then":           {request("GET", nil, 0), "evil", true},
		"GET, nearly a version":      {request("GET", nil, 0), "HTTP:", true},
		"GET, a line end":            {request("GET", nil, 0), "\r\n" + ok, true},
		"GET, after an interim head": {request("GET", nil, 0), "HTTP/1.1 103 Early Hints\r\n\r\nevil" + ok, false},
		"GET, its own fault":         {request("GET", nil, 0), "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", false},
		"POST":                       {post("x"), "evil" + ok, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{}, func(conn net.Conn, n int) {
					proxytest.ReadHead(conn)
					io.WriteString(conn, ok)
					proxytest.ReadHead(conn)
					io.WriteString(conn, tt.left)
					io.Copy(io.Discard, conn)
				})
				_, err := g.get()
				is.NoErr(err)
				body, err := readAll(g.send(tt.r))
				if tt.again {
					is.NoErr(err)
					is.Equal(body, "ok")
					is.Equal(g.dials(), 2) // dials
					return
				}
				why, repeatable := reason(err)
				is.Equal(why, upstream.Malformed)
				is.True(!repeatable)
				is.Equal(g.dials(), 1) // dials
			})
		})
	}
}
