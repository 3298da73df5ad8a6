package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

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
	h := &c.last
	buffered, _ := c.br.Peek(c.br.Buffered())
	header, ok := h.parse(buffered)
	if ok {
		c.br.Discard(len(h.text))
	} else {
		var err error
		if header, err = c.readClosely(h); err != nil {
			return err
		}
	}
	r.Header, r.StatusCode = header, h.status
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, h.minor
	if h.minor == 0 {
		r.Proto = "HTTP/1.0"
	}
	r.Trailer = nil
	if len(h.trailers) != 0 {
		r.Trailer = announced(h.trailers)
	}
	c.limit = h.limit
	r.ContentLength = b.frame(method, h)
	return nil
}

// readClosely reads a head into h that parse has not taken.
func (c *targetConn) readClosely(h *lastHead) (http.Header, error) {
	h.text, h.header = "", nil
	if err := c.expectHead(); err != nil {
		return nil, err
	}
	line, err := c.br.ReadSlice('\n')
	switch {
	case err != nil && err != bufio.ErrBufferFull:
		return nil, notStatusLine(line)
	case !h.parseStatusLine(string(line)):
		return nil, notStatusLine(line)
	}
	for err == bufio.ErrBufferFull { // of the reason phrase
		_, err = c.br.ReadSlice('\n')
	}
	if err != nil {
		return nil, noEOF(err)
	}
	fields, err := c.readFields(header)
	if err != nil {
		return nil, err
	}
	return fields, h.frame(fields)
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

// isAlert reports whether the target answered in a record of TLS, with an alert
// (RFC 8446, section 5.1).
func isAlert(line []byte) bool { return bytes.HasPrefix(line, []byte{21, 3}) }

// noEOF returns err, or io.ErrUnexpectedEOF in place of io.EOF.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
