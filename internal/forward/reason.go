package forward

import (
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/shahnk19/parachute/internal/grpc"
	"github.com/shahnk19/parachute/internal/reason"
)

// reasonFor returns what err means, with which the call ends.
func (y *relay) reasonFor(err error) reason.Reason {
	why, isAnswered := reason.None, y.result.Status != 0
	failure, ok := errors.AsType[reason.Error](err)
	if ok {
		why = failure.Why()
	}
	switch {
	case why == reason.ClientBody:
		return BodyReason(y.r, errors.Unwrap(failure), why)
	case why == reason.Gone && y.result.BodyErr != nil:
		// A server of HTTP/1 cancels the request whatever ended a Read of its body.
		return BodyReason(y.r, y.result.BodyErr, why)
	case isAnswered && (errors.Is(err, ErrCut) || why == reason.Cut && y.becameStream):
		return reason.StreamClosed
	case why == reason.RequestTooLarge: // it is what Options.Answer made of the answer
		return reason.AnswerTooLarge
	case why == reason.Broken && y.isPastDeadline():
		return reason.Deadline
	case why != reason.None:
		return why
	case isAnswered:
		return reason.Untaken // once the head is out, only writing to the client is left to fail
	}
	return reason.Target
}

// isPastDeadline reports whether the request is a gRPC call that has lasted as long as
// its client waits. Servers reset such a call, which is no fault of theirs, and most of
// them do so while the client, whose time began earlier, is about to leave.
func (y *relay) isPastDeadline() bool {
	if !y.isCall() || y.o.Start.IsZero() {
		return false
	}
	timeout, ok := grpc.Timeout(y.r.Header)
	return ok && time.Since(y.o.Start) >= timeout
}

// BodyReason returns what err means, with which a Read of r's body failed: what it
// tells (see [reason.Of]), or else what is known of the client, or else fallback.
func BodyReason(r *http.Request, err error, fallback reason.Reason) reason.Reason {
	switch why := reason.Of(err); {
	case why != reason.None:
		return why
	case errors.Is(err, os.ErrDeadlineExceeded):
		return reason.Stalled
	case HasLeft(r):
		return reason.Gone
	}
	return fallback
}

// HasLeft reports whether the client is gone whose body could not be read. By
// then a server of HTTP/1 has canceled the request's context. Those of HTTP/2 and
// HTTP/3 do so a moment later, which HasLeft waits for, or not at all where the
// client has reset only its body and still waits for an answer.
func HasLeft(r *http.Request) bool {
	ctx := r.Context()
	if r.ProtoMajor > 1 {
		moment := time.NewTimer(10 * time.Millisecond)
		defer moment.Stop()
		select {
		case <-ctx.Done():
		case <-moment.C:
		}
	}
	return ctx.Err() != nil
}
