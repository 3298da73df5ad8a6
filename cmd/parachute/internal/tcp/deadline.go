package tcp

import (
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
}

// ask makes t the deadline of what goes on and of what begins from now on.
func (d *deadline) ask(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked, d.given = t, 0
	if d.patient && !t.IsZero() {
		d.given = time.Until(t)
	}
	if !t.IsZero() && (d.socket.IsZero() || t.Before(d.socket)) {
		return d.setLocked(t)
	}
	return nil
}

// cut ends what goes on, and leaves what was asked for: an operation that is to
// go on does.
func (d *deadline) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setLocked(longAgo)
}

func (d *deadline) setLocked(t time.Time) error {
	d.socket = t
	return d.set(t)
}

// expired is called when the socket's deadline has ended what has waited since
// then. It reports whether that is the end of it. If not, the socket gets the
// time when it will be.
func (d *deadline) expired(since time.Time) bool {
	_, renewed := d.renew(since)
	return !renewed
}

// renew sets the socket's deadline to when what has waited since then is to end,
// and returns that; zero: never. If it has passed already, or the socket takes
// none any more, the deadline is not renewed.
func (d *deadline) renew(since time.Time) (until time.Time, renewed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	until = d.asked
	if late := since.Add(d.given); !until.IsZero() && late.After(until) {
		until = late
	}
	return until, !isPast(until) && d.setLocked(until) == nil
}

func isPast(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }
