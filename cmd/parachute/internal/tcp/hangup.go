package tcp

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/socket"
)

// ConnContext is the ConnContext of an [http.Server] that serves a listener of
// this package. It makes requests cheaper. Their contexts still end when the
// client hangs up; on Linux, even if the client has sent further requests
// before. But an [http.CloseNotifier] does not notice it.
//
// With it, the first Read after SetReadDeadline was called with the zero time
// returns 0 and no error if its buffer is a single byte. It does so until
// SetDeadline is called, as a server does with a hijacked connection. Close
// cancels the context.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*conn); ok {
		ctx, c.detector.cancel = context.WithCancel(ctx)
	}
	return ctx
}

// detectDelay is how long a request runs before the detector polls its
// connection. Most requests end earlier.
const detectDelay = 10 * time.Millisecond

// abortDeadline is the deadline that net/http sets to abort its background read.
var abortDeadline = time.Unix(1, 0)

// A hangupDetector detects that the client of a request has closed the
// connection, or its side of it.
//
// net/http does that with a background read: at the begin of each request, or at
// the end of its body, it clears the read deadline and reads a single byte on a
// goroutine of its own. When the request is answered, it sets the deadline to
// abortDeadline, waits for the goroutine, and clears the deadline again.
//
// With a hangupDetector, the background read returns at once, without a byte or
// an error, and net/http has nothing to abort unless the read has not begun yet.
// If the request takes longer than detectDelay, the detector polls the
// connection instead, and cancels the context of ConnContext when the client has
// hung up. It stays active until the next read, because a server that has read
// several requests at once answers all of them before that. If net/http read a
// second time in the background, that read would really be made.
type hangupDetector struct {
	cancel context.CancelFunc // cancels the contexts of requests; nil without ConnContext

	mu       sync.Mutex  // guards the fields below
	disabled bool        // the detector must not become active any more
	expected bool        // a background read may come: the deadline was cleared, and nothing was read since
	active   bool        // a background read was replaced, and nothing was read since
	timer    *time.Timer // calls conn.detectHangup; nil before the first time
	busy     bool        // the timer or conn.detectHangup runs
	idle     sync.Cond   // signals that busy became false
}

// deadlineCleared is called when the read deadline is cleared.
func (w *hangupDetector) deadlineCleared() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expected = true
}

// replaceBackgroundRead is called before a read into size bytes. If that is a
// background read of net/http, it activates the detector and returns true: the
// read must not be made. Otherwise it deactivates the detector.
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

// endLocked deactivates the detector and waits until it does not poll any more.
// d is the read deadline of the connection.
func (w *hangupDetector) endLocked(d *socket.Deadline) {
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

// stopDetector deactivates the detector for good.
func (c *conn) stopDetector() {
	w := &c.detector
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disabled = true
	w.endLocked(&c.in.deadline)
}

// detectHangup waits until the client hangs up or the detector is deactivated.
func (c *conn) detectHangup() {
	for !c.handleDetection(c.in.call(peerClosed)) {
	}
}

// handleDetection handles the end of a poll, and reports whether it was the
// last. A read deadline that has passed counts as a hang-up, because it would
// have ended the background read of net/http in the same way. But abortDeadline
// means that the request is answered. All of this happens under mu, so that the
// next request finds the poll either running or ended.
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
