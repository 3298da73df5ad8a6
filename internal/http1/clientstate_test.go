package http1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
)

// lasts returns when the clients of requests that are under way now are looked after.
func lasts(t *testing.T) {
	t.Helper()
	select {
	case <-t.Context().Done():
	case <-time.After(1100 * time.Millisecond):
	}
}

// leave is how a client does that.
var leave = map[string]func(client *net.TCPConn){
	"closes":      func(client *net.TCPConn) { client.Close() },
	"resets":      func(client *net.TCPConn) { client.SetLinger(0); client.Close() },
	"half-closes": func(client *net.TCPConn) { client.CloseWrite() },
}

// held serves requests of which those for /hold last until their contexts end.
func held(t *testing.T) (dial func() *net.TCPConn, entered chan struct{}, ended chan error) {
	entered, ended = make(chan struct{}), make(chan error, 1)
	return serveSockets(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/hold" {
			return
		}
		entered <- struct{}{}
		select {
		case <-r.Context().Done():
			ended <- context.Cause(r.Context())
		case <-time.After(patience):
			ended <- errors.New("nobody has noticed")
		}
	}), entered, ended
}

func TestContextEndsWhenTheClientLeaves(t *testing.T) {
	for where, all := range map[string][]sent{
		"alone":  {getting("/hold")},
		"first":  {getting("/hold"), getting("/1"), getting("/2")},
		"middle": {getting("/1"), getting("/hold"), getting("/2")},
		"last":   {getting("/1"), getting("/2"), getting("/hold")},
	} {
		for how, leave := range leave {
			t.Run(where+", "+how, func(t *testing.T) {
				t.Parallel()
				is := is.New(t)
				dial, entered, ended := held(t)
				client := dial()
				send(t, client, all...)
				<-entered
				leave(client)
				is.Equal(<-ended, context.Canceled)
			})
		}
	}
}

// What the client has sent before it left does not hide that.
func TestContextEndsWhenAClientLeavesThatHasSentWhatNobodyReads(t *testing.T) {
	for how, leave := range leave {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			dial, entered, ended := held(t)
			client := dial()
			send(t, client, getting("/hold"))
			<-entered
			send(t, client, getting("/1"), getting("/2"))
			lasts(t)
			leave(client)
			is.Equal(<-ended, context.Canceled)
		})
	}
}

// What a client sends ahead is none of the request that is under way.
func TestContextOutlivesARequestThatComesAhead(t *testing.T) {
	is := is.New(t)
	release := make(chan struct{})
	dial := serveSockets(t, func(w http.ResponseWriter, r *http.Request) {
		<-release
		fmt.Fprint(w, r.URL.Path, r.Context().Err())
	})
	client := dial()
	answers := bufio.NewReader(client)
	send(t, client, getting("/first"))
	send(t, client, getting("/second"))
	lasts(t)
	send(t, client, getting("/third"))
	for _, path := range []string{"/first", "/second", "/third"} {
		release <- struct{}{}
		is.Equal(answered(t, answers), path+"<nil>")
	}
}

// Whoever has taken a connection over reads it, down to how it ended.
func TestNobodyLooksAfterAConnectionThatIsHijacked(t *testing.T) {
	is := is.New(t)
	type hijacked struct {
		conn net.Conn
		ctx  context.Context
	}
	given, over := make(chan hijacked), make(chan struct{})
	dial := serveSockets(t, func(w http.ResponseWriter, r *http.Request) {
		<-over
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		given <- hijacked{conn, r.Context()}
		<-over // ctx would end with the handler
	})
	client := dial()
	send(t, client, getting("/"))
	lasts(t)
	over <- struct{}{}
	got := <-given
	defer got.conn.Close()
	leave["resets"](client)
	lasts(t)
	is.NoErr(got.ctx.Err())
	_, err := got.conn.Read(make([]byte, 1))
	is.True(errors.Is(err, syscall.ECONNRESET))
	over <- struct{}{}
}
