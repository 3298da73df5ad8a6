package descriptors

import (
	"math"
	"syscall"
)

// Limit returns how many descriptors the process may have open now; 0: nothing is
// known of a limit. Go has raised it, at the start of the program, as far as the
// process may.
func Limit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(limit.Cur, math.MaxInt32))
}

// AreShort reports whether the next descriptor that is opened would be one of
// those in reserve, or there is none.
func AreShort() bool {
	const closeOnExec = syscall.O_CLOEXEC // EFD_CLOEXEC is the same
	fd, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, closeOnExec, 0)
	if errno != 0 {
		return IsShortage(errno)
	}
	syscall.Close(int(fd))
	return IsReserved(fd)
}
