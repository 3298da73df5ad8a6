// Package descriptors shares out the file descriptors of a process, of which the
// system lets it have so many at once. Clients could take all of them; then no
// target could be connected to, no target probed, and no file read.
//
// So a part is kept in reserve, for probes, files and whoever operates the proxy.
// What is opened for a client (its connection, one to a target, a file for its body)
// is closed at once if its descriptor is of the reserve. No count is needed for
// that: the system gives out the lowest free number, so a descriptor's own number
// is a lower bound of how many are in use.
package descriptors

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"syscall"
)

// ErrReserved is the error for a descriptor that was closed at once because it was
// of the reserve. IsShortage reports true for it.
var ErrReserved = fmt.Errorf("%w, but for those kept for health checks and files", syscall.EMFILE)

// HowToRaise says how to raise the limit of descriptors.
const HowToRaise = "raise the limit of open files, as with LimitNOFILE= of systemd, --ulimit nofile= of Docker, or ulimit -n"

// Advice says what to do about an error that IsShortage reports.
func Advice(err error) string {
	switch {
	case strings.Contains(err.Error(), syscall.ENFILE.Error()): // a *net.DNSError keeps the text alone
		return "the whole machine has too many files open: find out who has, or raise fs.file-max"
	case errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
		return "the machine has no memory left for it"
	}
	return HowToRaise
}

// IsShortage reports whether err says that the process, or the machine, can open
// no more descriptors. Such an error says nothing about what was to be opened.
func IsShortage(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	// A *net.DNSError keeps the text alone.
	name, ok := errors.AsType[*net.DNSError](err)
	return ok && (strings.Contains(name.Err, syscall.EMFILE.Error()) || strings.Contains(name.Err, syscall.ENFILE.Error()))
}

// reserve returns how many of limit are kept in reserve.
func reserve(limit int) int { return min(max(limit/8, 24), 1024, limit/2) }

// own is about how many descriptors an idle proxy has open: for its listeners, its
// output, its locks.
const own = 32

// Clients returns how many client connections a process with that limit of
// descriptors may have at once, so that each leaves one descriptor for a connection
// to a target. The result is positive. A limit of 0 is no limit.
func Clients(limit int) int {
	if limit <= 0 {
		return math.MaxInt
	}
	return max((limit-reserve(limit)-own)/2, 1)
}

// Monitors returns how many connections there may be at once that ask for the state
// of the proxy. They use the reserve, and leave most of it free.
func Monitors(limit int) int {
	if limit <= 0 {
		return math.MaxInt
	}
	return max(reserve(limit)/4, 1)
}

// IsReserved reports whether a descriptor that was just opened is of the reserve.
func IsReserved(fd uintptr) bool { return new(Reserve).Has(fd) }

// A Reserve is IsReserved for who asks often: it asks the system for the limit once in
// askSeldom times, and where a descriptor would be of the reserve. So a limit that somebody
// else has lowered is noticed soon. Its zero value is ready. It is used by one goroutine
// at a time.
type Reserve struct {
	begin uintptr // the first descriptor of it
	known int     // for how many more descriptors that holds
}

const askSeldom = 64

// Has reports whether a descriptor that was just opened is of the reserve.
func (r *Reserve) Has(fd uintptr) bool {
	if r.known == 0 || fd >= r.begin {
		r.begin, r.known = math.MaxUint, askSeldom
		if limit := Limit(); limit > 0 {
			r.begin = uintptr(limit - reserve(limit))
		}
	}
	r.known--
	return fd >= r.begin
}

// TakesReserve reports whether the descriptor of something that was just opened is
// of the reserve. It returns false if opened has no descriptor.
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
