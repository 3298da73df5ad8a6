package upstream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// A mutedConn cannot be written any more behind some writes, as one whose other end has
// been closed.
type mutedConn struct {
	net.Conn
	writes int // that are left
}

func (c *mutedConn) Write(p []byte) (int, error) {
	if c.writes == 0 {
		return 0, syscall.EPIPE
	}
	c.writes--
	return c.Conn.Write(p)
}

// With TLS 1.3 the handshake is over for a client before the server has seen what it
// was sent: the request may go out before the alert comes in, and fail, for the server
// has closed the connection behind that.
func TestAlertIsToldThoughTheRequestCouldNotBeWritten(t *testing.T) {
	is := is.New(t)
	var n proxytest.Net
	ca := proxytest.NewCA()
	config := &tls.Config{Certificates: []tls.Certificate{ca.Issue("app.test")}, ClientAuth: tls.RequireAnyClientCert}
	n.Script(t, "127.0.0.1:443", func(conn net.Conn, _ int) { tls.Server(conn, config).Handshake() })
	p := upstream.New(upstream.Options{
		Network: "tcp", Address: "127.0.0.1:443", TLS: &tls.Config{RootCAs: ca.Pool(), ServerName: "app.test"},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := n.Dial(ctx, network, address)
			return &mutedConn{conn, 2}, err // the two flights of the handshake
		},
	})
	defer p.Close()
	_, err := p.Exchange(httptest.NewRequest("GET", "/", nil), "/", field.View{}, nil)
	is.True(err != nil && strings.Contains(err.Error(), "certificate required")) // the alert
	is.True(!errors.Is(err, syscall.EPIPE))
	e, ok := errors.AsType[*upstream.Error](err)
	is.True(ok)
	is.Equal(e.Reason, upstream.Broken)
	is.True(e.Repeatable) // nothing was written
}
