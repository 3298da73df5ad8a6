package upstream_test

import (
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

func TestHeldBodyWaitsForTheTargets100(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		asked := make(chan struct{})
		g := newTarget(t, upstream.Options{}, func(conn net.Conn, _ int) {
			for {
				if _, err := proxytest.ReadHead(conn); err != nil {
					return
				}
				asked <- struct{}{}
				time.Sleep(500 * time.Millisecond)
				io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
				readTo(conn, "hello")
				io.WriteString(conn, ok)
			}
		})
		for range 2 {
			var order journal
			body := noteReads{strings.NewReader("hello"), &order}
			interim := func(status int, _ http.Header) { order.note(http.StatusText(status)) }
			done := make(chan error)
			go func() {
				_, err := readAll(g.Exchange(request("POST", body, 5), "/", field.ViewOf(http.Header{"Expect": {"100-Continue"}}), interim))
				done <- err
			}()
			<-asked
			synctest.Wait()
			is.Equal(order.String(), "") // read before the 100
			is.NoErr(<-done)
			is.Equal(order.String(), "Continue, read")
		}
		is.Equal(g.dials(), 1) // the connection is used again
	})
}

func TestHeldBodyWaitsForNoOtherInterimAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\n\r\n")
			conn.SetReadDeadline(time.Now().Add(time.Second / 2))
			if n, _ := conn.Read(make([]byte, 1)); n > 0 {
				return // which fails the test
			}
			conn.SetReadDeadline(time.Time{})
			io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
			readTo(conn, "hello")
			io.WriteString(conn, ok)
		})
		start := time.Now()
		_, err := readAll(g.Exchange(post("hello"), "/", field.ViewOf(http.Header{"Expect": {"100-continue"}}), nil))
		is.NoErr(err)
		is.Equal(time.Since(start), time.Second/2) // the 100 is what it waited for
	})
}

func TestHeldBodyIsSentAfterASecondWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var after time.Duration
		g := newTarget(t, upstream.Options{ResponseTimeout: 10 * time.Second}, func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			io.WriteString(conn, ok)
			proxytest.ReadHead(conn)
			start := time.Now()
			readTo(conn, "hello")
			after = time.Since(start)
			time.Sleep(9 * time.Second)
			io.WriteString(conn, ok)
		})
		_, err := g.get() // leaves a later deadline behind
		is.NoErr(err)
		text, err := readAll(g.Exchange(post("hello"), "/", field.ViewOf(http.Header{"Expect": {"100-continue"}}), nil))
		is.NoErr(err)
		is.Equal(text, "ok")
		is.Equal(after, time.Second) // when the body came
		is.Equal(g.dials(), 1)       // dials
	})
}

func TestHeldBodyIsNotSentAfterAFinalAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, once("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"))
		body := &countedBody{Reader: strings.NewReader("hello")}
		resp, err := g.Exchange(request("POST", body, 5), "/", field.ViewOf(http.Header{"Expect": {"100-continue"}}), nil)
		is.NoErr(err)
		resp.Body.Close()
		is.Equal(resp.StatusCode, 417) // status
		is.Equal(body.reads, 0)        // reads of the body
		is.Equal(body.closed, 1)       // Close of the body
		is.Equal(g.conns(), 0)         // the connection is not used again
	})
}

func TestExpectWithoutABodyHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		start := time.Now()
		g := newTarget(t, upstream.Options{}, always(ok))
		_, err := readAll(g.Exchange(request("GET", nil, 0), "/", field.ViewOf(http.Header{"Expect": {"100-continue"}}), nil))
		is.NoErr(err)
		is.Equal(time.Since(start), 0*time.Second) // time it took
		is.Equal(g.conns(), 1)                     // the connection is kept
	})
}
