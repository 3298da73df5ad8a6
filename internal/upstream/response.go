package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"os"
	"slices"
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
	errField      = errors.New("neither a field nor the end of them")
	errTrailers   = errors.New("trailers larger than 256 KiB")
	errLineEnd    = errors.New("a line of the trailers that ends without CR")
	errEncoding   = errors.New("transfer coding other than chunked, or one in HTTP/1.0")
	errTwoLengths = errors.New("two lengths that contradict each other")
	errLength     = errors.New("invalid Content-Length")
)

// Heads are read here and not by http.ReadResponse, which takes a Connection
// with "close" out of the header, and with it the names of other fields that
// are not to be passed on; adds a Cache-Control to a Pragma; hides that a
// message had two lengths; and refuses what every other proxy takes.
//
// What targets write is taken leniently where it can mean but one thing: any
// version 1.x; a length that is said more than once; folded lines (RFC 9112,
// section 5.2) and lines that end without CR; control characters in values,
// which become spaces; and names that are no tokens, whose fields are left out.
// It is refused where two readers could see two messages in it.

// await waits for the first byte of an answer.
func (c *targetConn) await() error {
	_, err := c.br.Peek(1)
	return noEOF(err)
}

// timedOut reports whether reading ended because of a deadline, and undoes that.
func (c *targetConn) timedOut() bool {
	if !errors.Is(c.err, os.ErrDeadlineExceeded) {
		return false
	}
	c.err = nil
	return true
}

// readHead reads the head of the answer to a request with that method into r,
// and into b how its body is to be read.
func (c *targetConn) readHead(method string, r *http.Response, b *answerBody) error {
	if err := c.expectHead(); err != nil {
		return err
	}
	line, err := c.br.ReadSlice('\n')
	switch {
	case err != nil && err != bufio.ErrBufferFull:
		return notStatusLine(line)
	case !parseStatusLine(r, line):
		return notStatusLine(line)
	}
	for err == bufio.ErrBufferFull { // of the reason phrase
		_, err = c.br.ReadSlice('\n')
	}
	if err != nil {
		return noEOF(err)
	}
	r.Header, err = c.readFields(header)
	if err != nil {
		return err
	}
	return b.frame(method, r)
}

// expectHead waits until what comes can be seen to begin as a status line does.
// What does not is no answer, and its line may never end.
func (c *targetConn) expectHead() error {
	const beginning = "HTTP/"
	for n := 1; n <= len(beginning); n++ {
		p, err := c.br.Peek(n)
		if err != nil {
			return notStatusLine(p)
		}
		if p[n-1] == beginning[n-1] {
			continue
		}
		line, _ := c.br.Peek(c.br.Buffered())
		if isAlert(line) {
			return ErrTLS
		}
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			line = line[:end+1]
		}
		return notStatusLine(line)
	}
	return nil
}

func notStatusLine(line []byte) error {
	return fmt.Errorf("%w: %q", errStatusLine, line[:min(len(line), maxQuoted)])
}

// A section says which fields are read.
type section int

const (
	header section = iota
	trailer
)

// readFields reads the fields of a section up to the empty line.
func (c *targetConn) readFields(where section) (http.Header, error) {
	if h, ok := c.plainFields(); ok {
		return h, nil
	}
	h := make(http.Header)
	var last []byte // the field that may go on in the next line
	for {
		line, err := c.readLine(where)
		if err != nil {
			return nil, err
		}
		if len(last) != 0 && len(line) != 0 && (line[0] == ' ' || line[0] == '\t') {
			last = append(append(bytes.TrimRight(last, " \t"), ' '), bytes.Trim(line, " \t")...)
			continue
		}
		if len(last) > 0 {
			if err := addField(h, last); err != nil {
				return nil, err
			}
		}
		if len(line) == 0 {
			return h, nil
		}
		last = append(last[:0], line...)
	}
}

// readLine returns the next line without its end. It is valid until more is
// read. A LF alone ends a line of a header, as it does for everybody; but in
// trailers some would look for the end elsewhere.
func (c *targetConn) readLine(where section) ([]byte, error) {
	line, err := c.br.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		var rest []byte
		line = bytes.Clone(line)
		rest, err = c.br.ReadBytes('\n')
		line = append(line, rest...)
	}
	if err != nil {
		return nil, noEOF(err)
	}
	line = line[:len(line)-1]
	line, whole := bytes.CutSuffix(line, []byte("\r"))
	if where == trailer && !whole {
		return nil, errLineEnd
	}
	return line, nil
}

// addField adds the field in line, which it may change, to h.
func addField(h http.Header, line []byte) error {
	name, value, ok := bytes.Cut(line, []byte(":"))
	key, isToken := field.CanonicalName(string(name))
	switch {
	case !ok || len(name) == 0 || !isWord(string(name)) || bytes.IndexByte(value, '\r') >= 0 || bytes.IndexByte(value, 0) >= 0:
		return fmt.Errorf("%w: %q", errField, line[:min(len(line), maxQuoted)])
	case !isToken:
		return nil
	}
	for i, c := range value {
		if !field.IsValueByte(c) { // which no client of HTTP/2 takes
			value[i] = ' '
		}
	}
	h[key] = append(h[key], string(bytes.Trim(value, " \t")))
	return nil
}

// plainFields reads fields as readFields does. It reports false, and has read
// nothing, unless all of them are in br's buffer, on a line each and with nothing
// that calls for a closer look. Nearly all heads are like that.
func (c *targetConn) plainFields() (http.Header, bool) {
	buffered, _ := c.br.Peek(c.br.Buffered())
	end := bytes.Index(buffered, []byte("\r\n\r\n"))
	if end == -1 {
		return nil, false
	}
	h, ok := c.last.parse(buffered[:end+len("\r\n")])
	if ok {
		c.br.Discard(end + len("\r\n\r\n"))
	}
	return h, ok
}

// lastFields are the fields that were read last from a connection. Many a target that is
// asked often says the same again, but for a date that is another each second.
type lastFields struct {
	text   string      // as they came
	header http.Header // what text says; nil: that has come only once
}

// parse returns what text says, a header of its own whose values are shared. It reports
// false as plainFields does.
func (l *lastFields) parse(text []byte) (http.Header, bool) {
	if string(text) != l.text {
		l.text, l.header = string(text), nil
		return parsePlain(l.text)
	}
	if l.header == nil {
		h, ok := parsePlain(l.text)
		if !ok {
			return nil, false
		}
		for name, values := range h {
			h[name] = slices.Clip(values) // whoever appends to them has others then
		}
		l.header = h
	}
	return maps.Clone(l.header), true
}

// parsePlain is plainFields for fields that are all in text. It makes three objects
// where the standard library makes one per field.
func parsePlain(text string) (http.Header, bool) {
	n := strings.Count(text, "\n")
	h, values := make(http.Header, n), make([]string, n)
	for i := range n {
		line, rest, _ := strings.Cut(text, "\n")
		name, value, _ := strings.Cut(line, ":")
		value, whole := strings.CutSuffix(value, "\r")
		name, isToken := field.CanonicalName(name)
		if text = rest; !whole || !isToken || !field.IsValue(value) {
			return nil, false
		}
		values[i] = field.TrimSpace(value)
		if others, again := h[name]; again {
			h[name] = append(others, values[i])
			continue
		}
		h[name] = values[i : i+1 : i+1]
	}
	return h, true
}

// isAlert reports whether the target answered in a record of TLS, with an alert
// (RFC 8446, section 5.1).
func isAlert(line []byte) bool { return bytes.HasPrefix(line, []byte{21, 3}) }

// parseStatusLine fills in r's version and status code. A version above 1.1 is
// to be taken for that (RFC 9110, section 2.5). The reason phrase is nobody's
// business (RFC 9112, section 4).
func parseStatusLine(r *http.Response, line []byte) bool {
	const version, status = "HTTP/1.", "200"
	line = bytes.TrimSuffix(line, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) < len("HTTP/1.x 200") || string(line[:len(version)]) != version || line[len("HTTP/1.x")] != ' ' {
		return false
	}
	switch minor := line[len(version)]; {
	case minor == '0':
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.0", 1, 0
	case '1' <= minor && minor <= '9':
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	default:
		return false
	}
	line = bytes.TrimLeft(line[len("HTTP/1.x"):], " ")
	if len(line) < len(status) || len(line) > len(status) && line[len(status)] != ' ' {
		return false
	}
	code := 0
	for _, digit := range line[:len(status)] {
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
// odds with itself about the first, r is refused, unless it says chunked beside
// a length: that is what everybody reads.
func (b *answerBody) frame(method string, r *http.Response) error {
	h := r.Header
	length, err := takeLength(h)
	if err != nil {
		return err
	}
	codings := h["Transfer-Encoding"]
	coded := len(codings) > 0
	chunked, err := isChunked(codings)
	counted := length >= 0
	both := coded && counted
	switch {
	case err != nil:
		return err
	case coded && r.ProtoMinor == 0: // some would not know the field
		return errEncoding
	case both && !chunked:
		return errTwoLengths
	case both:
		delete(h, "Content-Length")
		length = -1
	}
	if coded {
		delete(h, "Transfer-Encoding")
	}
	if r.Trailer = nil; chunked {
		announceTrailers(r)
	}

	connection := h["Connection"]
	b.keep = !both && !field.HasToken(connection, "close") && (r.ProtoMinor > 0 || field.HasToken(connection, "keep-alive"))
	r.ContentLength = length
	status := r.StatusCode
	bodiless := status < 200 || status == http.StatusNoContent || status == http.StatusNotModified || method == "HEAD"
	if bodiless && (chunked || length > 0) {
		// Where that is allowed it tells what another answer would have. But who
		// sends it may as well send a body, now or later, and in that might be
		// what looks like the next answer. An interim head tells for the final one.
		b.doubtful = true
	}
	b.keep = b.keep && !b.doubtful
	switch {
	case status < 200, status == http.StatusNoContent, status == http.StatusNotModified:
		if method != "HEAD" {
			r.ContentLength = 0
		}
		b.ending = atOnce
	case method == "HEAD", length == 0:
		b.ending = atOnce
	case chunked:
		b.ending = atLastChunk
	case counted:
		b.ending = atLength
		b.left = length
	default:
		b.ending = atClose
		b.keep = false
	}
	return nil
}

// takeLength returns the length that h tells, -1 where there is none, and has h
// tell it once: one that is repeated, in a list or in lines of its own, is valid
// (RFC 9110, section 8.6).
func takeLength(h http.Header) (int64, error) {
	values := h["Content-Length"]
	if len(values) == 0 {
		return -1, nil
	}
	if len(values) == 1 { // as nearly all
		if n, err := strconv.ParseUint(values[0], 10, 63); err == nil {
			return int64(n), nil
		}
	}
	var length int64
	times := 0
	for _, value := range values {
		for element := range strings.SplitSeq(value, ",") {
			n, err := strconv.ParseUint(textproto.TrimString(element), 10, 63)
			switch {
			case err != nil:
				return 0, errLength
			case times > 0 && int64(n) != length:
				return 0, errTwoLengths
			}
			length = int64(n)
			times++
		}
	}
	h["Content-Length"] = []string{strconv.FormatInt(length, 10)}
	return length, nil
}

// isChunked reports whether the values of Transfer-Encoding say chunked. The only
// other coding that is known is the one that says nothing: identity, of which
// HTTP was rid in 2014.
func isChunked(codings []string) (bool, error) {
	switch {
	case len(codings) == 0:
		return false, nil
	case len(codings) == 1 && strings.EqualFold(codings[0], "chunked"):
		return true, nil
	case len(codings) == 1 && strings.EqualFold(codings[0], "identity"):
		return false, nil
	}
	return false, errEncoding
}

// announceTrailers makes the Trailer of the header r's own, without values.
// What frames a message cannot be in there.
func announceTrailers(r *http.Response) {
	values, announced := r.Header["Trailer"]
	if !announced {
		return
	}
	delete(r.Header, "Trailer")
	r.Trailer = make(http.Header)
	for _, value := range values {
		for name := range field.Elements(value) {
			if !isDerived(name) {
				r.Trailer[http.CanonicalHeaderKey(name)] = nil
			}
		}
	}
}

// keepAlive returns how long a connection may be idle after an answer with
// these Keep-Alive values: a second less than the target says, so that it is
// not the target that gives it up first, and less than a minute.
func keepAlive(values []string) time.Duration {
	for _, value := range values {
		for parameter := range field.Elements(value) {
			name, seconds, _ := strings.Cut(parameter, "=")
			if !strings.EqualFold(name, "timeout") {
				continue
			}
			if n, err := strconv.ParseUint(seconds, 10, 16); err == nil {
				return time.Duration(min(n, 60))*time.Second - time.Second
			}
		}
	}
	return defaultKeepAlive
}

// noEOF returns err, or io.ErrUnexpectedEOF in place of io.EOF.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
