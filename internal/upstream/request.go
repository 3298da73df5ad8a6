package upstream

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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
func (q *request) prepare(r *http.Request, target string, header field.View, last bool) *Error {
	q.r = r
	q.pooled = wires.Get().(*[]byte)
	length := bodyLength(r)
	var err error
	q.wire, err = appendHead((*q.pooled)[:0], r, target, header, length, last)
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

// isIdempotent tells the methods of RFC 9110, section 9.2.2.
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
func appendHead(b []byte, r *http.Request, target string, header field.View, length int64, last bool) ([]byte, error) {
	host := hostOf(r, header)
	if !field.IsToken(r.Method) || !isWord(target) || target == "" || !isWord(host) {
		return b, fmt.Errorf("cannot be sent: %q %q to host %q", r.Method, target, host)
	}
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\n"...)
	for name, value := range header.All() {
		if isDerived(name) {
			continue
		}
		if !field.IsToken(name) || !isLine(value) {
			return b, fmt.Errorf("cannot be sent: header %q: %q", name, value)
		}
		b = appendLine(b, name, value)
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

// isDerived tells the fields that Exchange writes by itself, in any case.
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

// isLine reports whether s can be the rest of a line.
func isLine(s string) bool {
	return strings.IndexByte(s, '\n') < 0 && strings.IndexByte(s, '\r') < 0 && strings.IndexByte(s, 0) < 0
}

// lastLimit is how long the end of a request may still be on its way when the
// answer is complete. A target that has answered because it has got everything
// makes nobody wait.
const lastLimit = 100 * time.Millisecond

// A sender passes the client's body on to the target, on a goroutine that
// lasts until then.
type sender struct {
	x       *exchange
	conn    *targetConn
	r       *http.Request // whose Body it is, and whose Trailer follows
	left    int64         // of a counted body; negative: it goes out in chunks
	last    atomic.Bool   // the end of the body is being written
	done    chan struct{} // closed when nothing more will be written
	err     error         // why the body is incomplete; valid once done is closed
	refused bool          // err is the target's
}

// send starts the sender of x.
func (x *exchange) send(c *targetConn) *Error {
	r := x.request.r
	s := &sender{x: x, conn: c, r: r, left: bodyLength(r), done: make(chan struct{})}
	c.reads.Set(time.Time{})
	if !x.pool.run(s.run) {
		return x.failure(Cut, errPoolClosed)
	}
	x.sender = s
	return nil
}

func (s *sender) run() {
	body := s.r.Body
	defer body.Close()
	defer close(s.done)
	piece := borrowPiece(s.left, uploadPieces)
	if s.left < 0 {
		s.err = s.sendChunks(body, &piece)
	} else {
		s.err = s.sendCounted(body, &piece)
	}
	piece.giveBack()
	if errors.Is(s.err, errStalled) {
		s.x.stalled()
		return
	}
	if s.err == nil || s.refused {
		// A target that refuses more of the body has answered or will not.
		s.x.wasSent(s.conn)
		return
	}
	s.x.bodyFailed(s.conn, s.err)
}

func (s *sender) sendCounted(body io.Reader, piece *piece) error {
	for s.left > 0 {
		buf := piece.bytes()
		n, err := readSome(body, buf[:min(s.left, int64(len(buf)))])
		s.left -= int64(n)
		if n != 0 {
			if err := s.write(buf[:n], s.left == 0); err != nil {
				return err
			}
		}
		if err != nil && s.left > 0 {
			return noEOF(err)
		}
		piece.fit(n)
	}
	return nil
}

// What is around the data of a chunk, and of the last one.
const (
	chunkLead     = len("1ffff\r\n")
	chunkTail     = len("\r\n0\r\n\r\n")
	chunkOverhead = chunkLead + chunkTail
)

// sendChunks makes a chunk of whatever one Read returns, so that a body that
// is made little by little arrives so.
func (s *sender) sendChunks(body io.Reader, piece *piece) error {
	for {
		buf := piece.bytes()
		n, err := readSome(body, buf[chunkLead:len(buf)-chunkTail])
		if err != nil && err != io.EOF {
			return err
		}
		chunk := buf[:0]
		if n > 0 {
			chunk = frameChunk(buf, n)
		}
		last := err == io.EOF
		if last {
			if chunk, err = appendTrailer(chunk, s.r.Trailer); err != nil {
				return err
			}
		}
		if err := s.write(chunk, last); err != nil || last {
			return err
		}
		piece.fit(n)
	}
}

// frameChunk returns the n bytes behind chunkLead in buf as a chunk.
func frameChunk(buf []byte, n int) []byte {
	var digits [8]byte
	size := append(strconv.AppendInt(digits[:0], int64(n), 16), "\r\n"...)
	start := chunkLead - len(size)
	copy(buf[start:], size)
	return append(buf[start:chunkLead+n], "\r\n"...)
}

func (s *sender) write(p []byte, last bool) error {
	if last {
		s.last.Store(true)
	}
	_, err := s.conn.write(p)
	s.refused = err != nil
	return err
}

// complete reports whether the body has been sent whole. It is called when the
// answer is complete.
func (s *sender) complete() bool {
	select {
	case <-s.done:
	default:
		if !s.last.Load() {
			return false
		}
		s.conn.writes.Set(time.Now().Add(lastLimit))
		<-s.done
		s.conn.writes.Set(time.Time{})
	}
	return s.err == nil
}

// finishSending returns when the body has been sent whole. A target may switch
// protocols as soon as it knows enough, but what comes from the client is of the
// body up to its end (RFC 9110, section 7.8).
func (x *exchange) finishSending() *Error {
	if x.sender == nil { // the client still waits for a 100
		return x.failure(Malformed, errEarlyTurn)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if !x.wakeBy(cancel) {
		return x.failure(Cut, nil)
	}
	defer x.wakeBy(nil)
	select {
	case <-x.sender.done:
	case <-ctx.Done():
		return x.failure(Cut, nil)
	}
	if x.sender.err != nil {
		return x.failure(Broken, x.sender.err)
	}
	return nil
}

// stalled ends x, whose target takes nothing more, unless it has answered.
func (x *exchange) stalled() {
	x.mu.Lock()
	answered := x.answered
	x.mu.Unlock()
	if !answered {
		x.cut(Timeout, errStalled)
	}
}

// bodyFailed makes sure that the target never takes for complete what the
// client did not complete. An answer that is coming already goes on.
func (x *exchange) bodyFailed(c *targetConn, err error) {
	x.mu.Lock()
	answered := x.answered
	x.mu.Unlock()
	if answered {
		c.closeWrite()
		return
	}
	x.cut(ClientBody, err)
}

// readSome reads until there is something, or an error.
func readSome(r io.Reader, p []byte) (n int, err error) {
	for range 100 {
		if n, err = r.Read(p); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// appendTrailer appends the last chunk and what follows it.
func appendTrailer(b []byte, trailer http.Header) ([]byte, error) {
	b = append(b, "0\r\n"...)
	for name, values := range trailer {
		if isDerived(name) {
			continue
		}
		for _, value := range values {
			if !field.IsToken(name) || !isLine(value) {
				return b, fmt.Errorf("cannot be sent: trailer %q: %q", name, value)
			}
			b = appendLine(b, name, value)
		}
	}
	return append(b, "\r\n"...), nil
}
