package pages

import (
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/grpc"
	"github.com/shahnk19/parachute/internal/reason"
)

// retryAfter is when a client may ask again, in seconds.
const retryAfter = "5"

// Refuse answers r in its target's place, and returns how many bytes of content
// it wrote. The status, X-Parachute-Error and Retry-After are those of why. A
// gRPC client, which reads no pages, gets the gRPC status of an error; everybody
// else gets the page that [Set.Write] writes. message is the operator's word to
// people, and requestID what they can name; either may be empty.
func (s *Set) Refuse(w http.ResponseWriter, r *http.Request, why reason.Reason, message, requestID string) (written int64) {
	h, status := w.Header(), why.Status()
	if part := why.Part(); part != "" {
		h["X-Parachute-Error"] = []string{part}
	}
	if why.RetryAfter() {
		h["Retry-After"] = []string{retryAfter}
	}
	if status >= 400 && field.IsCall(r) {
		CallStatus(why, message).Answer(w)
		return 0
	}
	return s.Write(w, r, Page{Status: status, Message: message, RequestID: requestID})
}

// CallStatus returns the status that a gRPC client gets of a call that ended
// because of why. message is for people; it may be empty.
func CallStatus(why reason.Reason, message string) grpc.Status {
	if message != "" {
		message = ": " + message
	}
	status := why.Status()
	switch {
	case why == reason.AnswerTooLarge:
		return grpc.Status{Code: grpc.ResourceExhausted, Message: "parachute: the answer is too large" + message}
	case why == reason.Deadline:
		return grpc.Status{Code: grpc.DeadlineExceeded, Message: "parachute: the deadline of the call has passed" + message}
	case status == 0:
		return grpc.Status{Code: grpc.Unavailable, Message: fmt.Sprintf("parachute: the call was ended (%v)%s", why, message)}
	}
	return grpc.Status{
		Code:    grpc.CodeOf(status),
		Message: fmt.Sprintf("parachute: %d %s (%v)%s", status, http.StatusText(status), why, message),
	}
}

// WriteText answers r with a line of plain text, and returns how many bytes of
// content it wrote. An error of w is the client's, who has left.
func WriteText(w http.ResponseWriter, r *http.Request, status int, text string) (written int64) {
	h := w.Header()
	h["Content-Type"] = contentTypes[formatText]
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	h["X-Content-Type-Options"] = noSniff
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return 0
	}
	n, _ := io.WriteString(w, text)
	return int64(n)
}
