package tcp

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/deadline"
)

// ConnContext is for the field of that name of an [http.Server] that serves a
// listener of this package: with it the server's requests cost less. Their
// contexts end when their client leaves, as they do without, but nothing tells
// an [http.CloseNotifier]. On Linux they do so too where the client has sent
// further requests ahead.
//
// The first Read after SetReadDeadline was called with a zero time returns
// nothing, no byte and no error, if it is into a single byte, until SetDeadline
// was called, as a server does with a connection that is hijacked. Close ends
// the context.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*conn); ok {
		ctx, c.watch.left = context.WithCancel(ctx)
	}
	return ctx
}

// lookAfter is how long a watch has been on when it begins to look. Most are over
// before that.
const lookAfter = 10 * time.Millisecond

// longAgo is the deadline by which net/http takes back a Read.
var longAgo = time.Unix(1, 0)

// A watch finds out that the client of a request has left: that it has closed the
// connection, or its side of it.
//
// net/http does that with a Read into a single byte. It begins one with every
// request, or where its body ends: it clears the read deadline, and reads on a
// goroutine of its own. When the request is answered and the Read goes on, or has
// not even begun, it sets the deadline to longAgo, waits for the goroutine, and
// clears the deadline again.
//
// Here such a Read returns at once, without a byte or an error, and net/http, for
// which that is the end of it, has nothing to take back but a Read that has not
// begun. What it would have found is looked for in its stead, when a request
// lasts, and ends the context that it has from ConnContext. The watch goes on
// until more is read: a server that has read several requests at once answers all
// of them meanwhile. Were net/http to try twice, it would be let.
type watch struct {
	left context.CancelFunc // ends the requests' contexts; nil: there is no watch

	mu    sync.Mutex  // guards what follows
	over  bool        // there will be no more
	due   bool        // the deadline was cleared, and nothing was read since
	on    bool        // there was a Read into a byte, which got nothing, and none after it
	timer *time.Timer // begins to look; nil: there never was a watch
	busy  bool        // the timer runs, or what it began
	idle  sync.Cond   // busy became false
}

// cleared is called when there is to be no read deadline.
func (w *watch) cleared() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due = true
}

// takeOver is called before size bytes are read. It reports whether they are
// not to be read, because that is a watch of net/http, whose place this one has
// taken. Otherwise it ends this one.
func (c *conn) takeOver(size int) bool {
	w := &c.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	due := w.due
	w.due = false
	if size == 1 && due && !w.over && w.left != nil {
		w.beginLocked(c.look)
		return true
	}
	w.endLocked(&c.in.deadline)
	return false
}

func (w *watch) beginLocked(look func()) {
	w.on = true
	if w.busy {
		return
	}
	w.busy = true
	if w.timer == nil {
		w.idle.L = &w.mu
		w.timer = time.AfterFunc(lookAfter, look)
	} else {
		w.timer.Reset(lookAfter)
	}
}

// endLocked returns when nobody looks any more. d is the deadline of what looks.
func (w *watch) endLocked(d *deadline.Lazy) {
	if !w.on {
		return
	}
	w.on = false
	if w.timer.Stop() {
		w.busy = false
	}
	if w.busy {
		d.Interrupt()
	}
	for w.busy {
		w.idle.Wait()
	}
}

// endWatch returns when nobody looks any more, and nobody will.
func (c *conn) endWatch() {
	w := &c.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.endLocked(&c.in.deadline)
}

// look waits until the client has left, or the watch ends.
func (c *conn) look() {
	for !c.looked(c.in.call(hasLeft)) {
	}
}

// looked is told how a look has ended, and reports whether it was the last. A
// deadline that was asked for and passes is as good as a client that has left, for
// a Read of net/http would have ended like that. But longAgo says that the request
// is answered. All of it happens under mu, so that a watch which begins with the
// next request finds either somebody who looks, or nobody.
func (c *conn) looked(err error) (last bool) {
	w := &c.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.on {
		answered := false
		if err != nil {
			until, again := c.in.deadline.Renew(time.Time{})
			if again {
				return false
			}
			answered = until.Equal(longAgo)
		}
		if !answered {
			w.left()
		}
	}
	w.busy = false
	w.idle.Broadcast()
	return true
}
