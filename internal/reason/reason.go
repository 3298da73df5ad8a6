// Package reason says what it means that a request ended otherwise than with
// the answer of its target: what the client is told, whose fault it was, and
// what that makes of the target. Whoever has to know asks the one table here.
package reason

import "net/http"

// A Reason is why the proxy answered a request itself, or broke it off. The zero
// Reason, None, is that it did neither.
type Reason uint8

// Several of them may share a name, which leaves out what tells them apart.
const (
	None Reason = iota

	// What is answered in a target's place, and is no failure.
	Challenge // of a certificate authority
	Halted    // a health check of a service that is paused or stopped
	Moved     // a GET or HEAD belongs elsewhere
	MovedOn   // another method does, which it has to keep

	// What the client did.
	BadRequest      // the request cannot be passed on as it is
	ClientBody      // its body is not as HTTP has it
	BufferedBody    // likewise, where that was to be buffered
	Stalled         // it owed a part of its body for too long
	Unauthorized    // it did not know the password
	Denied          // its address may not come in
	NoService       // nobody has the host and path
	Method          // it is none that is passed on
	RequestTooLarge // its body is
	Misdirected     // its connection is not, or no more, for that host
	NoHTTP          // its connection is for a challenge, and nothing may be said on it
	Gone            // it left
	Untaken         // it left, or took nothing, while it was being answered

	// What the service, or the proxy, did.
	Target         // the target's answer cannot be passed on
	Dial           // there was no connection to the target
	Broken         // the target closed or reset it before the answer was complete
	Malformed      // the target's answer is not as HTTP has it
	AnswerTooLarge // its body is
	Failed         // the service could not be restored
	Stopped        // the service is stopped
	PausedFull     // the service is paused, and too many wait
	Busy           // too many passwords are being checked
	Descriptors    // the proxy may open no more connections
	Spool          // there is no room for a body that is to be buffered
	Closed         // the proxy is
	Loop           // the request has been here before
	PausedLong     // the service was paused for too long
	Timeout        // the target took too long to answer
	Deadline       // the target gave a gRPC call up, the time of which was over
	Cut            // a drain, or the end of the proxy, ended the request
	Panic          // serving it did

	// What nobody did wrong.
	StreamClosed // a drain, or the end of the proxy, ended a stream, which would not have ended by itself
)

// A Fault says whose fault it is.
type Fault uint8

const (
	Nobody Fault = iota
	Client
	Server // the target or the proxy: an error that the operator wants to know of
)

// ClientClosed is the status that stands in logs and metrics for a client that
// left before an answer began. Nobody ever gets it.
const ClientClosed = 499

// table says what each Reason means.
var table = [...]struct {
	name   string // in logs
	status int    // that is answered, or where nothing can be, that is reported; 0: none
	part   string // that X-Parachute-Error names; "": the status tells all
	fault  Fault
	health bool // it speaks against the health of the target
}{
	None: {},

	Challenge: {"challenge", 200, "", Nobody, false},
	Halted:    {"halted", 200, "", Nobody, false},
	Moved:     {"redirect", 301, "", Nobody, false},
	MovedOn:   {"redirect", 308, "", Nobody, false},

	BadRequest:      {"request", 400, "", Client, false},
	ClientBody:      {"client", 400, "", Client, false},
	BufferedBody:    {"client body", 400, "", Client, false},
	Stalled:         {"client", 408, "", Client, false},
	Unauthorized:    {"unauthorized", 401, "", Client, false},
	Denied:          {"denied", 403, "", Client, false},
	NoService:       {"no service", 404, "no-route", Client, false},
	Method:          {"method", 405, "", Client, false},
	RequestTooLarge: {"too large", 413, "too-large", Client, false},
	Misdirected:     {"misdirected", 421, "", Client, false},
	NoHTTP:          {"challenge", 421, "", Client, false},
	Gone:            {"gone", ClientClosed, "", Client, false},
	Untaken:         {"client", ClientClosed, "", Client, false},

	Target:         {"target", 502, "", Server, false},
	Dial:           {"dial", 502, "dial", Server, true},
	Broken:         {"broken", 502, "", Server, true},
	Malformed:      {"malformed", 502, "", Server, false},
	AnswerTooLarge: {"too large", 502, "too-large", Server, false},
	Failed:         {"failed", 503, "no-healthy-target", Server, false},
	Stopped:        {"stopped", 503, "stopped", Server, false},
	PausedFull:     {"paused", 503, "stopped", Server, false},
	Busy:           {"busy", 503, "", Server, false},
	Descriptors:    {"descriptors", 503, "", Server, false},
	Spool:          {"spool", 503, "", Server, false},
	Closed:         {"closed", 503, "draining", Server, false},
	Loop:           {"loop", 508, "loop", Server, false},
	PausedLong:     {"paused", 504, "stopped", Server, false},
	Timeout:        {"timeout", 504, "timeout", Server, true},
	Deadline:       {"deadline", 504, "timeout", Server, false},
	Cut:            {"cut", 504, "draining", Server, false},
	Panic:          {"panic", 0, "", Server, false},

	StreamClosed: {"cut", 0, "", Nobody, false},
}

// String returns the name that r has in logs; that of None is empty.
func (r Reason) String() string { return table[r].name }

// Status returns the status of the answer, where the proxy gives one. Where it
// does not, and none had begun, it is the one that is reported in its place; 0 is
// that of a request which ended without an answer although its client was there.
func (r Reason) Status() int { return table[r].status }

// Part returns the part of the proxy that X-Parachute-Error names; "": the field
// is left out.
func (r Reason) Part() string { return table[r].part }

// RetryAfter reports whether the client is told when to come again, as is done
// with every 503: what it says passes (RFC 9110, section 15.6.4).
func (r Reason) RetryAfter() bool { return table[r].status == http.StatusServiceUnavailable }

// Fault returns whose fault it was. For None that depends on what the target
// answered.
func (r Reason) Fault() Fault { return table[r].fault }

// IsUnhealthy reports whether it speaks against the health of the target that
// the request was sent to.
func (r Reason) IsUnhealthy() bool { return table[r].health }
