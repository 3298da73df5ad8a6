package upstream_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/upstream"
)

// What is done to the header of one answer is not seen in another, although the target
// says the same each time.
func TestAnswersWithTheSameHeadHaveHeadersOfTheirOwn(t *testing.T) {
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
		res.Header.Set("X-A", "changed")
		res.Header.Del("Content-Length")
	}
	is.Equal(g.dials(), 1)
	for ours, all := range cookies {
		is.Equal(all, []string{"a=1", "b=2", "c=3", ours})
	}
}
