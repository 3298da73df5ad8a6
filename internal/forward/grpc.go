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
	// unaryTimeout is how long a gRPC call may go on after the first message of
	// its answer without being taken for a stream. That of a unary call is over
	// then; its end travels with the message.
	unaryTimeout = time.Second

	// messageTimeout is how long a message that is on its way when its call is cut
	// may take to be complete. Half a message looks to a client like a fault of
	// the protocol, after which it does not try again.
	messageTimeout = 500 * time.Millisecond
)

// A grpcCall is what the answer of a gRPC call is written to. Neither side is timed,
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
type grpcCall struct {
	http.ResponseWriter
	rc      http.ResponseController // of ResponseWriter
	relay   *relay                  // that it belongs to, until end
	resBody io.Closer               // the Body of the exchange
	reqBody *requestBody            // of the request; nil: it has none

	becomeMu sync.Mutex // held while it becomes a stream, and by end

	mu          sync.Mutex // guards what follows, and rc from being used too late
	messages    grpc.Messages
	isStream    bool        // or becomes one
	writing     bool        // a write, or a flush, is running
	expired     bool        // nothing is written any more
	writeFailed bool        // a write has failed
	closed      bool        // the stream was closed
	ended       bool        // nothing is transferred any more
	timer       *time.Timer // becomes a stream, or is cut, then; nil: neither

	running sync.WaitGroup // what later calls, and aborts; grows only under mu, while over is false
}

func (y *relay) newGRPCCall() *grpcCall {
	c := &grpcCall{ResponseWriter: y.w, rc: y.rc, relay: y, resBody: y.resBody, reqBody: y.body}
	y.w = c
	y.rc = *http.NewResponseController(c)
	if c.clientSending() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.scheduleLocked(unaryTimeout, c.checkClientSending)
	}
	return c
}

// Unwrap returns the ResponseWriter below, for an http.ResponseController.
func (c *grpcCall) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Write writes to the client, and notes what that makes of the call. An error
// is ErrCut where the stream was closed and a message is complete.
func (c *grpcCall) Write(p []byte) (int, error) {
	if err := c.beginWrite(); err != nil {
		return 0, err
	}
	n, err := c.ResponseWriter.Write(p)
	if many, cut := c.endWrite(p[:n], err); cut {
		return n, ErrCut
	} else if many {
		c.becomeStream()
	}
	return n, err
}

// FlushError is the Flush that an http.ResponseController looks for.
func (c *grpcCall) FlushError() error {
	if err := c.beginWrite(); err != nil {
		return err
	}
	err := c.rc.Flush()
	if _, cut := c.endWrite(nil, err); cut {
		return ErrCut
	}
	return err
}

func (c *grpcCall) beginWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expired {
		return os.ErrDeadlineExceeded
	}
	c.writing = true
	return nil
}

// endWrite notes that p was written. It reports whether it was more than one
// message that has begun, and whether the time has come to stop.
func (c *grpcCall) endWrite(p []byte, err error) (many, stop bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing = false
	c.writeFailed = c.writeFailed || err != nil
	c.messages.Pass(p)
	whole := c.messages.AreWhole()
	if c.messages.Begun() == 1 && whole && len(p) > 0 && !c.isStream {
		c.scheduleLocked(unaryTimeout, c.becomeStream)
	}
	return c.messages.Begun() > 1 && !c.isStream, c.closed && whole
}

func (c *grpcCall) scheduleLocked(after time.Duration, do func()) {
	c.unscheduleLocked()
	c.running.Add(1)
	c.timer = time.AfterFunc(after, func() {
		defer c.running.Done()
		do()
	})
}

func (c *grpcCall) unscheduleLocked() {
	if c.timer != nil && c.timer.Stop() {
		c.running.Done()
	}
}

// clientSending reports whether the client has not said all yet.
func (c *grpcCall) clientSending() bool { return c.reqBody != nil && !c.reqBody.isComplete() }

// checkClientSending is called when the head has been there for unaryLimit.
func (c *grpcCall) checkClientSending() {
	if c.clientSending() {
		c.becomeStream()
	}
}

// becomeStream makes the call a stream, unless it is one, or over.
func (c *grpcCall) becomeStream() {
	c.becomeMu.Lock()
	defer c.becomeMu.Unlock()
	c.mu.Lock()
	now := !c.isStream && !c.ended
	c.isStream = true
	c.mu.Unlock()
	if now {
		c.relay.becomeStream(c)
	}
}

// Close ends the call: at once if its messages are complete, or when the one
// that is on its way is.
func (c *grpcCall) Close() error {
	c.mu.Lock()
	now := !c.ended && !c.closed && !c.writing && c.messages.AreWhole()
	if !c.ended && !c.closed {
		c.closed = true
		c.scheduleLocked(messageTimeout, c.abort)
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
func (c *grpcCall) abort() {
	c.SetWriteDeadline(time.Unix(1, 0))
	c.resBody.Close()
}

// SetWriteDeadline lets a time that has passed end what is being written, and all
// that follows. Where nothing is, the server has no part in that: over HTTP/2 it
// would reset the stream, and nothing more could be said. Any other time is
// passed over.
func (c *grpcCall) SetWriteDeadline(t time.Time) error {
	if t.IsZero() || time.Until(t) > 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expired = true
	if c.writing && !c.ended {
		return c.rc.SetWriteDeadline(t)
	}
	return nil
}

// end makes a later Close do nothing, and returns when nothing of c runs any
// more. It reports whether there was a Close, and whether the client can still be
// told how the call ended.
func (c *grpcCall) end() (cut, open bool) {
	c.becomeMu.Lock()
	c.mu.Lock()
	c.ended = true
	c.unscheduleLocked()
	cut, open = c.closed, !c.writeFailed
	c.mu.Unlock()
	c.becomeMu.Unlock()
	c.running.Wait()
	return cut, open
}
