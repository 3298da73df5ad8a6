//go:build !linux

package socket

import "syscall"

// hangup reports whether the peer of a socket has closed the connection or its side
// of it, which cannot be seen while there is still something to read, and whether
// the connection is broken.
func hangup(fd uintptr) (ended, broken bool) {
	var one [1]byte
	n, err := Peek(fd, one[:])
	if err == syscall.EAGAIN {
		return false, false
	}
	return n == 0, err != nil
}

// endedWithData reports whether the peer of a socket closed its side when it sent its
// last bytes, which is not known.
func endedWithData(uintptr) bool { return false }
