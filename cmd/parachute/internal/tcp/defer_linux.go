package tcp

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// deferSeconds is how long a client that has connected may send nothing before it is to be
// accepted all the same.
const deferSeconds = 1

// deferAccept says whether a client is to be accepted only when it has sent something, which
// it will: all protocols here begin with the client. Whoever accepts it can then read at once,
// and need not wait for that. If the system cannot, clients are accepted as they come.
//
// When it is turned off, a client that waits already is accepted with what it sends next, or
// within a second of when it has connected.
func deferAccept(l syscall.Conn, on bool) {
	seconds := 0
	if on {
		seconds = deferSeconds
	}
	_ = control(l, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, seconds)
	})
}
