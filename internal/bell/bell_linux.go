package bell

import (
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// A Bell wakes the goroutine that waits for it. It has a descriptor until it is closed.
type Bell struct {
	file *os.File // of an eventfd, which nobody reads: each write is news to the poller
	sys  syscall.RawConn
	rung atomic.Bool
}

// New returns a Bell that has not rung.
func New() (*Bell, error) {
	fd, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return nil, os.NewSyscallError("eventfd2", errno)
	}
	return newBell(os.NewFile(fd, "bell"))
}

// newBell returns the Bell of an eventfd. It fails, and closes that, if the runtime's poller
// has not taken it, of which the os package says nothing: no Wait could wait then.
func newBell(event *os.File) (*Bell, error) {
	b := &Bell{file: event}
	err := event.SetDeadline(time.Time{})
	if err == nil {
		b.sys, err = event.SyscallConn()
	}
	if err != nil {
		event.Close()
		return nil, err
	}
	return b, nil
}

// Ring has a Wait return, the one that goes on or else the next. To ring again before it
// has returned changes nothing. Ring may be called from any goroutine; what was written
// before it can be read after that Wait.
func (b *Bell) Ring() {
	b.rung.Store(true)
	_ = b.sys.Control(notify) // closed: nobody waits
}

// notify tells the poller of an eventfd that something has happened.
func notify(fd uintptr) {
	one := uint64(1)
	_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one))
}

// Wait returns when the Bell has rung since the last Wait returned, or with [os.ErrClosed]
// when it is closed. It is called by one goroutine at a time.
func (b *Bell) Wait() error {
	if b.sys.Read(func(uintptr) (done bool) { return b.rung.Swap(false) }) != nil {
		return os.ErrClosed
	}
	return nil
}

// Close ends a Wait, and gives the descriptor back.
func (b *Bell) Close() error { return b.file.Close() }

// SyscallConn gives access to the descriptor.
func (b *Bell) SyscallConn() (syscall.RawConn, error) { return b.sys, nil }
