package upstream_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// TestDeadlineLeftOnASocketHarmsNobody is about what only sockets have: on
// others the look before a connection is used again takes deadlines back. It
// takes a second, for deadlines of the system are in real time.
func TestDeadlineLeftOnASocketHarmsNobody(t *testing.T) {
	const limit = 500 * time.Millisecond
	const later = limit + limit/10
	t.Run("of a splice", func(t *testing.T) {
		t.Parallel()
		is := is.New(t)
		pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{WriteTimeout: 2 * limit}, func(conn net.Conn, n int) {
			if n > 0 {
				return // which fails the test
			}
			proxytest.ReadHead(conn)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
			conn.Write(make([]byte, 60_000))
			proxytest.ReadHead(conn)
			time.Sleep(later)
			io.WriteString(conn, ok)
		})
		resp, err := pool.Exchange(request("GET", nil, 0), "/", field.View{}, nil)
		is.NoErr(err)
		_, err = resp.Body.(io.WriterTo).WriteTo(new(splicer))
		is.NoErr(err)
		_, err = readAll(pool.Exchange(request("GET", nil, 0), "/", field.View{}, nil))
		is.NoErr(err)
	})
	t.Run("expired while idle", func(t *testing.T) {
		t.Parallel()
		is := is.New(t)
		for limit := limit; ; limit *= 2 {
			text, took, err := askAfterIdling(t, limit)
			if err != nil && took > limit*3/4 && limit < 20*time.Second {
				continue // the machine was slower than the limit, which one that was left would not have been
			}
			is.NoErr(err)
			is.Equal(text, "0") // which connection
			return
		}
	})
	t.Run("later than the one that is wanted", func(t *testing.T) {
		t.Parallel()
		is := is.New(t)
		pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{ResponseTimeout: time.Hour}, func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			io.WriteString(conn, ok)
			proxytest.ReadHead(conn)
			readTo(conn, "hello")
			io.WriteString(conn, ok)
		})
		_, err := readAll(pool.Exchange(request("GET", nil, 0), "/", field.View{}, nil))
		is.NoErr(err)
		_, err = readAll(pool.Exchange(post("hello"), "/", field.ViewOf(http.Header{"Expect": {"100-continue"}}), nil))
		is.NoErr(err) // for ever, if the body is not sent
	})
}

// askAfterIdling returns the answer to the second of two exchanges, between which the response
// timeout of limit passes, and how long the last one took.
func askAfterIdling(t *testing.T, limit time.Duration) (text string, took time.Duration, err error) {
	pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{ResponseTimeout: limit}, func(conn net.Conn, n int) {
		always(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n))(conn, n)
	})
	for range 2 {
		began := time.Now()
		text, err = readAll(pool.Exchange(request("GET", nil, 0), "/", field.View{}, nil))
		if took = time.Since(began); err != nil {
			break
		}
		time.Sleep(limit + limit/10)
	}
	return text, took, err
}
