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
	// unaryTimeout is how long after the first message of its answer a gRPC call
	// is still taken for a unary one. The answer to a unary call ends right behind
	// its message.
	unaryTimeout = time.Second

	// messageTimeout is how long a message that is being transferred may take to be
	// completed when its call is closed. A client takes half a message for a
	// protocol error, and does not retry.
	messageTimeout = 500 * time.Millisecond
)

// A grpcCall is the ResponseWriter for the answer to a gRPC call. It has no write
// deadlines, for both sides may be silent as long as they like: gRPC has
// deadlines of its own (grpc-timeout).
//
// The head of the answer does not tell whether the call is a streaming one, and a
// unary call must not be drained as a stream. So the call becomes a stream when a
// second message of the answer begins, or unaryTimeout after the first message. It
// also becomes one unaryTimeout after the head if the client is still sending, for
// the client of a unary call has finished by then.
//
// After Close the trailer section can still be written, unless a write to the
// client had to be interrupted.
type grpcCall struct {
	http.ResponseWriter
	rc      http.ResponseController // of ResponseWriter
	relay   *relay                  // is not used after end
	resBody io.Closer               // of the exchange
	reqBody *requestBody            // nil if the request has no body

	becomeMu sync.Mutex // held while Options.Stream is called, and by end

	mu          sync.Mutex // guards the fields below, and the use of rc, which ends with end
	messages    grpc.Messages
	isStream    bool        // or becomes one
	writing     bool        // a Write or FlushError is running
	expired     bool        // Write and FlushError fail
	writeFailed bool        // a write has failed
	closed      bool        // Close was called
	ended       bool        // nothing is transferred any more
	timer       *time.Timer // calls becomeStream, checkClientSending or abort; nil: not set

	running sync.WaitGroup // funcs of timer and aborts; incremented only with mu held and ended false
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

// Unwrap returns the underlying ResponseWriter, for http.ResponseController.
func (c *grpcCall) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Write writes p to the client, and makes the call a stream if a second message
// begins in p. It returns ErrCut if Close was called and p ends a message.
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

// FlushError is what http.ResponseController calls to flush.
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

// endWrite notes that p was written, or that writing failed with err. It reports
// whether a second message has begun for the first time, and whether Close was
// called and no message is being transferred.
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

// clientSending reports whether part of the request's body has not been read.
func (c *grpcCall) clientSending() bool { return c.reqBody != nil && !c.reqBody.isComplete() }

// checkClientSending is called unaryTimeout after the head of the answer.
func (c *grpcCall) checkClientSending() {
	if c.clientSending() {
		c.becomeStream()
	}
}

// becomeStream makes the call a stream, unless it is one already or has ended.
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

// Close ends the call: at once if no message is being transferred, otherwise when
// that is complete or messageTimeout has passed.
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

// abort ends the call, whether it waits for the target or for the client.
func (c *grpcCall) abort() {
	c.SetWriteDeadline(time.Unix(1, 0))
	c.resBody.Close()
}

// SetWriteDeadline makes a running write and all later ones fail if t has passed.
// It ignores any other t. It sets a deadline of the server only if a write is
// running: over HTTP/2 that resets the stream, after which no trailers can be
// written.
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

// end makes later calls of Close do nothing, and returns when no timer or abort is
// running any more. It reports whether Close was called before, and whether trailers
// can still be written.
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
