package socket

import (
	"syscall"
	"unsafe"
)

// Unsent returns how much of what was written to a socket its peer has not taken
// yet. A socket tells that it has room only when it has a lot of it, which at a
// slow peer takes time.
func Unsent(fd uintptr) int {
	var n int32
	if _, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n))); errno != 0 {
		return 0
	}
	return int(n)
}
