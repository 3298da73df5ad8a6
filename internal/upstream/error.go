package upstream

import (
	"net/http"
	"sync"
	"time"
)

// A Reason says what ended an exchange.
type Reason int

// The reasons and their names.
const (
	Dial       Reason = iota + 1 // "dial": no connection to the target
	Timeout                      // "timeout": Options.ResponseTimeout has passed
	Cut                          // "cut": the Pool or the answer's body was closed
	Gone                         // "gone": the request's context has ended
	ClientBody                   // "client": the client's body could not be read
	Broken                       // "broken": closed or reset before the answer was complete
	Malformed                    // "malformed": the target's answer is not as HTTP has it
	BadRequest                   // "request": this request cannot be written as HTTP
)

var reasonNames = [...]string{"unknown", "dial", "timeout", "cut", "gone", "client", "broken", "malformed", "request"}

// String returns the reason's name, for logs.
func (r Reason) String() string {
	if r < 0 || int(r) >= len(reasonNames) {
		r = 0
	}
	return reasonNames[r]
}

// An Error tells why an exchange failed.
type Error struct {
	Reason Reason

	// Repeatable says that the request may be sent again, here or to another
	// target: the client's body can still be read from its start, and either
	// not one byte of the request was written, or it is idempotent, has no
	// body, and its connection was lost before the first byte of an answer.
	Repeatable bool

	Err error // never nil
}

func (e *Error) Error() string { return e.Reason.String() + ": " + e.Err.Error() }

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// A fate is whether an exchange was cut, and why. What fails after a cut did so
// because of it.
type fate struct {
	mu      sync.Mutex // guards the fields below, and what else an exchange says
	reason  Reason     // 0: it was not cut
	cause   error
	client  http.ResponseController
	writing bool // a WriteTo is running, and its client is to be stopped by a cut
	lasting bool // the answer lasts until somebody closes it
}

// cutLocked gives the exchange its reason, unless it had one before, and ends
// a WriteTo that waits for its client.
func (f *fate) cutLocked(reason Reason, cause error) {
	if f.reason == 0 {
		f.reason, f.cause = reason, cause
	}
	if f.writing {
		f.client.SetWriteDeadline(time.Unix(1, 0))
	}
}

// isLasting reports whether the exchange has an answer that lasts.
func (f *fate) isLasting() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lasting
}

// cutFor returns the reason of the cut; 0: there was none.
func (f *fate) cutFor() Reason {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reason
}

// failure returns what is to be reported for err.
func (f *fate) failure(reason Reason, err error) *Error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reason != 0 {
		reason, err = f.reason, f.cause
	}
	return &Error{Reason: reason, Err: err}
}

// writeError returns err, which is of the writer that a body is written to,
// unless that was stopped because of a Close. A server, too, ends a request's
// context because of such an error, so that is no reason.
func (f *fate) writeError(err error) error {
	if err != nil && f.cutFor() == Cut {
		return f.failure(Cut, err)
	}
	return err
}
