//go:build !linux

package tcp

import "syscall"

// peerClosed reports whether the peer of a socket has closed the connection or
// its side of it. It reports false while there is still something to read.
func peerClosed(fd uintptr) bool {
	var one [1]byte
	n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return n <= 0 && err != syscall.EAGAIN && err != syscall.EINTR
}
