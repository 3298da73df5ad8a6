package socket

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A transfer is one direction of a Conn.
type transfer struct {
	deadline Deadline
	sys      syscall.RawConn
	unsent   func(fd uintptr) int // Unsent; nil: it reads

	patience atomic.Int64 // how many ns an operation may wait that has no deadline

	mu      sync.Mutex // held during an operation; guards the fields below
	step    func(fd uintptr) (done bool)
	p       []byte        // the buffer to read into or to write
	n       int           // bytes read or written so far
	err     error         // an errno
	blocked bool          // the operation waits for the peer
	stall   Stall         // in which it waits
	limit   time.Duration // how long it may, if there is no deadline; not positive: for ever
}

// call calls step when the socket is ready, until it is done.
func (t *transfer) call(step func(fd uintptr) (done bool)) error {
	if t.unsent == nil {
		return t.sys.Read(step)
	}
	return t.sys.Write(step)
}

// record is called after each attempt on fd, with whether it wrote something. It
// records since when the peer is waited for, and reports whether the operation is done.
func (t *transfer) record(fd uintptr, something bool) (done bool) {
	done = t.err != syscall.EAGAIN
	if !done && (something || !t.blocked) {
		now := time.Now()
		t.stall.Begin(now, t.onItsWay(fd))
		if t.deadline.isSet() {
			t.deadline.lookLater(now)
		} else if t.limit > 0 {
			t.deadline.Wake(t.stall.NextLook(t.limit, t.looksWithin(), now), now)
		}
	}
	t.blocked = !done
	return done
}

// run calls step until it is done, and returns its error, or until the deadline or
// the patience has passed.
func (t *transfer) run(step func(fd uintptr) (done bool)) error {
	t.blocked, t.limit = false, time.Duration(t.patience.Load())
	err := t.call(step)
	for begun := false; err != nil; begun = true {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if !begun && !t.blocked {
			t.stall.Begin(time.Now(), 0) // the deadline had passed before the first attempt
		}
		if t.blocked && t.tryNow(step) {
			return t.err
		}
		if !t.goOn() {
			return err
		}
		err = t.callAgain(step)
	}
	return t.err
}

// callAgain is call, but for the first attempt, which comes before the poller is asked.
func (t *transfer) callAgain(step func(fd uintptr) bool) error {
	tried := false
	return t.call(func(fd uintptr) bool {
		if !tried {
			tried = true
			return t.try(fd, step)
		}
		return step(fd)
	})
}

// goOn is called when the connection's own deadline has ended an operation. It
// reports whether that is to be tried again.
func (t *transfer) goOn() bool {
	if t.limit <= 0 || t.deadline.isSet() {
		_, again := t.deadline.Renew(t.stall.Since())
		return again
	}
	now := time.Now()
	return t.stall.Left(t.limit, now) > 0 && t.deadline.Wake(t.stall.NextLook(t.limit, t.looksWithin(), now), now) == nil
}

// looks is how often a peer that a write waits for is looked at during the time that it
// has. When it took something is known that exactly.
const looks = 4

// looksWithin returns how often the peer is looked at within the time that it has.
func (t *transfer) looksWithin() int {
	if t.unsent == nil {
		return 1
	}
	return looks
}

// onItsWay returns how much was written that the peer has not taken, or 0 if nobody
// knows.
func (t *transfer) onItsWay(fd uintptr) int {
	if t.unsent == nil {
		return 0
	}
	return t.unsent(fd)
}

// tryNow is try when the deadline has passed.
func (t *transfer) tryNow(step func(fd uintptr) bool) (done bool) {
	err := t.sys.Control(func(fd uintptr) { done = t.try(fd, step) })
	return err == nil && done
}

// try calls step although the poller has not reported room. The system reports it
// only when a third of the send buffer is free, and a slow client may take less than
// that before the deadline.
//
// If the client has taken nothing, step is not called: the system may find some more
// room all the same, for the rest of the operation even.
func (t *transfer) try(fd uintptr, step func(fd uintptr) bool) (done bool) {
	if left := t.onItsWay(fd); t.blocked && left > 0 && !t.stall.Observe(time.Now(), left) {
		return false
	}
	return step(fd)
}
