//go:build !386

package socket

import (
	"syscall"
	"unsafe"
)

// getsockopt reads an option of a socket into the size bytes at value, and sets size to
// how many there were.
func getsockopt(fd uintptr, level, name int, value unsafe.Pointer, size *uint32) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_GETSOCKOPT, fd, uintptr(level), uintptr(name),
		uintptr(value), uintptr(unsafe.Pointer(size)), 0)
	return errno
}
