package socket

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// Error returns err as a method of c would return it. It is what one of these calls
// has failed with, or that of the [syscall.RawConn] around it. The operation is
// "read" or "write"; call is the one that an errno is of.
func Error(op, call string, c net.Conn, err error) error {
	var raw *net.OpError
	if errors.As(err, &raw) {
		err = raw.Err
	} else if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError(call, errno)
	}
	local := c.LocalAddr()
	if later, ok := local.(interface{ tcp() net.Addr }); ok {
		local = later.tcp() // for it is closed by the time that the error is read
	}
	return &net.OpError{Op: op, Net: local.Network(), Source: local, Addr: c.RemoteAddr(), Err: err}
}
