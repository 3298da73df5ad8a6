// Package grpc has what a proxy has to know of gRPC over HTTP/2: how a call ends,
// where its messages begin and end, and how a server is asked for its health.
// What the messages say is not its business.
package grpc

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// ContentType is the Content-Type of calls, where nothing is said of how their
// messages are written.
const ContentType = "application/grpc"

// A Code tells how a call ended, to programs.
type Code uint32

// The codes that a proxy has a use for.
const (
	OK                Code = 0
	Unknown           Code = 2
	DeadlineExceeded  Code = 4
	NotFound          Code = 5
	PermissionDenied  Code = 7
	ResourceExhausted Code = 8
	Unimplemented     Code = 12
	Internal          Code = 13
	Unavailable       Code = 14 // clients may try again
	Unauthenticated   Code = 16
)

var names = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
	"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// String returns the name that gRPC gives c.
func (c Code) String() string {
	if int(c) < len(names) {
		return names[c]
	}
	return "CODE_" + strconv.FormatUint(uint64(c), 10)
}

// CodeOf returns the code that says to a gRPC client what the HTTP status of an
// error would. It is what clients make of such a status themselves, save that a
// body which is too large has a code of its own: to try again is of no use.
func CodeOf(status int) Code {
	switch status {
	case http.StatusBadRequest:
		return Internal
	case http.StatusUnauthorized:
		return Unauthenticated
	case http.StatusForbidden:
		return PermissionDenied
	case http.StatusNotFound:
		return Unimplemented
	case http.StatusRequestEntityTooLarge:
		return ResourceExhausted
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return Unavailable
	}
	return Unknown
}

// A Status is how a call ended.
type Status struct {
	Code    Code
	Message string // for people; may be empty
}

// String returns the name of the code, and the message behind it.
func (s Status) String() string {
	if s.Message == "" {
		return s.Code.String()
	}
	return fmt.Sprintf("%s: %s", s.Code, s.Message)
}

// StatusOf returns the status in the trailer section of an answer, or in its
// header where that is all there is. It reports false where there is none.
func StatusOf(header, trailer http.Header) (Status, bool) {
	fields := trailer
	if len(fields["Grpc-Status"]) == 0 {
		fields = header
	}
	code, err := strconv.ParseUint(fields.Get("Grpc-Status"), 10, 32)
	if err != nil {
		return Status{}, false
	}
	message := fields.Get("Grpc-Message")
	if text, err := url.PathUnescape(message); err == nil {
		message = text
	}
	return Status{Code(code), message}, true
}

// Answer writes an answer to w that ends the call with s at once. What the header
// of w has is sent with it, except what tells of other content.
func (s Status) Answer(w http.ResponseWriter) {
	h := w.Header()
	for _, name := range [...]string{"Content-Encoding", "Content-Length", "Trailer", "Transfer-Encoding"} {
		delete(h, name)
	}
	h["Content-Type"] = []string{ContentType}
	s.set(h, "")
	w.WriteHeader(http.StatusOK)
}

// End makes s the trailer section of an answer whose head w has sent already. It
// goes out when the request's handler returns.
func (s Status) End(w http.ResponseWriter) { s.set(w.Header(), http.TrailerPrefix) }

func (s Status) set(h http.Header, prefix string) {
	h[prefix+"Grpc-Status"] = []string{strconv.FormatUint(uint64(s.Code), 10)}
	if s.Message != "" {
		h[prefix+"Grpc-Message"] = []string{escape(s.Message)}
	}
}

// escape writes a message as it stands in a header: in printable ASCII, what is
// none, and '%', as %XX.
func escape(message string) string {
	var b strings.Builder
	for i := range len(message) {
		if c := message[i]; ' ' <= c && c <= '~' && c != '%' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
