//go:build !linux

package tcp

import "syscall"

// peerClosed reports whether the peer of a socket has closed it, or its side of it,
// which cannot be told while there is something to be read before that.
func peerClosed(fd uintptr) bool {
	var one [1]byte
	n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return n <= 0 && err != syscall.EAGAIN && err != syscall.EINTR
}
