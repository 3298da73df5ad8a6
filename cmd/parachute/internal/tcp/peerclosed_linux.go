package tcp

import "golang.org/x/sys/unix"

// peerClosed reports whether the peer of a socket has closed the connection or
// its side of it, even if there is still something to read.
func peerClosed(fd uintptr) bool {
	fds := [...]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(fds[:], 0)
	return err == nil && n > 0
}
