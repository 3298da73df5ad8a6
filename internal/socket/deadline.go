package socket

import (
	"sync"
	"time"
)

// A Deadline is the deadline of the reads or of the writes of a connection. It is set
// no more often than it has to: to set the connection's own costs as much as a small
// read, and several are wanted for each request, none of which passes as a rule. So Set
// leaves it alone where it is earlier than what is wanted: an operation that it ends too
// early calls Renew, and is tried again.
//
// The methods may be called from any goroutine.
type Deadline struct {
	// Apply sets the connection's own deadline. It is its SetReadDeadline or its
	// SetWriteDeadline.
	Apply func(t time.Time) error

	// Extends says that the deadline is there to find a peer that takes nothing:
	// Renew puts it off for one that takes something, however slowly.
	Extends bool

	mu      sync.Mutex    // guards the fields below
	due     time.Time     // when operations are to be given up; zero: never
	allowed time.Duration // how far off due was when it was set, if Extends
	applied time.Time     // the connection's own deadline
}

// Set makes t the deadline of the operations that go on and of those that begin
// from now on; the zero t means none.
func (d *Deadline) Set(t time.Time) error {
	d.mu.Lock()
	d.setLocked(t)
	if t.IsZero() || !d.applied.IsZero() && !t.Before(d.applied) {
		d.mu.Unlock()
		return nil
	}
	defer d.mu.Unlock()
	return d.applyLocked(t)
}

// SetNow is Set for operations that do not call Renew: the connection's own
// deadline is t when it returns.
func (d *Deadline) SetNow(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setLocked(t)
	if t.Equal(d.applied) {
		return nil
	}
	return d.applyLocked(t)
}

func (d *Deadline) setLocked(t time.Time) {
	d.due, d.allowed = t, 0
	if d.Extends && !t.IsZero() {
		d.allowed = time.Until(t)
	}
}

// Wake ends the operations that go on at t, or when the deadline passes if that is
// earlier; the zero t means only then. They may be ended earlier where the
// connection's own deadline is, if that lies after now. The deadline stays what it
// was.
func (d *Deadline) Wake(t, now time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.due.IsZero() && (t.IsZero() || d.due.Before(t)) {
		t = d.due
	}
	earlier := d.applied.After(now) && !d.applied.After(t)
	if earlier || t.IsZero() && d.applied.IsZero() {
		return nil
	}
	return d.applyLocked(t)
}

// IsApplied reports whether the connection has a deadline of its own, which may have
// passed.
func (d *Deadline) IsApplied() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.applied.IsZero()
}

// setUnlessSet makes t the connection's own deadline, unless there is a deadline.
func (d *Deadline) setUnlessSet(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.due.IsZero() {
		return nil
	}
	return d.applyLocked(t)
}

// isSet reports whether there is a deadline.
func (d *Deadline) isSet() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.due.IsZero()
}

// HasPassed reports whether there is a deadline and it has passed.
func (d *Deadline) HasPassed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return isPast(d.due)
}

// Renew is called when the connection's own deadline has ended an operation whose
// peer has taken nothing since then. It reports whether the operation is to be
// tried again, and until when; zero: for ever. It is not where the deadline has
// passed, or the connection takes none any more. If the deadline extends, the operation
// may be ended earlier, for the next look at the peer.
func (d *Deadline) Renew(since time.Time) (until time.Time, again bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	until = d.due
	if extended := since.Add(d.allowed); !until.IsZero() && extended.After(until) {
		until = extended
	}
	if isPast(until) {
		return until, false
	}
	at := until
	if look := time.Now().Add(d.allowed / looks); d.allowed > 0 && look.Before(until) {
		at = look
	}
	return until, d.applyLocked(at) == nil
}

// lookLater is called at now, when an operation begins to wait for its peer or the peer
// has taken something. If the deadline extends, the operation will be ended in time to
// look at the peer again.
func (d *Deadline) lookLater(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.allowed <= 0 {
		return
	}
	if at := now.Add(d.allowed / looks); !d.applied.After(now) || d.applied.After(at) {
		d.applyLocked(at)
	}
}

func (d *Deadline) applyLocked(t time.Time) error {
	d.applied = t
	return d.Apply(t)
}

func isPast(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }
