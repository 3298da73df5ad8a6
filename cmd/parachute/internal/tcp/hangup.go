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
		ctx, c.detector.cancel = context.WithCancel(ctx)
	}
	return ctx
}

// detectDelay is how long a watch has been on when it begins to look. Most are over
// before that.
const detectDelay = 10 * time.Millisecond

// abortDeadline is the deadline by which net/http takes back a Read.
var abortDeadline = time.Unix(1, 0)

// A hangupDetector finds out that the client of a request has left: that it has closed the
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
type hangupDetector struct {
	cancel context.CancelFunc // ends the requests' contexts; nil: there is no watch

	mu       sync.Mutex  // guards what follows
	disabled bool        // there will be no more
	expected bool        // the deadline was cleared, and nothing was read since
	active   bool        // there was a Read into a byte, which got nothing, and none after it
	timer    *time.Timer // begins to look; nil: there never was a watch
	busy     bool        // the timer runs, or what it began
	idle     sync.Cond   // busy became false
}

// deadlineCleared is called when there is to be no read deadline.
func (w *hangupDetector) deadlineCleared() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expected = true
}

// replaceBackgroundRead is called before size bytes are read. It reports whether they are
// not to be read, because that is a watch of net/http, whose place this one has
// taken. Otherwise it ends this one.
func (c *conn) replaceBackgroundRead(size int) bool {
	w := &c.detector
	w.mu.Lock()
	defer w.mu.Unlock()
	due := w.expected
	w.expected = false
	if size == 1 && due && !w.disabled && w.cancel != nil {
		w.beginLocked(c.detectHangup)
		return true
	}
	w.endLocked(&c.in.deadline)
	return false
}

func (w *hangupDetector) beginLocked(look func()) {
	w.active = true
	if w.busy {
		return
	}
	w.busy = true
	if w.timer == nil {
		w.idle.L = &w.mu
		w.timer = time.AfterFunc(detectDelay, look)
	} else {
		w.timer.Reset(detectDelay)
	}
}

// endLocked returns when nobody looks any more. d is the deadline of what looks.
func (w *hangupDetector) endLocked(d *deadline.Lazy) {
	if !w.active {
		return
	}
	w.active = false
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

// stopDetector returns when nobody looks any more, and nobody will.
func (c *conn) stopDetector() {
	w := &c.detector
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disabled = true
	w.endLocked(&c.in.deadline)
}

// detectHangup waits until the client has left, or the watch ends.
func (c *conn) detectHangup() {
	for !c.handleDetection(c.in.call(peerClosed)) {
	}
}

// handleDetection is told how a look has ended, and reports whether it was the last. A
// deadline that was asked for and passes is as good as a client that has left, for
// a Read of net/http would have ended like that. But longAgo says that the request
// is answered. All of it happens under mu, so that a watch which begins with the
// next request finds either somebody who looks, or nobody.
func (c *conn) handleDetection(err error) (last bool) {
	w := &c.detector
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.active {
		answered := false
		if err != nil {
			until, again := c.in.deadline.Renew(time.Time{})
			if again {
				return false
			}
			answered = until.Equal(abortDeadline)
		}
		if !answered {
			w.cancel()
		}
	}
	w.busy = false
	w.idle.Broadcast()
	return true
}
