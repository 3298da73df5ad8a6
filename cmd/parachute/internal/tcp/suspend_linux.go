package tcp

import (
	"cmp"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// longBacklog is more than any system lets wait in the queue of a socket, which takes as
// many as it lets.
const longBacklog = 1 << 16

// refuse has the system refuse clients at a socket, until admit.
func refuse(l syscall.Conn) (admit func() error, err error) {
	var at unix.Sockaddr
	err = control(l, func(fd int) (err error) {
		if at, err = unix.Getsockname(fd); err != nil {
			return err
		}
		if err = unix.Shutdown(fd, unix.SHUT_RD); err != nil {
			return err
		}
		// Only now, or whoever connects in between would be reset. There may be none.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		return nil
	})
	return func() error {
		return control(l, func(fd int) error {
			// A port that the system has chosen is not kept over the shutdown; any other
			// is, which makes another bind invalid.
			if err := unix.Bind(fd, at); err != nil && !errors.Is(err, unix.EINVAL) {
				return err
			}
			return unix.Listen(fd, longBacklog)
		})
	}, err
}

func control(l syscall.Conn, do func(fd int) error) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = do(int(fd)) })
	return cmp.Or(err, failed)
}
