package tcp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute/cmd/parachute/internal/tcp"
)

// serve has a server of net/http serve h to those who dial.
func serve(t *testing.T, h http.HandlerFunc) (dial func() *net.TCPConn) {
	t.Helper()
	l, err := tcp.Listen("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ConnContext: tcp.ConnContext}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		<-served
	})
	return func() *net.TCPConn {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		return client.(*net.TCPConn)
	}
}

func ask(t *testing.T, client net.Conn, path string) {
	t.Helper()
	if _, err := io.WriteString(client, "GET "+path+" HTTP/1.1\r\nHost: app.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
}

// answered returns the body of the next answer.
func answered(t *testing.T, answers *bufio.Reader) string {
	t.Helper()
	res, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestContextOfARequestEndsWhenItsClientLeaves(t *testing.T) {
	for name, leave := range map[string]func(client *net.TCPConn){
		"closes":      func(client *net.TCPConn) { client.Close() },
		"resets":      reset,
		"half closes": func(client *net.TCPConn) { client.CloseWrite() }, // as net/http has it
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			entered, ended := make(chan struct{}), make(chan error)
			dial := serve(t, func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/hold" {
					close(entered)
					<-r.Context().Done()
					ended <- context.Cause(r.Context())
				}
			})
			client := dial()
			answers := bufio.NewReader(client)
			for range 2 { // requests that are over at once
				ask(t, client, "/")
				is.Equal(answered(t, answers), "")
			}
			ask(t, client, "/hold")
			<-entered
			leave(client)
			is.Equal(<-ended, context.Canceled)
		})
	}
}

// lasts returns when a request that is under way now is looked at.
func lasts(t *testing.T) {
	t.Helper()
	passed(t, time.Now().Add(15*time.Millisecond))
}

func TestConnectionServesOnAfterRequestsThatLasted(t *testing.T) {
	is := is.New(t)
	entered, release := make(chan struct{}), make(chan struct{})
	dial := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			entered <- struct{}{}
			<-release
		}
		fmt.Fprint(w, r.URL.Path, r.Context().Err())
	})
	client := dial()
	answers := bufio.NewReader(client)
	for range 3 {
		ask(t, client, "/hold")
		<-entered
		lasts(t)
		release <- struct{}{}
		is.Equal(answered(t, answers), "/hold<nil>")
		ask(t, client, "/")
		is.Equal(answered(t, answers), "/<nil>")
	}
}

// As net/http has it: it would have read until then.
func TestContextOfARequestEndsWhenReadingIsLate(t *testing.T) {
	is := is.New(t)
	ended := make(chan error)
	dial := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).SetReadDeadline(soon()); err != nil {
			ended <- err
			return
		}
		<-r.Context().Done()
		ended <- context.Cause(r.Context())
	})
	ask(t, dial(), "/")
	is.Equal(<-ended, context.Canceled)
}

// Whoever has taken a connection over reads it, down to how it ended.
func TestNobodyLooksAtAConnectionThatIsHijacked(t *testing.T) {
	is := is.New(t)
	type hijacked struct {
		conn net.Conn
		ctx  context.Context
	}
	given, over := make(chan hijacked), make(chan struct{})
	dial := serve(t, func(w http.ResponseWriter, r *http.Request) {
		<-over
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		given <- hijacked{conn, r.Context()}
		<-over // ctx would end with the handler
	})
	client := dial()
	ask(t, client, "/")
	lasts(t)
	over <- struct{}{}
	got := <-given
	defer got.conn.Close()
	reset(client)
	lasts(t)
	is.NoErr(got.ctx.Err())
	_, err := got.conn.Read(make([]byte, 1))
	is.True(errors.Is(err, syscall.ECONNRESET))
	over <- struct{}{}
}

// What a client sends ahead is none of the request that is under way.
func TestContextOutlivesARequestThatComesAhead(t *testing.T) {
	is := is.New(t)
	release := make(chan struct{})
	dial := serve(t, func(w http.ResponseWriter, r *http.Request) {
		<-release
		fmt.Fprint(w, r.URL.Path, r.Context().Err())
	})
	client := dial()
	answers := bufio.NewReader(client)
	for range 3 { // two together, and one by itself
		ask(t, client, "/first")
		ask(t, client, "/second")
		lasts(t)
		ask(t, client, "/third")
		for _, path := range []string{"/first", "/second", "/third"} {
			release <- struct{}{}
			is.Equal(answered(t, answers), path+"<nil>")
		}
	}
}

func TestCloseEndsTheContext(t *testing.T) {
	is := is.New(t)
	conn, _ := accepted(t)
	ctx := tcp.ConnContext(t.Context(), conn)
	is.NoErr(ctx.Err())
	is.NoErr(conn.Close())
	is.Equal(ctx.Err(), context.Canceled)
}

func TestConnContextLeavesTheConnectionsOfOthersAlone(t *testing.T) {
	is := is.New(t)
	_, client := accepted(t)
	is.Equal(tcp.ConnContext(t.Context(), client), t.Context())
}

// Whoever has taken the connection over may read it byte by byte.
func TestReadOfSingleBytesReadsThem(t *testing.T) {
	is := is.New(t)
	conn, client := accepted(t)
	tcp.ConnContext(t.Context(), conn)
	const text = "byte by byte"
	_, err := io.WriteString(client, text)
	is.NoErr(err)
	is.NoErr(client.CloseWrite())
	got, err := io.ReadAll(bufio.NewReader(iotest.OneByteReader(conn)))
	is.NoErr(err)
	is.Equal(string(got), text)
	_, err = conn.Read(make([]byte, 1))
	is.Equal(err, io.EOF)
}
