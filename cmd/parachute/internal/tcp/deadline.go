package tcp

import (
	"os"
	"sync"
	"time"
)

// A deadline is when a conn is to give up reading, or writing. To set that of a
// socket costs as much as a small read, and a server asks for several with each
// request, none of which passes as a rule. So what the socket has is left alone
// where it is earlier than what is asked for: an operation that it ends too early
// has the right one set, and goes on.
//
// A patient one, which is of writing, is there to find a client that takes nothing
// of what there is to take. For one that takes something, however slowly, it is
// put off.
type deadline struct {
	set     func(t time.Time) error // sets that of the socket
	patient bool

	mu     sync.Mutex    // guards what follows
	asked  time.Time     // zero: never
	given  time.Duration // how far off that was, of a patient one
	socket time.Time     // what the socket has
	unset  bool          // asked came in a pause, and the socket is still to get it

	paused bool        // there is a Read that pauses
	timer  *time.Timer // ends the pause; nil: there never was one
	goOn   chan error  // gets how it ends
}

// ask makes t the deadline of what goes on and of what begins from now on.
func (d *deadline) ask(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked, d.given = t, 0
	if d.patient && !t.IsZero() {
		d.given = time.Until(t)
	}
	earlier := !t.IsZero() && (d.socket.IsZero() || t.Before(d.socket))
	if d.paused && isPast(t) {
		d.unset = earlier
		d.resumeLocked(os.ErrDeadlineExceeded)
		return nil
	}
	if d.unset = false; earlier {
		return d.setLocked(t)
	}
	return nil
}

func (d *deadline) setLocked(t time.Time) error {
	d.socket, d.unset = t, false
	return d.set(t)
}

// begin is called when an operation begins.
func (d *deadline) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unset {
		d.setLocked(d.asked)
	}
}

// expired is called when the socket's deadline has ended what has waited since
// then. It reports whether that is the end of it. If not, the socket gets the
// time when it will be.
func (d *deadline) expired(since time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	until := d.asked
	if late := since.Add(d.given); !until.IsZero() && late.After(until) {
		until = late
	}
	return isPast(until) || d.setLocked(until) != nil
}

func isPast(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

// pauseTime is how long a Read into a single byte waits before it looks for one.
// Such a Read is how net/http notices that a client leaves: it begins one with
// every request, and takes it back by a deadline in the past when the request
// is answered. Most are before they are worth a look, which is a system call, a
// wait and two deadlines of the socket.
const pauseTime = 10 * time.Millisecond

// pause returns after pauseTime, or with an error as soon as the deadline is in
// the past. It is called by one goroutine at a time.
func (d *deadline) pause() error {
	d.mu.Lock()
	if isPast(d.asked) {
		d.mu.Unlock()
		return os.ErrDeadlineExceeded
	}
	if d.timer == nil {
		d.goOn = make(chan error, 1)
		d.timer = time.AfterFunc(pauseTime, d.resume)
	} else {
		d.timer.Reset(pauseTime)
	}
	d.paused = true
	d.mu.Unlock()
	return <-d.goOn
}

// resume ends a pause, or the next one if the timer fired too late for its own.
func (d *deadline) resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.paused {
		d.resumeLocked(nil)
	}
}

func (d *deadline) resumeLocked(err error) {
	d.timer.Stop()
	d.paused = false
	d.goOn <- err
}
