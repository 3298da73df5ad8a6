package socket

import (
	"io"
	"syscall"
)

// A PipeReader is a reader that can leave what it reads in the kernel.
type PipeReader interface {
	// ReadPipe is Read, but what it reads, at most limit bytes, is in the pipe that it
	// returns, which may come with an error. The pipe is not empty, and has to be
	// released. If it returns neither a pipe nor an error, nothing was read, and a Read
	// is what is possible now.
	ReadPipe(limit int) (*Pipe, error)
}

// ReadPipe is that of a [PipeReader]. It has no pipe for as long as it waits.
func (c *Conn) ReadPipe(limit int) (*Pipe, error) {
	if c.sys == nil || c.pipes == nil {
		return nil, nil
	}
	t := &c.in
	t.mu.Lock()
	defer t.mu.Unlock()
	var p *Pipe
	err := t.run(func(fd uintptr) (done bool) {
		if p = c.pipes.get(); p == nil {
			t.err = nil
			return true
		}
		t.err = p.fill(fd, limit)
		found := t.err == syscall.EAGAIN && c.hasInput(fd)
		if found { // unless that has come just now
			t.err = p.fill(fd, limit)
		}
		if t.err != nil {
			p.Release()
			p = nil
		}
		if found && t.err == syscall.EAGAIN {
			t.err = nil
			return true
		}
		return t.record(fd, false)
	})
	switch {
	case err == syscall.EINVAL: // it is a socket that cannot be spliced from
		return nil, nil
	case err != nil:
		return nil, Error("read", "splice", c, err)
	case p != nil && p.n == 0:
		p.Release()
		return nil, io.EOF
	}
	return p, nil
}

// hasInput reports whether a Read would find something. The kernel does not splice what is
// behind a byte of urgent data, and nothing more may come that would end a wait. It is
// called by whoever reads.
func (c *Conn) hasInput(fd uintptr) bool {
	_, err := Peek(fd, c.one[:])
	return err != syscall.EAGAIN
}
