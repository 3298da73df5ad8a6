package socket

import (
	"io"
	"syscall"
	"time"
)

// A pipe is a pipe to splice through: the kernel moves pages from one socket
// into the pipe, and from the pipe to another socket.
type pipe struct {
	in, out int       // file descriptors
	since   time.Time // when it became idle

	fillStep, drainStep func(fd uintptr) (done bool)

	want int       // how many bytes to move
	n    int       // how many bytes moveIn has moved
	err  error     // an errno of moveIn
	to   *transfer // the transfer that moveOut writes for
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
func newPipe(isReserved func(fd uintptr) bool) *pipe {
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
	p := &pipe{in: fds[1], out: fds[0]}
	p.fillStep, p.drainStep = p.moveIn, p.moveOut
	return p
}

func closePipe(fds [2]int) {
	syscall.Close(fds[0])
	syscall.Close(fds[1])
}

func (p *pipe) close() { closePipe([2]int{p.out, p.in}) }

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
	reusable := true
	defer func() { c.pipes.put(p, reusable) }()
	for limited.N > 0 {
		n, err := p.fill(from, int(min(limited.N, spliceSize)))
		if err == syscall.EINVAL && written == 0 {
			err = errNoSplice
		} else if err != nil {
			err = Error("read", "splice", src, err)
		}
		if err != nil || n == 0 {
			return written, err
		}
		limited.N -= int64(n)
		reusable = false // the pipe is not empty
		n, err = c.drain(p, n)
		written += int64(n)
		if err != nil {
			return written, Error("write", "splice", c, err)
		}
		reusable = true
	}
	return written, nil
}

// fill moves at most limit bytes into p, which must be empty. It moves none at
// the end of the input.
func (p *pipe) fill(from syscall.RawConn, limit int) (int, error) {
	p.want = limit
	if err := from.Read(p.fillStep); err != nil {
		return 0, err
	}
	return p.n, p.err
}

func (p *pipe) moveIn(fd uintptr) bool {
	p.n, p.err = spliceNow(int(fd), p.in, p.want)
	return p.err != syscall.EAGAIN
}

// drain moves the n bytes in p to c.
func (c *Conn) drain(p *pipe, n int) (written int, err error) {
	t := &c.out
	t.mu.Lock()
	defer t.mu.Unlock()
	p.to, p.want, t.n = t, n, 0
	err = t.run(p.drainStep)
	p.to = nil
	return t.n, err
}

// moveOut splices without blocking, and reports whether drain is done.
func (p *pipe) moveOut(fd uintptr) bool {
	t := p.to
	start := t.n
	for t.err = nil; t.n < p.want && t.err == nil; {
		var n int
		n, t.err = spliceNow(p.out, int(fd), p.want-t.n)
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
