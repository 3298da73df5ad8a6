package tcp_test

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/tcp"
)

func TestListenFailsAsTheStandardLibrary(t *testing.T) {
	is := is.New(t)
	l, err := tcp.Listen("127.0.0.1:0", nil)
	is.NoErr(err)
	defer l.Close()
	_, err = tcp.Listen(l.Addr().String(), nil)
	is.True(errors.Is(err, syscall.EADDRINUSE))
	is.NoErr(l.Close())
	_, err = l.NewAcceptor().Accept()
	is.True(errors.Is(err, net.ErrClosed))
}
