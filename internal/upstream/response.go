package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/shahnk19/parachute/internal/field"
)

// maxQuoted bounds an error that quotes a line of the target.
const maxQuoted = 200

// ErrTLS is the answer of a target that was asked without TLS, and wants it.
var ErrTLS = errors.New("an alert of TLS, which was not spoken")

var (
	errStatusLine = errors.New("not a status line of HTTP/1.0 or HTTP/1.1")
	errFieldName  = errors.New("white space in the name of a header")
	errEncoding   = errors.New("transfer coding other than chunked")
	errTwoLengths = errors.New("two lengths that contradict each other")
	errLength     = errors.New("invalid Content-Length")
	errTrailers   = errors.New("invalid trailers")
)

// The readers of http.ReadResponse are used one by one here, for it takes a
// Connection with "close" out of the header, and with it the names of other
// fields that are not to be passed on; it adds a Cache-Control to a Pragma;
// and it hides that a message had two lengths.

// await waits for the first byte of a head.
func (c *conn) await() error {
	_, err := c.br.Peek(1)
	return noEOF(err)
}

// timedOut reports whether reading ended because of readBy, and undoes that.
func (c *conn) timedOut() bool {
	if !errors.Is(c.err, os.ErrDeadlineExceeded) {
		return false
	}
	c.err = nil
	return true
}

// readHead reads the head of the answer to a request with that method into r,
// and into b how its body is to be read.
func (c *conn) readHead(method string, r *http.Response, b *body) error {
	line, err := c.br.ReadSlice('\n')
	if isAlert(line) {
		return ErrTLS
	}
	if err != nil && err != bufio.ErrBufferFull {
		return noEOF(err)
	}
	if !parseStatusLine(r, line) {
		return fmt.Errorf("%w: %q", errStatusLine, line[:min(len(line), maxQuoted)])
	}
	r.Header, err = c.readFields()
	if err != nil {
		return err
	}
	return b.frame(method, r)
}

// readFields reads header or trailer fields up to the empty line.
func (c *conn) readFields() (http.Header, error) {
	if h, ok := c.plainFields(); ok {
		return h, nil
	}
	h, err := c.text.ReadMIMEHeader()
	if malformed, ok := err.(textproto.ProtocolError); ok && len(malformed) > maxQuoted {
		return nil, malformed[:maxQuoted] + "..."
	}
	if err != nil {
		return nil, noEOF(err)
	}
	for name := range h {
		if strings.IndexByte(name, ' ') >= 0 {
			return nil, errFieldName
		}
	}
	return http.Header(h), nil
}

// plainFields reads fields as readFields does. It reports false, and has read
// nothing, unless all of them are in br's buffer, on a line each and without a
// byte that calls for a closer look. Nearly all heads are like that, and this
// makes three objects of one where the standard library makes one per field.
func (c *conn) plainFields() (http.Header, bool) {
	buffered, _ := c.br.Peek(c.br.Buffered())
	end := bytes.Index(buffered, []byte("\r\n\r\n"))
	if end < 0 {
		return nil, false
	}
	text := string(buffered[:end+len("\r\n")])
	n := strings.Count(text, "\n")
	h, values := make(http.Header, n), make([]string, n)
	for i := range n {
		line, rest, _ := strings.Cut(text, "\n")
		name, value, _ := strings.Cut(line, ":")
		value, whole := strings.CutSuffix(value, "\r")
		if text = rest; !whole || !field.IsToken(name) || !isPlain(value) {
			return nil, false
		}
		name, values[i] = http.CanonicalHeaderKey(name), strings.Trim(value, " \t")
		if others, again := h[name]; again {
			h[name] = append(others, values[i])
			continue
		}
		h[name] = values[i : i+1 : i+1]
	}
	c.br.Discard(end + len("\r\n\r\n"))
	return h, true
}

// isPlain reports whether s has no control characters but tabs.
func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// isAlert reports whether the target answered in a record of TLS, with an alert
// (RFC 8446, section 5.1).
func isAlert(line []byte) bool { return bytes.HasPrefix(line, []byte{21, 3}) }

// parseStatusLine fills in r's version and status code. The reason phrase is
// nobody's business (RFC 9112, section 4).
func parseStatusLine(r *http.Response, line []byte) bool {
	const form = "HTTP/1.x 200"
	line = bytes.TrimSuffix(line, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) < len(form) || len(line) > len(form) && line[len(form)] != ' ' {
		return false
	}
	switch string(line[:len("HTTP/1.x ")]) {
	case "HTTP/1.1 ":
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	case "HTTP/1.0 ":
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.0", 1, 0
	default:
		return false
	}
	code := 0
	for _, digit := range line[len("HTTP/1.x "):len(form)] {
		if digit < '0' || digit > '9' {
			return false
		}
		code = code*10 + int(digit-'0')
	}
	r.StatusCode = code
	return code >= 100
}

// frame finds out where r's body ends (RFC 9112, section 6.3) and whether the
// connection may be used again after it (section 9.3). Where the target is at
// odds with itself about the first, r is refused.
func (b *body) frame(method string, r *http.Response) error {
	h := r.Header
	lengths, encodings := h["Content-Length"], h["Transfer-Encoding"]
	length, err := parseLength(lengths)
	if err != nil {
		return err
	}
	if len(lengths) > 1 {
		h["Content-Length"] = lengths[:1:1]
	}
	chunked := len(encodings) > 0
	if chunked {
		if len(encodings) > 1 || !strings.EqualFold(encodings[0], "chunked") || r.ProtoMinor == 0 {
			return errEncoding
		}
		if len(lengths) > 0 {
			return errTwoLengths
		}
		delete(h, "Transfer-Encoding")
	}
	if r.Trailer = nil; chunked {
		if err := announceTrailers(r); err != nil {
			return err
		}
	}

	connection := h["Connection"]
	b.keep = !field.HasToken(connection, "close") && (r.ProtoMinor > 0 || field.HasToken(connection, "keep-alive"))
	r.ContentLength = length
	status := r.StatusCode
	switch {
	case status < 200, status == http.StatusNoContent:
		// A length is forbidden here. Who sends one may well send a body.
		b.keep = b.keep && !chunked && length <= 0
		fallthrough
	case status == http.StatusNotModified:
		if method != "HEAD" {
			r.ContentLength = 0
		}
		b.ending = atOnce
	case method == "HEAD", length == 0:
		b.ending = atOnce
	case chunked:
		b.ending = atLastChunk
	case length > 0:
		b.ending = atLength
		b.left = length
	default:
		b.ending = atClose
		b.keep = false
	}
	return nil
}

// parseLength returns the value of Content-Length, -1 where there is none.
func parseLength(values []string) (int64, error) {
	if len(values) == 0 {
		return -1, nil
	}
	for _, other := range values[1:] {
		if other != values[0] {
			return 0, errTwoLengths
		}
	}
	n, err := strconv.ParseUint(values[0], 10, 63)
	if err != nil {
		return 0, errLength
	}
	return int64(n), nil
}

// announceTrailers makes the Trailer of the header r's own, without values.
func announceTrailers(r *http.Response) error {
	values, announced := r.Header["Trailer"]
	if !announced {
		return nil
	}
	delete(r.Header, "Trailer")
	r.Trailer = make(http.Header)
	for _, value := range values {
		for name := range strings.SplitSeq(value, ",") {
			name = http.CanonicalHeaderKey(textproto.TrimString(name))
			switch name {
			case "":
			case "Transfer-Encoding", "Trailer", "Content-Length":
				return errTrailers
			default:
				r.Trailer[name] = nil
			}
		}
	}
	return nil
}

// keepAlive returns how long a connection may be idle after an answer with
// these Keep-Alive values: a second less than the target says, so that it is
// not the target that gives it up first, and less than a minute.
func keepAlive(values []string) time.Duration {
	for _, value := range values {
		for parameter := range strings.SplitSeq(value, ",") {
			name, seconds, _ := strings.Cut(textproto.TrimString(parameter), "=")
			if !strings.EqualFold(name, "timeout") {
				continue
			}
			if n, err := strconv.ParseUint(seconds, 10, 16); err == nil {
				return time.Duration(min(n, 60))*time.Second - time.Second
			}
		}
	}
	return idleLimit
}

// noEOF is for where an end is a surprise.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
