//go:build (amd64 || arm64) && !race

package socket

import (
	"syscall"
	"unsafe"
)

// The scheduler is not told of these system calls, as it is of all others. They
// do not wait, for their sockets do not, and are over before another thread
// could have taken the place of this one, which is what telling is for: where it
// is tried, the scheduler's monitor wakes up for each, and hands its processor
// on, and both cost more than the call.

// Calls of sockets take a shorter way through the kernel than those of files, and
// a peer that has left raises no signal.

// receive reads from a socket what is there.
func receive(fd uintptr, p []byte) (int, error) {
	return call(syscall.SYS_RECVFROM, fd, p, syscall.MSG_DONTWAIT)
}

// send writes as much as a socket takes.
func send(fd uintptr, p []byte) (int, error) {
	return call(syscall.SYS_SENDTO, fd, p, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
}

// peek is receive, but leaves what is there.
func peek(fd uintptr, p []byte) (int, error) {
	return call(syscall.SYS_RECVFROM, fd, p, syscall.MSG_DONTWAIT|syscall.MSG_PEEK)
}

func call(number, fd uintptr, p []byte, flags uintptr) (int, error) {
	n, _, errno := syscall.RawSyscall6(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
