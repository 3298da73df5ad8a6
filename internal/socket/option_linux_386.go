package socket

import (
	"syscall"
	"unsafe"
)

// socketcallGetsockopt is which of the calls about sockets is made: they are one system
// call on this architecture.
const socketcallGetsockopt = 15

// getsockopt reads an option of a socket into the size bytes at value, and sets size to
// how many there were.
func getsockopt(fd uintptr, level, name int, value unsafe.Pointer, size *uint32) syscall.Errno {
	args := struct {
		fd, level, name uintptr
		value, size     unsafe.Pointer
	}{fd, uintptr(level), uintptr(name), value, unsafe.Pointer(size)}
	_, _, errno := syscall.RawSyscall(syscall.SYS_SOCKETCALL, socketcallGetsockopt, uintptr(unsafe.Pointer(&args)), 0)
	return errno
}
