//go:build unix

package socket_test

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/socket"
)

func TestErrorIsAsTheConnectionItselfReturnsIt(t *testing.T) {
	is := is.New(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	is.NoErr(err)
	at := c.LocalAddr().String() + "->" + c.RemoteAddr().String()

	err = socket.Error("write", "splice", c, syscall.EPIPE)
	is.Equal(err.Error(), "write tcp "+at+": splice: broken pipe")
	is.True(errors.Is(err, syscall.EPIPE))

	err = socket.Error("read", "read", c, os.ErrDeadlineExceeded) // which is no errno
	is.Equal(err.Error(), "read tcp "+at+": i/o timeout")

	c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	is.NoErr(err)
	_, want := c.Read(make([]byte, 1))
	err = socket.Error("read", "read", c, raw.Read(func(uintptr) bool { return true }))
	is.Equal(err.Error(), want.Error()) // and not "raw-read"
	is.True(errors.Is(err, net.ErrClosed))
}
