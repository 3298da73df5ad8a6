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
// those in reserve, or there is none. open is one that is.
func AreShort(open syscall.RawConn) (short bool) {
	err := open.Control(func(fd uintptr) {
		next, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
		if errno != 0 {
			short = true
			return
		}
		short = IsReserved(next)
		syscall.Close(int(next))
	})
	return err == nil && short
}
