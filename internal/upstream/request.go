package upstream

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/shahnk19/parachute/internal/field"
)

const (
	// maxSmall is the longest body that leaves with the head in one write.
	maxSmall = 16 << 10

	// maxKept bounds the buffers that wait in wires for the next request.
	maxKept = 64 << 10
)

var wires = sync.Pool{New: func() any { return new([]byte) }}

// A request is what is sent to the target.
type request struct {
	r          *http.Request
	wire       []byte  // the head, and a small body
	pooled     *[]byte // where wire came from
	small      int32   // the length of the body at the end of wire
	streamed   bool    // a body has to follow wire
	held       bool    // the client waits for a 100 before it sends that
	repeatable bool    // may be sent again although the target has had all of it
}

// prepare makes the wire. Small bodies are read here. If last is set, the request says
// that no other follows on its connection.
func (q *request) prepare(r *http.Request, requestTarget string, header field.View, last bool) *Error {
	q.r = r
	q.pooled = wires.Get().(*[]byte)
	length := bodyLength(r)
	var err error
	q.wire, err = appendHead((*q.pooled)[:0], r, requestTarget, header, length, last)
	if err != nil {
		closeBody(r)
		return &Error{Reason: BadRequest, Err: err}
	}
	q.held = length != 0 && header.HasToken("Expect", "100-continue")
	q.streamed = length < 0 || length > maxSmall || q.held
	if q.streamed {
		return nil
	}
	q.repeatable = length == 0 && isIdempotent(r.Method)
	q.small = int32(length)
	if q.small != 0 {
		err = q.readSmall()
	}
	closeBody(r)
	if err != nil {
		return &Error{Reason: ClientBody, Err: err}
	}
	return nil
}

func (q *request) readSmall() error {
	head := len(q.wire)
	q.wire = append(q.wire, make([]byte, q.small)...)
	return readWhole(q.r.Body, q.wire[head:])
}

// readWhole fills p.
func readWhole(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	return noEOF(err)
}

// release ends the use of the wire. A body that nobody will read is closed,
// and a small one of a request that may be repeated is given back.
func (q *request) release(sending bool, err *Error) {
	switch again := err != nil && err.Repeatable; {
	case again && q.small > 0:
		small := bytes.Clone(q.wire[len(q.wire)-int(q.small):])
		q.r.Body = io.NopCloser(bytes.NewReader(small))
	case !again && q.streamed && !sending:
		closeBody(q.r)
	}
	if cap(q.wire) <= maxKept {
		*q.pooled = q.wire
	}
	wires.Put(q.pooled)
	q.r, q.wire, q.pooled = nil, nil, nil
}

// bodyLength returns how long r's body is, -1 if that is unknown.
func bodyLength(r *http.Request) int64 {
	if r.Body == nil || r.Body == http.NoBody {
		return 0
	}
	return max(r.ContentLength, -1)
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		r.Body.Close()
	}
}

// isIdempotent reports whether method is idempotent (RFC 9110, section 9.2.2).
func isIdempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// appendHead appends a request's head to b. Whatever it is given, the head
// ends nowhere but at its end and has no line that was not asked for. If last is
// set, it says that no other request follows, unless it asks for an upgrade.
func appendHead(b []byte, r *http.Request, requestTarget string, header field.View, length int64, last bool) ([]byte, error) {
	host := hostOf(r, header)
	if !field.IsToken(r.Method) || !isWord(requestTarget) || requestTarget == "" || !isWord(host) {
		return b, fmt.Errorf("cannot be sent: %q %q to host %q", r.Method, requestTarget, host)
	}
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, requestTarget...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\n"...)
	lines := 2
	for name, value := range header.All() {
		if isDerived(name) {
			continue
		}
		if !field.IsToken(name) {
			return b, unsendable(header)
		}
		b = appendLine(b, name, value)
		lines++
	}
	if !areLines(b, lines) {
		return b, unsendable(header)
	}
	if last && !header.HasToken("Connection", "upgrade") {
		b = append(b, "Connection: close\r\n"...) // beside what else Connection may name
	}
	switch {
	case length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
		b = appendAnnouncement(b, r.Trailer)
	case length > 0 || r.Method == "POST" || r.Method == "PUT" || r.Method == "PATCH":
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, length, 10)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...), nil
}

// unsendable returns an error that tells which field of header cannot be sent.
func unsendable(header field.View) error {
	var name, value string
	for name, value = range header.All() {
		if !isDerived(name) && (!field.IsToken(name) || !isLine(value)) {
			break
		}
	}
	return fmt.Errorf("cannot be sent: header %q: %q", name, value)
}

func hostOf(r *http.Request, header field.View) string { return cmp.Or(header.Get("Host"), r.Host) }

// appendAnnouncement appends the names of trailers that will be sent.
func appendAnnouncement(b []byte, trailer http.Header) []byte {
	separator := "Trailer: "
	for name := range trailer {
		if !field.IsToken(name) || isDerived(name) {
			continue
		}
		b = append(b, separator...)
		b = append(b, name...)
		separator = ", "
	}
	if separator == ", " {
		b = append(b, "\r\n"...)
	}
	return b
}

func appendLine(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// isDerived reports whether Exchange itself writes the field of that name, in upper or
// lower case.
func isDerived(name string) bool {
	switch len(name) {
	case 4:
		return strings.EqualFold(name, "Host")
	case 7:
		return strings.EqualFold(name, "Trailer")
	case 14:
		return strings.EqualFold(name, "Content-Length")
	case 17:
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// isWord reports whether s has neither white space nor control characters.
func isWord(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// areLines reports whether b, which has that many lines, has nothing in them that isLine
// would not have. To count is cheaper than to look into each value.
func areLines(b []byte, lines int) bool {
	return bytes.Count(b, []byte("\n")) == lines && bytes.Count(b, []byte("\r")) == lines && bytes.IndexByte(b, 0) < 0
}

// isLine reports whether s can be the rest of a line.
func isLine(s string) bool {
	return strings.IndexByte(s, '\n') < 0 && strings.IndexByte(s, '\r') < 0 && strings.IndexByte(s, 0) < 0
}
