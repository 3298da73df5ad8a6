package poller

import (
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// A Poller tells of which sockets there is something to be read. It has a descriptor until it
// is closed.
type Poller struct {
	file   *os.File // of an epoll
	sys    syscall.RawConn
	events [maxEvents]syscall.EpollEvent
	keys   [maxEvents]uint64
}

// maxEvents is of how many sockets Wait tells at once.
const maxEvents = 64

// New returns a Poller of no sockets.
func New() (*Poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // so that the runtime's poller takes it
		syscall.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return newPoller(os.NewFile(uintptr(fd), "epoll"))
}

// newPoller returns the Poller of an epoll. It fails, and closes that, if the runtime's poller
// has not taken it, of which the os package says nothing: no Wait could wait then.
func newPoller(epoll *os.File) (*Poller, error) {
	p := &Poller{file: epoll}
	err := epoll.SetDeadline(time.Time{})
	if err == nil {
		p.sys, err = epoll.SyscallConn()
	}
	if err != nil {
		epoll.Close()
		return nil, err
	}
	return p, nil
}

// Notify has Wait return key, once, when there is something to be read from the socket fd, or
// its end, or an error; that may be so already. It takes the place of the Notify before it for
// the same socket. To close the socket undoes it, but Wait may return the key a moment later
// still. Notify may be called from any goroutine.
func (p *Poller) Notify(fd uintptr, key uint64) error {
	var err error
	failed := p.sys.Control(func(own uintptr) {
		event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLONESHOT, Fd: int32(key), Pad: int32(key >> 32)}
		err = syscall.EpollCtl(int(own), syscall.EPOLL_CTL_MOD, int(fd), &event)
		if err == syscall.ENOENT { // it is the first Notify
			err = syscall.EpollCtl(int(own), syscall.EPOLL_CTL_ADD, int(fd), &event)
		}
	})
	if failed != nil {
		return net.ErrClosed
	}
	return os.NewSyscallError("epoll_ctl", err)
}

// Wait returns the keys of the sockets that there is something to be read from, at least one,
// or [net.ErrClosed] when the Poller is closed. The next Wait overwrites them. It is called by
// one goroutine at a time.
func (p *Poller) Wait() (keys []uint64, err error) {
	n := 0
	failed := p.sys.Read(func(own uintptr) (done bool) {
		n, err = p.poll(own)
		return n > 0 || err != nil
	})
	switch {
	case failed != nil:
		return nil, net.ErrClosed
	case err != nil:
		return nil, os.NewSyscallError("epoll_wait", err)
	}
	for i, event := range p.events[:n] {
		p.keys[i] = uint64(uint32(event.Fd)) | uint64(uint32(event.Pad))<<32
	}
	return p.keys[:n], nil
}

// poll puts into events what has happened, without waiting. So the scheduler is not told of
// the system call: that would wake its monitor, which then stays awake for a while.
func (p *Poller) poll(own uintptr) (n int, err error) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, own, uintptr(unsafe.Pointer(&p.events)), maxEvents, 0, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// Close ends a Wait, and gives the descriptor back.
func (p *Poller) Close() error { return p.file.Close() }

// SyscallConn gives access to the descriptor.
func (p *Poller) SyscallConn() (syscall.RawConn, error) { return p.sys, nil }
