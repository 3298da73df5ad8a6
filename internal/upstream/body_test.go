package upstream_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// An answer is what a test expects of raw bytes.
type answer struct {
	method  string // of the request; empty: GET
	raw     string
	status  int
	length  int64
	header  http.Header // less Content-Length
	body    string
	trailer http.Header
	fails   upstream.Reason // of the head or, where status is set, of the body
}

var answers = map[string]answer{
	"counted": {
		raw:    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		status: 200, length: 5, body: "hello",
	},
	"counted, same length twice": {
		raw:    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
		status: 200, length: 5, body: "hello",
	},
	"counted, same length twice in one line": {
		raw:    "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
		status: 200, length: 5, body: "hello",
	},
	"counted, same length in two lines and three lists": {
		raw:    "HTTP/1.1 200 OK\r\nContent-Length: 5,05 \r\nContent-Length: 5\r\nContent-Length:\t5 ,5\r\n\r\nhello",
		status: 200, length: 5, body: "hello",
	},
	"counted, cut short": {
		raw:    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
		status: 200, length: 5, body: "hell", fails: upstream.Broken,
	},
	"counted, more than that": {
		raw:    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!",
		status: 200, length: 5, body: "hello",
	},
	"empty": {
		raw:    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		status: 200,
	},
	"no reason phrase": {
		raw:    "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
		status: 200,
	},
	"long reason phrase": {
		raw:    "HTTP/1.1 200 " + strings.Repeat("x", 10_000) + "\r\nContent-Length: 0\r\n\r\n",
		status: 200,
	},
	"no reason phrase, but its space": {
		raw:    "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
		status: 200,
	},
	"spaces before the status": {
		raw:    "HTTP/1.1   200 OK\r\nContent-Length: 0\r\n\r\n",
		status: 200,
	},
	"HTTP/1.2": {
		raw:    "HTTP/1.2 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
		status: 200, length: -1, body: "x",
	},
	"HTTP/1.9": {
		raw:    "HTTP/1.9 200 OK\r\nContent-Length: 1\r\n\r\nx",
		status: 200, length: 1, body: "x",
	},
	"status beyond all classes": {
		raw:    "HTTP/1.1 999 Odd\r\nContent-Length: 1\r\n\r\nx",
		status: 999, length: 1, body: "x",
	},
	"bare LF in the head": {
		raw:    "HTTP/1.1 200 OK\nA: b\nContent-Length: 1\n\nx",
		status: 200, length: 1, header: http.Header{"A": {"b"}}, body: "x",
	},
	"folded lines": {
		raw:    "HTTP/1.1 200 OK\r\nA: b \r\n  c\r\n\td\r\nContent-Length:\r\n 1\r\n\r\nx",
		status: 200, length: 1, header: http.Header{"A": {"b c d"}}, body: "x",
	},
	"a line longer than the buffer": {
		raw:    "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 10_000) + "\r\n c\r\nContent-Length: 0\r\n\r\n",
		status: 200, header: http.Header{"A": {strings.Repeat("b", 10_000) + " c"}},
	},
	"names that are no tokens": {
		raw:    "HTTP/1.1 200 OK\r\nA: b\r\nX[a]: b\r\n c\r\nGr\xf6\xdfe: 5\r\nContent-Length/: 2\r\nContent-Length: 1\r\n\r\nx",
		status: 200, length: 1, header: http.Header{"A": {"b"}}, body: "x",
	},
	"control characters in a value": {
		raw:    "HTTP/1.1 200 OK\r\nA: \x01b\x1b[1m\tx\x7fc\xff\xc3\xa4\r\nContent-Length: 0\r\n\r\n",
		status: 200, header: http.Header{"A": {"b [1m\tx c\xff\xc3\xa4"}},
	},
	"white space around values": {
		raw:    "HTTP/1.1 200 OK\r\nA:b\r\nB: \t b \t\r\nC:\r\nContent-Length:  0\t\r\n\r\n",
		status: 200, header: http.Header{"A": {"b"}, "B": {"b"}, "C": {""}},
	},
	"chunked": {
		raw:    "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
		status: 200, length: -1, body: "hello!",
	},
	"chunked, trailers": {
		raw:    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, x-none\r\n\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\nX-Sum: 3\r\n\r\n",
		status: 200, length: -1, body: "!", trailer: http.Header{"X-Sum": {"1", "3"}, "X-None": nil, "X-Other": {"2"}},
	},
	"chunked and counted": {
		raw:    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello!\r\n0\r\n\r\n",
		status: 200, length: -1, body: "hello!",
	},
	"chunked and counted as nothing": {
		raw:    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello!\r\n0\r\n\r\n",
		status: 200, length: -1, body: "hello!",
	},
	"chunked, names that frame a message among the announced ones": {
		raw:    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: content-length,, Transfer-Encoding, trailer,x-sum\r\n\r\n0\r\n\r\n",
		status: 200, length: -1, trailer: http.Header{"X-Sum": nil},
	},
	"chunked, trailers as long as a head": {
		raw:    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: " + strings.Repeat("x", 250<<10) + "\r\nX-More: 1\r\n\r\n",
		status: 200, length: -1, trailer: http.Header{"X-Sum": {strings.Repeat("x", 250<<10)}, "X-More": {"1"}},
	},
	"chunked, bare LF in trailers": {
		raw:    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\nHTTP/1.1\r\n\r\n",
		status: 200, length: -1, fails: upstream.Malformed,
	},
	"chunked, cut short in a chunk": {
		raw:    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhell",
		status: 200, length: -1, body: "hell", fails: upstream.Broken,
	},
	"chunked, cut short between chunks": {
		raw:    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		status: 200, length: -1, body: "hello", fails: upstream.Broken,
	},
	"chunked, cut short before the end of the trailers": {
		raw:    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
		status: 200, length: -1, body: "hello", fails: upstream.Broken,
	},
	"chunked, endless trailers": {
		raw:    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("A: b\r\n", 256<<10/6+1000) + "\r\n",
		status: 200, length: -1, fails: upstream.Malformed,
	},
	"chunked, space in the name of a trailer": {
		raw:    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA : b\r\n\r\n",
		status: 200, length: -1, fails: upstream.Malformed,
	},
	"chunked, bad size": {
		raw:    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n!\r\n0\r\n\r\n",
		status: 200, length: -1, fails: upstream.Malformed,
	},
	"chunked, bare LF": {
		raw:    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\n!\r\n0\r\n\r\n",
		status: 200, length: -1, fails: upstream.Malformed,
	},
	"up to the end": {
		raw:    "HTTP/1.1 200 OK\r\n\r\nhello",
		status: 200, length: -1, body: "hello",
	},
	"identity": {
		raw:    "HTTP/1.1 200 OK\r\nTransfer-Encoding: Identity\r\n\r\nhello",
		status: 200, length: -1, body: "hello",
	},
	"HTTP/1.0": {
		raw:    "HTTP/1.0 200 OK\r\n\r\nhello",
		status: 200, length: -1, body: "hello",
	},
	"HEAD, counted": {
		method: "HEAD", raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
		status: 200, length: 5,
	},
	"HEAD, chunked": {
		method: "HEAD", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		status: 200, length: -1,
	},
	"HEAD, no length": {
		method: "HEAD", raw: "HTTP/1.1 200 OK\r\n\r\n",
		status: 200, length: -1,
	},
	"204": {
		raw:    "HTTP/1.1 204 No Content\r\n\r\n",
		status: 204,
	},
	"304": {
		raw:    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
		status: 304,
	},
	"206 with a range": {
		raw:    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/5\r\nContent-Length: 2\r\n\r\nhe",
		status: 206, length: 2, header: http.Header{"Content-Range": {"bytes 0-1/5"}}, body: "he",
	},
	"header as it was sent": {
		raw:    "HTTP/1.1 200 OK\r\nConnection: close, X-Secret\r\nX-Secret: 1\r\nSet-Cookie: b\r\nPragma: no-cache\r\nSet-Cookie: a\r\nContent-Length: 0\r\n\r\n",
		status: 200, header: http.Header{"Connection": {"close, X-Secret"}, "X-Secret": {"1"}, "Set-Cookie": {"b", "a"}, "Pragma": {"no-cache"}},
	},

	"two lengths":                   {raw: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", fails: upstream.Malformed},
	"a signed length":               {raw: "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", fails: upstream.Malformed},
	"a negative length":             {raw: "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello", fails: upstream.Malformed},
	"an empty length":               {raw: "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello", fails: upstream.Malformed},
	"a length of 20 digits":         {raw: "HTTP/1.1 200 OK\r\nContent-Length: 10000000000000000000\r\n\r\nhello", fails: upstream.Malformed},
	"lengths, of which one is none": {raw: "HTTP/1.1 200 OK\r\nContent-Length: 5,\r\n\r\nhello", fails: upstream.Malformed},
	"two lengths in a list":         {raw: "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello", fails: upstream.Malformed},
	"two lengths and chunks":        {raw: "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", fails: upstream.Malformed},
	"identity and a length":         {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello", fails: upstream.Malformed},
	"identity and chunks":           {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", fails: upstream.Malformed},
	"unknown coding":                {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", fails: upstream.Malformed},
	"chunked twice":                 {raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", fails: upstream.Malformed},
	"chunks in HTTP/1.0":            {raw: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", fails: upstream.Malformed},
	"space before a colon":          {raw: "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", fails: upstream.Malformed},
	"no colon":                      {raw: "HTTP/1.1 200 OK\r\nhello\r\n\r\n", fails: upstream.Malformed},
	"no name":                       {raw: "HTTP/1.1 200 OK\r\n: x\r\n\r\n", fails: upstream.Malformed},
	"space before the first":        {raw: "HTTP/1.1 200 OK\r\n A: x\r\n\r\n", fails: upstream.Malformed},
	"space in a name":               {raw: "HTTP/1.1 200 OK\r\nA b: x\r\n\r\n", fails: upstream.Malformed},
	"control character in a name":   {raw: "HTTP/1.1 200 OK\r\nA\x01: x\r\n\r\n", fails: upstream.Malformed},
	"NUL in a value":                {raw: "HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n", fails: upstream.Malformed},
	"a value that begins with NUL":  {raw: "HTTP/1.1 200 OK\r\nA:\x00x\r\n\r\n", fails: upstream.Malformed},
	"a value that begins with CR":   {raw: "HTTP/1.1 200 OK\r\nA:\rx\r\n\r\n", fails: upstream.Malformed},
	"CR in a value":                 {raw: "HTTP/1.1 200 OK\r\nA: x\ry\r\n\r\n", fails: upstream.Malformed},
	"HTTP/0.9":                      {raw: "hello", fails: upstream.Malformed},
	"the beginning of one":          {raw: "HTTP/1", fails: upstream.Broken},
	"HTTP/2":                        {raw: "HTTP/2.0 200 OK\r\n\r\n", fails: upstream.Malformed},
	"HTTP/1.12":                     {raw: "HTTP/1.12 200 OK\r\n\r\n", fails: upstream.Malformed},
	"lower case":                    {raw: "http/1.1 200 OK\r\n\r\n", fails: upstream.Malformed},
	"no status":                     {raw: "HTTP/1.1\r\n\r\n", fails: upstream.Malformed},
	"status of two digits":          {raw: "HTTP/1.1 20 OK\r\n\r\n", fails: upstream.Malformed},
	"status of four digits":         {raw: "HTTP/1.1 2000 OK\r\n\r\n", fails: upstream.Malformed},
	"status with a sign":            {raw: "HTTP/1.1 +20 OK\r\n\r\n", fails: upstream.Malformed},
	"status below all classes":      {raw: "HTTP/1.1 099 OK\r\n\r\n", fails: upstream.Malformed},
	"nothing":                       {raw: "", fails: upstream.Broken},
	"nothing but a line end":        {raw: "\r\n", fails: upstream.Malformed},
	"line end before the answer":    {raw: "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", fails: upstream.Malformed},
}

func TestAnswers(t *testing.T) {
	for name, want := range answers {
		t.Run(name, func(t *testing.T) {
			for way, read := range map[string]func(io.Reader, *bytes.Buffer) error{
				"Read":    func(body io.Reader, to *bytes.Buffer) error { _, err := to.ReadFrom(body); return err },
				"WriteTo": func(body io.Reader, to *bytes.Buffer) error { _, err := body.(io.WriterTo).WriteTo(to); return err },
			} {
				t.Run(way, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						is := is.New(t)
						g := newTarget(t, upstream.Options{}, thenClose(want.raw))
						method := want.method
						if method == "" {
							method = "GET"
						}
						resp, err := g.send(request(method, nil, 0))
						if want.status == 0 {
							why, _ := reason(err)
							is.Equal(why, want.fails) // reason
							return
						}
						is.NoErr(err)
						defer resp.Body.Close()
						is.Equal(resp.StatusCode, want.status)    // status
						is.Equal(resp.ContentLength, want.length) // length
						resp.Header.Del("Content-Length")
						is.Equal(len(resp.Header), len(want.header)) // fields
						for name, values := range want.header {
							is.Equal(resp.Header[name], values)
						}
						var body bytes.Buffer
						err = read(resp.Body, &body)
						why, _ := reason(err)
						is.Equal(why, want.fails)            // reason of the body's end
						is.Equal(body.String(), want.body)   // body
						is.Equal(resp.Trailer, want.trailer) // trailers
						n, err := resp.Body.Read(make([]byte, 1))
						is.Equal(n, 0)      // a read after the end
						is.True(err != nil) // and what it tells
					})
				})
			}
		})
	}
}

func TestLineThatIsNoAnswerIsQuoted(t *testing.T) {
	for raw, want := range map[string]string{
		"hello\nworld":            `"hello\n"`,
		"\nworld":                 `"\n"`,
		"hello":                   `"hello"`,
		strings.Repeat("x", 1000): `"` + strings.Repeat("x", 200) + `"`,
	} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			g := newTarget(t, upstream.Options{}, thenClose(raw))
			_, err := g.get()
			is.Equal(err.Error(), "malformed: not a status line of HTTP/1.0 or HTTP/1.1: "+want)
		})
	}
}

func TestHeadResponseToLostConnectionKeepsLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, always("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"))
		resp, err := g.send(request("GET", nil, 0))
		is.NoErr(err)
		is.Equal(resp.Header.Get("Content-Length"), "5") // as sent
	})
}

func TestInterimAnswersAreHandedOverAndNotMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		hints := strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 1000)
		g := newTarget(t, upstream.Options{}, always("HTTP/1.1 100 Continue\r\n\r\n"+hints+ok))
		var got []string
		resp, err := g.Exchange(request("GET", nil, 0), "/", field.View{}, func(status int, h http.Header) {
			got = append(got, fmt.Sprint(status, h["Link"]))
		})
		is.NoErr(err)
		is.Equal(len(got), 1001)
		is.Equal(got[0], "100 []")
		is.Equal(got[1000], "103 [</a>]")
		is.Equal(resp.Header["Link"], []string(nil)) // not in the final header
	})
}

func TestTunnel(t *testing.T) {
	const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
	for name, tt := range map[string]struct {
		play func(conn net.Conn) // after the 101 and "first"
		use  func(is *is.I, tunnel tunnel)
	}{
		"carries both ways": {
			func(conn net.Conn) {
				io.WriteString(conn, strings.ToUpper(readTo(conn, "hello")))
				time.Sleep(time.Hour) // nobody is timed
				io.WriteString(conn, "later")
			},
			func(is *is.I, tunnel tunnel) {
				_, err := io.WriteString(tunnel, "hello")
				is.NoErr(err)
				b, err := io.ReadAll(tunnel)
				is.NoErr(err)
				is.Equal(string(b), "firstHELLOlater")
			},
		},
		"target hears after our half close": {
			func(conn net.Conn) {
				b, _ := io.ReadAll(conn)
				io.WriteString(conn, "got "+string(b))
			},
			func(is *is.I, tunnel tunnel) {
				_, err := io.WriteString(tunnel, "hello")
				is.NoErr(err)
				is.NoErr(tunnel.CloseWrite())
				b, err := io.ReadAll(tunnel)
				is.NoErr(err)
				is.Equal(string(b), "firstgot hello")
			},
		},
		"target is heard after its half close": {
			func(conn net.Conn) {
				conn.(interface{ CloseWrite() error }).CloseWrite()
				io.ReadAll(conn)
			},
			func(is *is.I, tunnel tunnel) {
				b, err := io.ReadAll(tunnel)
				is.NoErr(err)
				is.Equal(string(b), "first")
				_, err = io.WriteString(tunnel, "hello")
				is.NoErr(err)
			},
		},
		"target is gone": {
			func(conn net.Conn) {},
			func(is *is.I, tunnel tunnel) {
				io.ReadAll(tunnel)
				_, err := io.WriteString(tunnel, "hello")
				why, _ := reason(err)
				is.Equal(why, upstream.Broken)
			},
		},
		"closed": {
			func(conn net.Conn) { io.Copy(io.Discard, conn) },
			func(is *is.I, tunnel tunnel) {
				is.NoErr(tunnel.Close())
				_, err := io.WriteString(tunnel, "hello")
				why, _ := reason(err)
				is.Equal(why, upstream.Cut)
				why, _ = reason(tunnel.CloseWrite())
				is.Equal(why, upstream.Cut)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{ResponseTimeout: time.Second}, func(conn net.Conn, _ int) {
					proxytest.ReadHead(conn)
					io.WriteString(conn, switching+"first")
					tt.play(conn)
				})
				resp, err := g.Exchange(request("GET", nil, 0), "/", field.ViewOf(http.Header{"Upgrade": {"x"}, "Connection": {"Upgrade"}}), nil)
				is.NoErr(err)
				is.Equal(resp.StatusCode, 101)
				tunnel, ok := resp.Body.(tunnel)
				is.True(ok) // the body can be written to and half closed
				tt.use(is, tunnel)
				tunnel.Close()
				is.Equal(g.conns(), 0) // connections left
			})
		})
	}
}

type tunnel interface {
	io.ReadWriteCloser
	CloseWrite() error
}
