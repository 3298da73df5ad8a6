package socket

import (
	"io"
	"syscall"
	"time"
)

// A Pipe has bytes that are on their way from one socket to another: the kernel moves
// pages from the one into the pipe, and from the pipe to the other. It is lent by a
// [Pipes], and has to be released.
type Pipe struct {
	pool    *Pipes
	in, out int       // file descriptors
	since   time.Time // when it became idle
	n       int       // how many bytes it has

	fillStep, drainStep func(fd uintptr) (done bool)

	limit int       // how many bytes moveIn moves at most
	err   error     // an errno of moveIn
	to    *transfer // the transfer that moveOut writes for
}

const (
	// pipeSize is the capacity of a pipe if its pages are full. Data from a network
	// fills about a third of each page. An unprivileged user may have 64 pipes of
	// this size, which is also the largest size that such a user may set.
	pipeSize = 1 << 20

	// spliceSize is how much one system call moves at most.
	spliceSize = 512 << 10

	setPipeSize    = 1031 // F_SETPIPE_SZ
	spliceNonblock = 2    // SPLICE_F_NONBLOCK
)

// newPipe creates a pipe. It returns nil if it cannot, or if the pipe would get
// a reserved descriptor or be too small to be worth it.
func newPipe(isReserved func(fd uintptr) bool) *Pipe {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return nil
	}
	if isReserved(uintptr(max(fds[0], fds[1]))) {
		closePipe(fds)
		return nil
	}
	// If the user has too many pipes this fails, and the pipe has room for only
	// two pages: then copying costs less.
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fds[0]), setPipeSize, pipeSize); errno != 0 {
		closePipe(fds)
		return nil
	}
	p := &Pipe{in: fds[1], out: fds[0]}
	p.fillStep, p.drainStep = p.moveIn, p.moveOut
	return p
}

func closePipe(fds [2]int) {
	syscall.Close(fds[0])
	syscall.Close(fds[1])
}

func (p *Pipe) close() { closePipe([2]int{p.out, p.in}) }

// Len returns how many bytes are in p.
func (p *Pipe) Len() int { return p.n }

// fill moves at most limit bytes from a socket into p, which must be empty, and does not
// wait for them. It moves none, and returns no error, at the end of the input.
func (p *Pipe) fill(fd uintptr, limit int) (err error) {
	p.n, err = spliceNow(int(fd), p.in, limit)
	return err
}

// MoveTo moves as much of p to a socket as there is room for, which may be less than all
// of it without an error. Like [Write] it does not wait.
func (p *Pipe) MoveTo(fd uintptr) (int, error) {
	n, err := spliceNow(p.out, int(fd), p.n)
	p.n -= n
	return n, err
}

// splice does the work of ReadFrom in the kernel. An error of src is a
// [net.OpError] with Op "read", any other error one with Op "write".
func (c *Conn) splice(src socket, limited *io.LimitedReader) (written int64, err error) {
	from, err := src.SyscallConn()
	if err != nil {
		return 0, errNoSplice
	}
	p := c.pipes.get()
	if p == nil {
		return 0, errNoSplice
	}
	defer p.Release()
	for limited.N > 0 {
		err := p.fillFrom(from, int(min(limited.N, spliceSize)))
		if err == syscall.EINVAL && written == 0 {
			err = errNoSplice
		} else if err != nil {
			err = Error("read", "splice", src, err)
		}
		if err != nil || p.n == 0 {
			return written, err
		}
		limited.N -= int64(p.n)
		n, err := c.writeFrom(p)
		written += int64(n)
		if err != nil {
			return written, Error("write", "splice", c, err)
		}
	}
	return written, nil
}

// fillFrom is fill, but waits for something to move.
func (p *Pipe) fillFrom(from syscall.RawConn, limit int) error {
	p.limit = limit
	if err := from.Read(p.fillStep); err != nil {
		return err
	}
	return p.err
}

func (p *Pipe) moveIn(fd uintptr) bool {
	p.err = p.fill(fd, p.limit)
	return p.err != syscall.EAGAIN
}

// writeFrom moves what is in p to c.
func (c *Conn) writeFrom(p *Pipe) (written int, err error) {
	t := &c.out
	t.mu.Lock()
	defer t.mu.Unlock()
	p.to, t.n = t, 0
	err = t.run(p.drainStep)
	p.to = nil
	return t.n, err
}

// moveOut moves what there is room for, and reports whether writeFrom is done.
func (p *Pipe) moveOut(fd uintptr) bool {
	t := p.to
	start := t.n
	for t.err = nil; p.n > 0 && t.err == nil; {
		var n int
		n, t.err = p.MoveTo(fd)
		t.n += n
	}
	return t.record(fd, t.n > start)
}

// spliceNow splices without blocking. Like the other calls, it does not tell the
// scheduler.
func spliceNow(from, to, limit int) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(limit), spliceNonblock)
		if errno == 0 {
			return int(n), nil
		}
		if errno != syscall.EINTR {
			return 0, errno
		}
	}
}
