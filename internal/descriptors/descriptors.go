// Package descriptors shares out the file descriptors of a process, of which the
// system lets it have so many at once. Clients could take all of them; then no
// target could be connected to, no target probed, and no file read.
//
// So a part is kept in reserve, for probes, files and whoever operates the proxy.
// What is opened because a client wants it (its connection, that to a target, a
// file for its body) is closed again where it is one of those. Nobody has to
// count for that: the system gives out the lowest number that is free, so that
// the number itself tells how many are in use at least.
package descriptors

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"syscall"
)

// ErrReserved is a shortage: what was opened had to be closed again, for it was
// one of those that are kept in reserve.
var ErrReserved = fmt.Errorf("%w, but for those kept for health checks and files", syscall.EMFILE)

// HowToRaise says what to do about a limit that is reached.
const HowToRaise = "raise the limit of open files, as with LimitNOFILE= of systemd, --ulimit nofile= of Docker, or ulimit -n"

// Advice says what to do about an error that IsShortage reports.
func Advice(err error) string {
	switch {
	case strings.Contains(err.Error(), syscall.ENFILE.Error()): // of which there may be no more than the words
		return "the whole machine has too many files open: find out who has, or raise fs.file-max"
	case errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
		return "the machine has no memory left for it"
	}
	return HowToRaise
}

// IsShortage reports whether err says that the process, or the machine, can open
// nothing more. Whatever was to be opened is not to blame for that.
func IsShortage(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	// A resolver keeps no more than the words.
	name, ok := errors.AsType[*net.DNSError](err)
	return ok && (strings.Contains(name.Err, syscall.EMFILE.Error()) || strings.Contains(name.Err, syscall.ENFILE.Error()))
}

// reserve returns how many of limit are kept in reserve.
func reserve(limit int) int { return min(max(limit/8, 24), 1024, limit/2) }

// own is about how many a proxy has open that nobody uses: its listeners, its
// output, its locks.
const own = 32

// Clients returns how many connections of clients a process may have at once that
// may have limit descriptors, 0 being none to speak of: as many as leave one more
// for each, which is for its target. It is positive.
func Clients(limit int) int {
	if limit <= 0 {
		return math.MaxInt
	}
	return max((limit-reserve(limit)-own)/2, 1)
}

// Monitors returns how many connections there may be at once to where the state of
// the proxy is asked for: these are of the reserve, and leave most of it.
func Monitors(limit int) int {
	if limit <= 0 {
		return math.MaxInt
	}
	return max(reserve(limit)/4, 1)
}

// IsReserved reports whether a descriptor that was just opened is one of those that
// are kept in reserve.
func IsReserved(fd uintptr) bool {
	limit := Limit()
	return limit > 0 && fd >= uintptr(limit-reserve(limit))
}

// TakesReserve is IsReserved for something that was just opened. What has no
// descriptor takes none.
func TakesReserve(opened any) (taken bool) {
	c, ok := opened.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) { taken = IsReserved(fd) })
	return err == nil && taken
}
