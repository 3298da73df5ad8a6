package upstream

import (
	"bytes"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shahnk19/parachute/internal/field"
)

// A lastHead is the head that was read last from a connection. Many a target that is
// asked often says the same again, but for a date that is another each second.
type lastHead struct {
	text   string      // as it came, up to the empty line and with it; "": it was not plain
	header http.Header // what text says

	// What it says besides.
	status   int
	minor    int           // of its version: 0 or 1
	length   int64         // of the body; -1: it is told otherwise
	chunked  bool          // the body is
	trailers []string      // values of Trailer: names of what follows the body
	keep     bool          // the connection may be used again after the body
	limit    time.Duration // for how long it may be idle then
}

// parse reads the head at the start of p, which ends with h.text. It returns a header that
// other answers share, and nobody changes. It reports false unless the whole head is there,
// with each field on a line and nothing that calls for a closer look. Nearly all heads are
// like that.
func (h *lastHead) parse(p []byte) (http.Header, bool) {
	if n := len(h.text); n == 0 || len(p) < n || string(p[:n]) != h.text {
		end := bytes.Index(p, []byte("\r\n\r\n"))
		if end == -1 {
			return nil, false
		}
		h.text = string(p[:end+len("\r\n\r\n")])
		if !h.parseText() {
			h.text = ""
			return nil, false
		}
	}
	return h.header, true
}

// parseText is parse for the head that is h.text.
func (h *lastHead) parseText() (ok bool) {
	line, fields, _ := strings.Cut(h.text, "\n")
	if !h.parseStatusLine(line) {
		return false
	}
	h.header, ok = parsePlain(strings.TrimSuffix(fields, "\r\n"))
	return ok && h.frame(h.header) == nil
}

// parsePlain returns the fields in text, unless one calls for a closer look. It makes three
// objects where the standard library makes one per field.
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
			h[name] = slices.Clip(append(others, values[i])) // whoever appends to them has others then
			continue
		}
		h[name] = values[i : i+1 : i+1]
	}
	return h, true
}

// parseStatusLine reads version and status code. A version above 1.1 is to be taken
// for that (RFC 9110, section 2.5). The reason phrase is nobody's business (RFC 9112,
// section 4).
func (h *lastHead) parseStatusLine(line string) bool {
	const version, status = "HTTP/1.", "200"
	line = strings.TrimSuffix(line, "\n")
	line = strings.TrimSuffix(line, "\r")
	if len(line) < len("HTTP/1.x 200") || line[:len(version)] != version || line[len("HTTP/1.x")] != ' ' {
		return false
	}
	minor := line[len(version)]
	if minor < '0' || minor > '9' {
		return false
	}
	h.minor = min(int(minor-'0'), 1)
	line = strings.TrimLeft(line[len("HTTP/1.x"):], " ")
	if len(line) < len(status) || len(line) > len(status) && line[len(status)] != ' ' {
		return false
	}
	h.status = 0
	for _, digit := range []byte(line[:len(status)]) {
		if digit < '0' || digit > '9' {
			return false
		}
		h.status = h.status*10 + int(digit-'0')
	}
	return h.status >= 100
}

// frame finds out what header tells about the end of the body (RFC 9112, section 6.3)
// and whether the connection may be used again after it (section 9.3), and takes out of it
// what is not passed on. Where the target is at odds with itself about the first, that is
// an error, unless it says chunked beside a length: that is what everybody reads.
func (h *lastHead) frame(header http.Header) error {
	length, err := takeLength(header)
	if err != nil {
		return err
	}
	codings := header["Transfer-Encoding"]
	coded := len(codings) > 0
	chunked, err := isChunked(codings)
	both := coded && length >= 0
	switch {
	case err != nil:
		return err
	case coded && h.minor == 0: // some would not know the field
		return errEncoding
	case both && !chunked:
		return errTwoLengths
	case both:
		delete(header, "Content-Length")
		length = -1
	}
	if coded {
		delete(header, "Transfer-Encoding")
	}
	h.length, h.chunked, h.trailers = length, chunked, nil
	if chunked {
		h.trailers = header["Trailer"]
		delete(header, "Trailer")
	}
	connection := header["Connection"]
	h.keep = !both && !field.HasToken(connection, "close") && (h.minor > 0 || field.HasToken(connection, "keep-alive"))
	h.limit = keepAlive(header["Keep-Alive"])
	return nil
}

// frame finds out where the body ends that follows h, in the answer to a request with that
// method, and whether the connection may be used again after it. It returns the
// ContentLength of the answer.
func (b *answerBody) frame(method string, h *lastHead) int64 {
	status := h.status
	none := status < 200 || status == http.StatusNoContent || status == http.StatusNotModified
	if (none || method == "HEAD") && (h.chunked || h.length > 0) {
		// Where that is allowed it tells what another answer would have. But who
		// sends it may as well send a body, now or later, and in that might be
		// what looks like the next answer. An interim head tells for the final one.
		b.doubtful = true
	}
	b.keep = h.keep && !b.doubtful
	switch {
	case method == "HEAD":
		b.ending = atOnce
	case none:
		b.ending = atOnce
		return 0
	case h.length == 0:
		b.ending = atOnce
	case h.chunked:
		b.ending = atLastChunk
	case h.length > 0:
		b.ending = atLength
		b.left = h.length
	default:
		b.ending = atClose
		b.keep = false
	}
	return h.length
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

// announced returns the fields that the values of a Trailer name, without values.
// What frames a message cannot be among them.
func announced(trailers []string) http.Header {
	h := make(http.Header)
	for _, value := range trailers {
		for name := range field.Elements(value) {
			if !isDerived(name) {
				h[http.CanonicalHeaderKey(name)] = nil
			}
		}
	}
	return h
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
