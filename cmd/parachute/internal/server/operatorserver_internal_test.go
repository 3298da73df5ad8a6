package server

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/matryer/is"
)

// An operator is a client of an operatorServer.
type operator struct {
	net.Conn
	answers *bufio.Reader
}

func (o *operator) send(t *testing.T, text string) {
	t.Helper()
	is := is.New(t)
	_, err := io.WriteString(o, text)
	is.NoErr(err)
}

func (o *operator) answered(t *testing.T) {
	t.Helper()
	is := is.New(t)
	resp, err := http.ReadResponse(o.answers, nil)
	is.NoErr(err)
	body, err := io.ReadAll(resp.Body)
	is.NoErr(err)
	is.Equal(string(body), "hello")
}

// newOperators returns a server with two clients: the first has sent half of a request, the
// other was answered, and has sent no more.
func newOperators(t *testing.T, endStreams func()) (s *operatorServer, late, idle *operator) {
	t.Helper()
	is := is.New(t)
	l := loopback(t)
	s = newOperatorServer(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "hello")
	})}, l, endStreams)
	served := make(chan error, 1)
	go func() { served <- s.serve() }()
	t.Cleanup(func() {
		s.http.Close()
		is.True(errors.Is(<-served, net.ErrClosed))
	})
	for _, o := range []**operator{&late, &idle} {
		conn, err := net.Dial("tcp", l.Addr().String())
		is.NoErr(err)
		t.Cleanup(func() { conn.Close() })
		is.NoErr(conn.SetDeadline(time.Now().Add(time.Minute)))
		*o = &operator{conn, bufio.NewReader(conn)}
		(*o).send(t, "GET / HTTP/1.1\r\n")
	}
	idle.send(t, "Host: x\r\n\r\n")
	idle.answered(t) // so that the other one, which came before, is accepted too
	return s, late, idle
}

func TestOperatorIsAnsweredWhoseRequestIsReadAfterTheEndHasBegun(t *testing.T) {
	is := is.New(t)
	streams := 0
	s, late, idle := newOperators(t, func() { streams++ })
	finished := make(chan error, 1)
	go func() { finished <- s.finish(t.Context()) }()
	_, err := idle.answers.ReadByte()
	is.Equal(err, io.EOF) // it has begun
	late.send(t, "Host: x\r\n\r\n")
	late.answered(t)
	_, err = late.answers.ReadByte()
	is.Equal(err, io.EOF)
	is.NoErr(<-finished)
	is.Equal(streams, 1)
}

func TestOperatorServerDoesNotWaitForLongerThanItMay(t *testing.T) {
	is := is.New(t)
	s, _, idle := newOperators(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	finished := make(chan error, 1)
	go func() { finished <- s.finish(ctx) }()
	_, err := idle.answers.ReadByte()
	is.Equal(err, io.EOF)
	cancel()
	is.Equal(<-finished, context.Canceled)
}
