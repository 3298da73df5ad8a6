package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

func TestClientThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	sick, heal := newSickTarget(t)
	c, err := net.Dial("unix", p.socket)
	is.NoErr(err)
	defer c.Close()
	body := fmt.Sprintf(`{"targets":[%q]}`, sick)
	_, err = fmt.Fprintf(c, "PUT /v1/services/web HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	is.NoErr(err)
	generation := p.await(t, parachute.EventDeploying).Generation

	const rounds, probes = 3, 500
	verbose := &parachute.Probe{Error: strings.Repeat("x", 10<<10)} // together more than the buffers of a socket hold
	for range rounds {
		for range probes {
			p.server.Notify(parachute.Event{Service: "web", Generation: generation, Kind: parachute.EventProbed, Target: sick, Probe: verbose})
		}
		p.await(t, parachute.EventProbed) // meanwhile some of them are on their way
	}
	heal()
	p.await(t, parachute.EventSwitched) // the deploy goes on

	answer, err := io.ReadAll(c)
	is.NoErr(err)
	is.True(bytes.Count(answer, []byte(`"kind":"probed"`)) < rounds*probes) // some were dropped
	for _, kept := range []string{`"kind":"deploying"`, `"kind":"switched"`, `{"result":{"service":"web"`} {
		is.True(bytes.Contains(answer, []byte(kept))) // but not these
	}
}

// A pipe is a listener without sockets, whose connections know fake time.
type pipe struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipe() *pipe { return &pipe{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (l *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipe) Close() error   { close(l.closed); return nil }
func (l *pipe) Addr() net.Addr { return &net.UnixAddr{} }

func (l *pipe) dial() net.Conn {
	ours, theirs := net.Pipe()
	l.conns <- theirs
	return ours
}

func TestSlowRequestsAreGivenUp(t *testing.T) {
	for name, request := range map[string]string{
		"a head that does not end": "PUT /v1/services/web HTTP/1.1\r\nHost:",
		"a body that does not end": "PUT /v1/services/web HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				server := control.NewServer("v1")
				proxy := parachute.New(parachute.Options{Notify: server.Notify})
				defer proxy.Close()
				srv := server.HTTPServer(proxy)
				l := newPipe()
				done := make(chan error)
				go serve(srv, l, done)
				c := l.dial()
				start := time.Now()
				_, err := io.WriteString(c, request)
				is.NoErr(err)
				_, _ = io.Copy(io.Discard, c) // until it is hung up on
				is.Equal(time.Since(start), 10*time.Second)
				is.NoErr(c.Close())
				is.NoErr(srv.Close())
				<-done
			})
		})
	}
}

func TestLongDeployIsNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		server := control.NewServer("v1")
		proxy := parachute.New(parachute.Options{
			Notify: server.Notify,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("refused")
			},
		})
		defer proxy.Close()
		srv := server.HTTPServer(proxy)
		l := newPipe()
		done := make(chan error)
		go serve(srv, l, done)
		c := l.dial()
		start := time.Now()
		const body = `{"targets":["10.0.0.7:3000"],"timeouts":{"deploy":"1h"}}`
		_, err := fmt.Fprintf(c, "PUT /v1/services/web HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		is.NoErr(err)
		answer, err := io.ReadAll(c)
		is.NoErr(err)
		is.Equal(time.Since(start), time.Hour)                        // as long as was asked for
		is.True(saysAll(string(answer), "422", `"code":"unhealthy"`)) // and is answered
		is.NoErr(c.Close())
		is.NoErr(srv.Close())
		<-done
	})
}
