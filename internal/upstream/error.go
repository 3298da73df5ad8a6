package upstream

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/reason"
)

// A Reason says what ended an exchange: it is one of those below.
type Reason = reason.Reason

// The reasons that an exchange may end for.
const (
	Dial       = reason.Dial        // no connection to the target
	Shortage   = reason.Descriptors // none either, since the process may open no more
	Timeout    = reason.Timeout     // Options.ResponseTimeout has passed
	Cut        = reason.Cut         // the Pool or the answer's body was closed
	Gone       = reason.Gone        // the request's context has ended
	ClientBody = reason.ClientBody  // the client's body could not be read
	Broken     = reason.Broken      // closed or reset before the answer was complete
	Malformed  = reason.Malformed   // the target's answer is not as HTTP has it
	Target     = reason.Target      // what is asked cannot be done with such a target
	BadRequest = reason.BadRequest  // this request cannot be written as HTTP
)

// An Error tells why an exchange failed.
type Error struct {
	Reason Reason

	// Repeatable says that the request may be sent again, here or to another
	// target: the client's body can still be read from its start, and either
	// not one byte of the request was written, or the target has said that it
	// has not begun with it, or the request is idempotent, has no body, and its
	// connection was lost before the first byte of an answer, or had been used
	// before and began with what is no answer.
	Repeatable bool

	Err error // never nil
}

func (e *Error) Error() string { return e.Reason.String() + ": " + e.Err.Error() }

// Why returns e.Reason.
func (e *Error) Why() Reason { return e.Reason }

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// IsRepeatable reports whether a request may be sent again that failed with err: it
// is, or wraps, an *Error that says so.
func IsRepeatable(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Repeatable
}

// dialReason returns why a connection could not be made, which failed with err.
func dialReason(err error) Reason {
	if descriptors.IsShortage(err) {
		return Shortage
	}
	return Dial
}

// A fate says whether an exchange was cut, and why. What fails after a cut fails
// because of it.
type fate struct {
	mu      sync.Mutex // guards the fields below, and what else an exchange says
	reason  Reason     // reason.None: it was not cut
	writing bool       // a WriteTo is running, and its client is to be stopped by a cut
	stream  bool       // BecomeStream was called
	cause   error
	client  http.ResponseController
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

// becomeStream exempts the exchange from CutRequests.
func (f *fate) becomeStream() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stream = true
}

func (f *fate) isStream() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stream
}

// cutFor returns the reason of the cut; reason.None: there was none.
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
