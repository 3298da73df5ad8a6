package forward_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

// A stamper is middleware that changes values which it passes on in the slices that they
// are in.
type stamper struct {
	http.ResponseWriter
	stamp string
}

func (s stamper) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s stamper) WriteHeader(status int) {
	s.stampAll("Link", "Set-Cookie")
	s.ResponseWriter.WriteHeader(status)
}

func (s stamper) stampAll(names ...string) {
	for _, name := range names {
		for i := range s.Header()[name] {
			s.Header()[name][i] += s.stamp
		}
	}
}

// A target that says the same again is not read again.
func TestWhatMiddlewareMakesOfAnAnswerIsNotInTheNextOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		n.Script(t, targetAddr, func(conn net.Conn, _ int) {
			for br := bufio.NewReader(conn); ; {
				if _, err := http.ReadRequest(br); err != nil {
					return
				}
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: id=1\r\n\r\nok")
			}
		})
		p := newProxy(newPool(t, n).Exchange)
		answered := 0
		serve(t, n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answered++
			p.ServeHTTP(stamper{w, fmt.Sprint("; for=", answered)}, r)
		}))
		client := dial(t, n)
		br := bufio.NewReader(client)
		for i := range 4 {
			io.WriteString(client, get+"\r\n")
			res, err := http.ReadResponse(br, nil)
			is.NoErr(err)
			io.ReadAll(res.Body)
			is.Equal(res.Header["Set-Cookie"], []string{fmt.Sprint("id=1; for=", i+1)})
		}
	})
}

func TestMiddlewareHasValuesOfItsOwn(t *testing.T) {
	shared := []string{"a", "b"}
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		x := newExchange()
		p := newProxy(x.Exchange)
		serve(t, n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := stamper{w, "!"}
			p.ServeHTTP(s, r)
			s.stampAll("X-Sum", http.TrailerPrefix+"X-Late")
		}))
		client := dial(t, n)
		io.WriteString(client, get+"\r\n")
		c := <-x.calls
		c.interim(103, http.Header{"Link": shared})
		res := response(200, "ok")
		res.Header["Set-Cookie"] = shared
		res.Trailer = http.Header{"X-Sum": nil}
		res.Body = &ending{res.Body, func() { res.Trailer["X-Sum"], res.Trailer["X-Late"] = shared, shared }}
		c.answer <- answer{res: res}
		got, _ := hear(client, time.Second)
		for _, want := range []string{"Link: a!", "Link: b!", "Set-Cookie: a!", "Set-Cookie: b!", "X-Sum: a!", "X-Late: b!"} {
			is.True(strings.Contains(got, "\r\n"+want+"\r\n")) // want
		}
		is.Equal(shared, []string{"a", "b"})
	})
}

// An ending is a body that calls atEnd.
type ending struct {
	io.ReadCloser
	atEnd func()
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	if err == io.EOF {
		e.atEnd()
	}
	return n, err
}
