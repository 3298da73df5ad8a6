package tcp

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"
)

// ConnContext is for the field of that name of an [http.Server] that serves a
// listener of this package: with it the server's requests cost less. Their
// contexts end when their client leaves, as they do without, but nothing tells
// an [http.CloseNotifier].
//
// The first Read into a single byte after one into more returns nothing, no byte
// and no error, until SetDeadline was called, as a server does with a connection
// that is hijacked. Close ends the context.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*conn); ok {
		ctx, c.watch.left = context.WithCancel(ctx)
	}
	return ctx
}

// lookAfter is how long a watch has been on when it begins to look. Most are over
// before that.
const lookAfter = 10 * time.Millisecond

// A watch finds out that the client of a request has left.
//
// net/http does that with a Read into a single byte. It begins one with every
// request, or where its body ends, on a goroutine of its own; when the request is
// answered it takes the Read back with a deadline in the past, and waits for the
// goroutine. Here such a Read returns at once, without a byte or an error, and
// net/http, for which that is the end of it, has nothing to take back. What it
// would have found is looked for in its stead, when a request lasts, and ends the
// context that it has from ConnContext. Were net/http to try again one day, it
// would be let.
type watch struct {
	left context.CancelFunc // ends the requests' contexts; nil: there is no watch

	mu    sync.Mutex  // guards what follows
	over  bool        // there will be no more
	due   bool        // the last Read was into more than a byte, as for a request
	on    bool        // there was one into a byte since, which got nothing
	timer *time.Timer // begins to look; nil: there never was a watch
	busy  bool        // the timer runs, or what it began
	idle  sync.Cond   // busy became false
}

// takeOver is called before size bytes are read. It reports whether they are
// not to be read, because that is a watch of net/http, whose place this one has
// taken. Otherwise it ends this one.
func (c *conn) takeOver(size int) bool {
	w := &c.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if size == 1 && w.due && !w.over && w.left != nil {
		w.beginLocked(c.look)
		return true
	}
	w.due = size > 1
	w.endLocked(&c.in.deadline)
	return false
}

func (w *watch) beginLocked(look func()) {
	w.due, w.on, w.busy = false, true, true
	if w.timer == nil {
		w.idle.L = &w.mu
		w.timer = time.AfterFunc(lookAfter, look)
	} else {
		w.timer.Reset(lookAfter)
	}
}

// endLocked returns when nobody looks any more. d is the deadline of what looks.
func (w *watch) endLocked(d *deadline) {
	if !w.on {
		return
	}
	w.on = false
	if w.timer.Stop() {
		w.busy = false
	}
	if w.busy {
		d.cut()
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

// look waits until the client has left, or sends what is none of this request,
// or the watch ends. A deadline that was asked for and passes is as good as a
// client that has left, for a Read of net/http would have ended like that.
func (c *conn) look() {
	w := &c.watch
	defer w.looked()
	for w.isOn() {
		var gone bool
		err := c.in.call(func(fd uintptr) (done bool) {
			done, gone = peek(fd)
			return done
		})
		if err != nil {
			gone = c.in.deadline.expired(time.Time{}) && w.isOn()
		}
		if gone {
			w.left()
		}
		if gone || err == nil {
			return
		}
	}
}

func (w *watch) isOn() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.on
}

func (w *watch) looked() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = false
	w.idle.Broadcast()
}

// peek looks at a socket, and reports whether there was anything to see, such
// as that the peer has left.
func peek(fd uintptr) (something, gone bool) {
	var one [1]byte
	n, err := peekNow(fd, one[:])
	for err == syscall.EINTR {
		n, err = peekNow(fd, one[:])
	}
	if err == syscall.EAGAIN {
		return false, false
	}
	return true, n <= 0
}
