package upstream_test

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/upstream"
)

// Answers with the same head share their header. To append to its values, which changes no
// header, is not seen in another.
func TestAnswersWithTheSameHeadHaveTheSameFields(t *testing.T) {
	is := is.New(t)
	const one = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: 1\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\nSet-Cookie: c=3\r\n\r\n"
	other := strings.Replace(one, "X-A: 1", "X-A: 2", 1)
	coded := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n0\r\nX-A: 3\r\n\r\n"
	heads := []string{one, one, one, other, one, one, coded, coded, coded, one}
	g := newTarget(t, upstream.Options{}, func(conn net.Conn, _ int) {
		br := bufio.NewReader(conn)
		for _, head := range heads {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			io.WriteString(conn, head)
		}
	})
	cookies := make(map[string][]string)
	for i, head := range heads {
		res, err := g.send(request("GET", nil, 0))
		is.NoErr(err)
		_, err = io.ReadAll(res.Body)
		is.NoErr(err)
		is.NoErr(res.Body.Close())
		if head == coded {
			is.Equal(res.Header, http.Header{})
			is.Equal(res.Trailer, http.Header{"X-A": {"3"}})
			continue
		}
		value := "1"
		if head == other {
			value = "2"
		}
		is.Equal(res.Header, http.Header{"Content-Length": {"0"}, "X-A": {value}, "Set-Cookie": {"a=1", "b=2", "c=3"}})
		ours := fmt.Sprint("ours=", i)
		cookies[ours] = append(res.Header["Set-Cookie"], ours)
	}
	is.Equal(g.dials(), 1)
	for ours, all := range cookies {
		is.Equal(all, []string{"a=1", "b=2", "c=3", ours})
	}
}

// A head that has come before is not looked into again. What it says about the answer and
// its end holds each time, for whatever it answers.
func TestHeadThatComesAgainSaysTheSame(t *testing.T) {
	for name, tt := range map[string]struct {
		method, raw string
		want        http.Response
		body        string
		dials       int // for five requests
	}{
		"counted":         {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", http.Response{Proto: "HTTP/1.1", ContentLength: 5}, "hello", 1},
		"HTTP/1.0, kept":  {"GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n!", http.Response{Proto: "HTTP/1.0", ContentLength: 1}, "!", 1},
		"HTTP/1.0":        {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n!", http.Response{Proto: "HTTP/1.0", ContentLength: 1}, "!", 5},
		"length twice":    {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n!", http.Response{Proto: "HTTP/1.1", ContentLength: 1}, "!", 1},
		"nothing":         {"GET", "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n", http.Response{Proto: "HTTP/1.1", StatusCode: 204}, "", 1},
		"HEAD":            {"HEAD", "HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n", http.Response{Proto: "HTTP/1.1", ContentLength: -1}, "", 1},
		"HEAD of a body":  {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", http.Response{Proto: "HTTP/1.1", ContentLength: 5}, "", 5},
		"for no longer":   {"GET", "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n", http.Response{Proto: "HTTP/1.1"}, "", 5},
		"last":            {"GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", http.Response{Proto: "HTTP/1.1"}, "", 5},
		"after a hint":    {"GET", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\n!", http.Response{Proto: "HTTP/1.1", StatusCode: 404, ContentLength: 1}, "!", 1},
		"after itself":    {"GET", "HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n" + ok, http.Response{Proto: "HTTP/1.1", ContentLength: 2}, "ok", 1},
		"not plain":       {"GET", "HTTP/1.1 200 OK\nContent-Length: 1\n\n!", http.Response{Proto: "HTTP/1.1", ContentLength: 1}, "!", 1},
		"without a field": {"HEAD", "HTTP/1.1 200 OK\r\n\r\n", http.Response{Proto: "HTTP/1.1", ContentLength: -1}, "", 1},
		"trailers": {
			"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-A, X-B\r\n\r\n1\r\n!\r\n0\r\nX-A: 1\r\nX-A: 2\r\n\r\n",
			http.Response{Proto: "HTTP/1.1", ContentLength: -1, Trailer: http.Header{"X-A": {"1", "2"}, "X-B": nil}}, "!", 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			g := newTarget(t, upstream.Options{}, func(conn net.Conn, _ int) {
				for br := bufio.NewReader(conn); ; io.WriteString(conn, tt.raw) {
					if _, err := http.ReadRequest(br); err != nil {
						return
					}
				}
			})
			for range 5 {
				res, err := g.send(request(tt.method, nil, 0))
				is.NoErr(err)
				body, err := io.ReadAll(res.Body)
				is.NoErr(err)
				is.NoErr(res.Body.Close())
				is.Equal(string(body), tt.body)
				is.Equal(res.StatusCode, cmp.Or(tt.want.StatusCode, 200))
				is.Equal(res.Proto, tt.want.Proto)
				is.Equal(res.ContentLength, tt.want.ContentLength)
				is.Equal(res.Trailer, tt.want.Trailer)
			}
			is.Equal(g.dials(), tt.dials)
		})
	}
}
