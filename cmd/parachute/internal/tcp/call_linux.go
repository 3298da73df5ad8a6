//go:build (amd64 || arm64) && !race

package tcp

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

// readNow reads from a socket what is there.
func readNow(fd uintptr, p []byte) (int, error) {
	return callNow(syscall.SYS_RECVFROM, fd, p, syscall.MSG_DONTWAIT)
}

// writeNow writes as much as a socket takes.
func writeNow(fd uintptr, p []byte) (int, error) {
	return callNow(syscall.SYS_SENDTO, fd, p, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
}

func callNow(number, fd uintptr, p []byte, flags uintptr) (int, error) {
	n, _, errno := syscall.RawSyscall6(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
