package forward

import (
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/grpc"
)

const (
	// unaryLimit is how long a gRPC call may go on after the first message of
	// its answer without being taken for a stream. That of a unary call is over
	// then; its end travels with the message.
	unaryLimit = time.Second

	// messageLimit is how long a message that is on its way when its call is cut
	// may take to be complete. Half a message looks to a client like a fault of
	// the protocol, after which it does not try again.
	messageLimit = 500 * time.Millisecond
)

// A call is what the answer of a gRPC call is written to. Neither side is timed,
// for both may be silent as long as they like: the client's own deadline
// (grpc-timeout) is for that.
//
// Whether the answer is a stream does not show in its head, and a unary call
// must not be drained as one. So it is a request until a second message begins,
// or until unaryLimit has passed since the first; or since the head, if the
// client is still sending, which that of a unary call is not.
//
// A cut leaves the way open to tell the client in the trailer section, unless
// that keeps it from being written.
type call struct {
	http.ResponseWriter
	rc     http.ResponseController // of ResponseWriter
	relay  *relay                  // that it belongs to, until end
	target io.Closer               // the Body of the exchange
	sent   *body                   // of the request; nil: it has none

	becoming sync.Mutex // held while it becomes a stream, and by end

	mu       sync.Mutex // guards what follows, and rc from being used too late
	messages grpc.Messages
	isStream bool        // or becomes one
	writing  bool        // a write, or a flush, is running
	expired  bool        // nothing is written any more
	failed   bool        // a write has failed
	cut      bool        // the stream was closed
	over     bool        // nothing is transferred any more
	later    *time.Timer // becomes a stream, or is cut, then; nil: neither

	running sync.WaitGroup // what later calls, and aborts; grows only under mu, while over is false
}

func (y *relay) newCall() *call {
	c := &call{ResponseWriter: y.w, rc: y.rc, relay: y, target: y.answered, sent: y.body}
	y.w = c
	y.rc = *http.NewResponseController(c)
	if c.isSending() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.setLocked(unaryLimit, c.goesOn)
	}
	return c
}

// Unwrap returns the ResponseWriter below, for an http.ResponseController.
func (c *call) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Write writes to the client, and notes what that makes of the call. An error
// is ErrCut where the stream was closed and a message is complete.
func (c *call) Write(p []byte) (int, error) {
	if err := c.begin(); err != nil {
		return 0, err
	}
	n, err := c.ResponseWriter.Write(p)
	if many, cut := c.wrote(p[:n], err); cut {
		return n, ErrCut
	} else if many {
		c.become()
	}
	return n, err
}

// FlushError is the Flush that an http.ResponseController looks for.
func (c *call) FlushError() error {
	if err := c.begin(); err != nil {
		return err
	}
	err := c.rc.Flush()
	if _, cut := c.wrote(nil, err); cut {
		return ErrCut
	}
	return err
}

func (c *call) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expired {
		return os.ErrDeadlineExceeded
	}
	c.writing = true
	return nil
}

// wrote notes that p was written. It reports whether it was more than one
// message that has begun, and whether the time has come to stop.
func (c *call) wrote(p []byte, err error) (many, stop bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing = false
	c.failed = c.failed || err != nil
	c.messages.Pass(p)
	whole := c.messages.AreWhole()
	if c.messages.Begun() == 1 && whole && len(p) > 0 && !c.isStream {
		c.setLocked(unaryLimit, c.become)
	}
	return c.messages.Begun() > 1 && !c.isStream, c.cut && whole
}

func (c *call) setLocked(after time.Duration, do func()) {
	c.stopLocked()
	c.running.Add(1)
	c.later = time.AfterFunc(after, func() {
		defer c.running.Done()
		do()
	})
}

func (c *call) stopLocked() {
	if c.later != nil && c.later.Stop() {
		c.running.Done()
	}
}

// isSending reports whether the client has not said all yet.
func (c *call) isSending() bool { return c.sent != nil && !c.sent.isWhole() }

// goesOn is called when the head has been there for unaryLimit.
func (c *call) goesOn() {
	if c.isSending() {
		c.become()
	}
}

// become makes the call a stream, unless it is one, or over.
func (c *call) become() {
	c.becoming.Lock()
	defer c.becoming.Unlock()
	c.mu.Lock()
	now := !c.isStream && !c.over
	c.isStream = true
	c.mu.Unlock()
	if now {
		c.relay.becomeStream(c)
	}
}

// Close ends the call: at once if its messages are complete, or when the one
// that is on its way is.
func (c *call) Close() error {
	c.mu.Lock()
	now := !c.over && !c.cut && !c.writing && c.messages.AreWhole()
	if !c.over && !c.cut {
		c.cut = true
		c.setLocked(messageLimit, c.abort)
	}
	if now {
		c.running.Add(1)
	}
	c.mu.Unlock()
	if now {
		c.abort()
		c.running.Done()
	}
	return nil
}

// abort ends the call, whatever it waits for.
func (c *call) abort() {
	c.SetWriteDeadline(time.Unix(1, 0))
	c.target.Close()
}

// SetWriteDeadline lets a time that has passed end what is being written, and all
// that follows. Where nothing is, the server has no part in that: over HTTP/2 it
// would reset the stream, and nothing more could be said. Any other time is
// passed over.
func (c *call) SetWriteDeadline(t time.Time) error {
	if t.IsZero() || time.Until(t) > 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expired = true
	if c.writing && !c.over {
		return c.rc.SetWriteDeadline(t)
	}
	return nil
}

// end makes a later Close do nothing, and returns when nothing of c runs any
// more. It reports whether there was a Close, and whether the client can still be
// told how the call ended.
func (c *call) end() (cut, open bool) {
	c.becoming.Lock()
	c.mu.Lock()
	c.over = true
	c.stopLocked()
	cut, open = c.cut, !c.failed
	c.mu.Unlock()
	c.becoming.Unlock()
	c.running.Wait()
	return cut, open
}
