package upstream

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/shahnk19/parachute/internal/socket"
)

// errStalled is the error of a write that has waited for too long.
var errStalled = errors.New("the target takes nothing more of the request")

// stallLooks is how often within its patience a write looks whether bytes still go. So it
// gives up at most an eighth of its patience too late.
const stallLooks = 8

// write writes p to the target. It waits for room as long as bytes that were
// written before keep going, but no longer than c's patience while none
// does: then it returns errStalled. Waiting for the one who calls it costs no
// patience.
func (c *targetConn) write(p []byte) (int, error) {
	if !c.secured {
		return c.writeRaw(p)
	}
	return c.nc.Write(p) // which writes by writeRaw
}

// writeRaw is write below TLS.
func (c *targetConn) writeRaw(p []byte) (n int, err error) {
	if !c.socket {
		c.timeFirstWrite()
		if n, err = c.raw.Write(p); !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		p = p[n:]
	}
	m, err := c.writePatiently(p)
	return n + m, err
}

// writePatiently is write for what may have to be timed.
func (c *targetConn) writePatiently(p []byte) (int, error) {
	w := &c.writing
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = p
	err := c.writeAll(w)
	n := len(p) - len(w.rest)
	w.rest = nil
	return n, err
}

// writePipe is write for what is in p. c must be bare.
func (c *targetConn) writePipe(p *socket.Pipe) error {
	w := &c.writing
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pipe = p
	err := c.writeAll(w)
	w.pipe = nil
	return err
}

// writeAll writes what w has, unless that takes too long.
func (c *targetConn) writeAll(w *writing) error {
	w.stall = socket.Stall{}
	for {
		left := w.left()
		err := c.writeOn(w)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = c.goOn(w, w.left() < left, err)
		} else if err == nil || w.left() == 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// A writing is a write that goes on. What it waits for is room.
type writing struct {
	step func(fd uintptr) bool // bound once, lest each write makes an object

	mu     sync.Mutex   // held for as long as a write lasts; guards the fields below
	rest   []byte       // of what is to be written; nil between writes, lest a connection that is idle keeps a piece
	pipe   *socket.Pipe // what is in it is to be written, in place of rest; nil: rest is
	failed error
	stall  socket.Stall // how long it has waited for room; zero: it does not wait
}

// left returns how many bytes are to be written.
func (w *writing) left() int {
	if w.pipe != nil {
		return w.pipe.Len()
	}
	return len(w.rest)
}

// writeNow writes what there is room for.
func (w *writing) writeNow(fd uintptr) (n int, err error) {
	if w.pipe != nil {
		return w.pipe.MoveTo(fd)
	}
	n, err = socket.Write(fd, w.rest)
	w.rest = w.rest[n:]
	return n, err
}

// writeOn goes on with w up to an error, which may be that it waits too long.
func (c *targetConn) writeOn(w *writing) error {
	if !c.socket {
		n, err := c.raw.Write(w.rest)
		w.rest = w.rest[n:]
		return err
	}
	err := c.sys.Write(w.step)
	if err == nil {
		err = w.failed
	}
	if err != nil {
		return c.socketError("write", err)
	}
	return nil
}

// stepWrite writes what there is room for, within a RawConn.Write.
func (c *targetConn) stepWrite(fd uintptr) bool {
	w := &c.writing
	for w.failed = nil; w.left() > 0 && w.failed == nil; {
		var n int
		if n, w.failed = w.writeNow(fd); n > 0 {
			w.stall = socket.Stall{}
		}
	}
	if w.failed != syscall.EAGAIN {
		return true
	}
	if !w.stall.HasBegun() {
		c.wait(w, socket.Unsent(fd))
	}
	return false
}

// wait begins a wait of w. unsent is how much of what was written is on its way.
func (c *targetConn) wait(w *writing, unsent int) {
	if c.patience.Load() > 0 {
		w.stall.Begin(time.Now(), unsent)
	}
	c.lookAgain(w, w.stall.Since())
}

// goOn returns nil if w may last longer, although a deadline, which err tells,
// has passed. If something was moved before that, its wait begins anew.
func (c *targetConn) goOn(w *writing, moved bool, err error) error {
	now, left := time.Now(), c.unsent()
	if moved || !w.stall.HasBegun() {
		w.stall.Begin(now, left)
	} else {
		w.stall.Observe(now, left)
	}
	patience := time.Duration(c.patience.Load())
	switch {
	case c.writes.HasPassed():
		return err
	case patience > 0 && w.stall.Left(patience, now) <= 0:
		return errStalled
	}
	return c.lookAgain(w, now)
}

// timeFirstWrite sets a write deadline on what is no socket, if none is set: there, a write
// that waits is noticed only by its deadline. From then on there always is one, if only one
// that was left behind; the wait of a write begins when that passes.
func (c *targetConn) timeFirstWrite() {
	patience := time.Duration(c.patience.Load())
	if patience <= 0 {
		return
	}
	if !c.writes.IsApplied() {
		now := time.Now()
		c.writes.Wake(now.Add(patience/stallLooks), now)
	}
}

// lookAgain sets the time of the next look at w.
func (c *targetConn) lookAgain(w *writing, now time.Time) error {
	var at time.Time
	if patience := time.Duration(c.patience.Load()); patience > 0 && w.stall.HasBegun() {
		at = w.stall.NextLook(patience, stallLooks, now)
	}
	return c.writes.Wake(at, now)
}

// unsent returns how much of what was written is on its way, as far as that can
// be known.
func (c *targetConn) unsent() (n int) {
	if c.socket {
		c.sys.Control(func(fd uintptr) { n = socket.Unsent(fd) })
	}
	return n
}
