package http1

import (
	"bytes"
	"net/url"
	"strings"

	"github.com/shahnk19/parachute/internal/field"
)

// A head is what the head of a request says. Its strings do not change and may be
// kept; fields is used again for the next head.
type head struct {
	method string
	target string
	minor  int         // of HTTP/1.minor
	fields []fieldLine // in order, Host among them
	text   string      // what fields was parsed from

	message         // what the fields say about the message
	url     url.URL // what target says
	parsed  string  // what url was parsed from
}

// A fieldLine is one line of the header section (RFC 9112, section 5).
type fieldLine struct {
	name  string // in canonical form
	value string // without the white space around it
}

// parseHead parses the head of a request at the beginning of b. It returns how
// many bytes the head takes, including one empty line in front of it (RFC 9112,
// section 2.2) and the one that ends it; or 0 if it has not arrived as a whole. An
// error is a [*refusal], and is returned as soon as it can be seen, since a client
// that ends its lines in another way would wait for an answer.
//
// s is the state of the search for the end. The zero value is for a new head; it
// is kept from call to call while more bytes arrive. What h has from an earlier
// head is used again where it is the same.
func parseHead(b []byte, s *search, l *limits, h *head) (int, error) {
	end, err := s.run(b, l)
	if err != nil {
		return 0, err
	}
	if s.lineEnd > 0 && !s.lineRead {
		if err := h.parseLine(b[s.begin:s.lineEnd], l); err != nil {
			return 0, err // HTTP/0.9 has nothing but this line
		}
		s.lineRead = true
	}
	if end == 0 {
		return 0, nil
	}
	fields := b[s.lineEnd+len("\r\n") : end-len("\r\n")]
	if err := h.parseFields(fields); err != nil {
		return 0, err
	}
	if err := h.check(); err != nil {
		return 0, err
	}
	return end, nil
}

// limits bound a head.
type limits struct {
	bytes  int // in all
	fields int
	target int // bytes of the request target
}

// A search looks for the end of a head. It looks at each byte once, however many
// pieces they arrive in.
type search struct {
	passed   bool // an empty line was passed over before, so none may begin b
	begin    int  // of the request line
	lineEnd  int  // of the request line; 0: it has not arrived
	lineRead bool // the request line has been parsed
	line     int  // the beginning of the last line
	next     int  // what comes before it was searched
	lines    int  // how many were complete
}

// maxMethod is how long a method may be if the request line does not end.
const maxMethod = 64

// run returns where the head in b ends, or 0 if it has not arrived as a whole.
func (s *search) run(b []byte, l *limits) (end int, err error) {
	if s.begin == 0 && !s.passed && len(b) > 0 && b[0] == '\r' {
		if len(b) == 1 {
			return 0, nil
		}
		if b[1] != '\n' {
			return 0, errLineEnd
		}
		s.begin, s.line, s.next = 2, 2, 2
	}
	if len(b) > s.begin && !field.IsTokenByte(b[s.begin]) {
		return 0, beginningError(b[s.begin:])
	}
	for s.next < len(b) {
		i := bytes.IndexByte(b[s.next:], '\n')
		if i < 0 {
			break
		}
		i += s.next
		if i == s.line || b[i-1] != '\r' {
			return 0, errLineEnd
		}
		begin := s.line
		s.line, s.next = i+1, i+1
		if s.lineEnd == 0 {
			s.lineEnd = i - 1
			continue
		}
		if i-1 == begin {
			if i+1 > l.bytes {
				return 0, errHeadSize
			}
			return i + 1, nil
		}
		if s.lines++; s.lines > l.fields {
			return 0, errFields
		}
	}
	// The last line has no end yet. A CR in it has to be that.
	if from := max(s.line, s.next-1); bytes.IndexByte(b[from:max(from, len(b)-1)], '\r') >= 0 {
		return 0, errLineEnd
	}
	s.next = len(b)
	switch {
	case s.lineEnd == 0 && len(b)-s.begin > l.target+maxMethod:
		return 0, errTargetSize
	case len(b) >= l.bytes:
		return 0, errHeadSize
	}
	return 0, nil
}

// beginningError says what is wrong with a request line that begins with no token.
func beginningError(b []byte) error {
	switch b[0] {
	case '\r', '\n':
		return errEmptyLine
	default:
		return errBeginning
	}
}

// parseLine parses the request line (RFC 9112, section 3).
func (h *head) parseLine(line []byte, l *limits) error {
	end := bytes.IndexByte(line, ' ')
	if end < 0 {
		return errLine
	}
	method, rest := line[:end], line[end+1:]
	for _, c := range method {
		if !field.IsTokenByte(c) {
			return errMethod
		}
	}
	if end = bytes.IndexByte(rest, ' '); end <= 0 {
		return errLine
	}
	target, version := rest[:end], rest[end+1:]
	if len(target) > l.target {
		return errTargetSize
	}
	for _, c := range target {
		if c <= ' ' || c == '#' || c == 0x7f {
			return errTargetByte
		}
	}
	switch string(version) {
	case "HTTP/1.1":
		h.minor = 1
	case "HTTP/1.0":
		h.minor = 0
	default:
		if isVersion(version) {
			return errVersion
		}
		return errLine
	}
	h.method = methodOf(method)
	if h.target != string(target) {
		h.target = string(target)
	}
	return nil
}

// isVersion reports whether b is a version of HTTP.
func isVersion(b []byte) bool {
	isDigit := func(c byte) bool { return '0' <= c && c <= '9' }
	return len(b) == len("HTTP/0.0") && string(b[:len("HTTP/")]) == "HTTP/" && isDigit(b[5]) && b[6] == '.' && isDigit(b[7])
}

// methodOf returns method as a string, without allocating for the usual ones.
func methodOf(method []byte) string {
	switch string(method) {
	case "GET":
		return "GET"
	case "HEAD":
		return "HEAD"
	case "POST":
		return "POST"
	case "PUT":
		return "PUT"
	case "PATCH":
		return "PATCH"
	case "DELETE":
		return "DELETE"
	case "OPTIONS":
		return "OPTIONS"
	}
	return string(method)
}

// parseFields parses the field lines in b, which all end with CRLF. Lines that are
// those of the head before, as on most connections nearly all of the time, are not
// parsed again.
func (h *head) parseFields(b []byte) (err error) {
	if h.text == string(b) && len(b) > 0 {
		return nil
	}
	text := string(b)
	h.text = ""
	h.fields, err = appendFields(h.fields[:0], text)
	if err != nil {
		return err
	}
	h.message, err = readMessage(h.fields)
	if err == nil {
		h.text = text
	}
	return err
}

// appendFields appends the field lines in text (RFC 9112, section 5) to fields.
func appendFields(fields []fieldLine, text string) ([]fieldLine, error) {
	for text != "" {
		end := strings.IndexByte(text, '\n')
		line := text[:end-len("\r")]
		text = text[end+1:]
		colon := strings.IndexByte(line, ':')
		switch {
		case line == "" || line[0] == ' ' || line[0] == '\t':
			return fields, errFolded
		case colon < 0:
			return fields, errFieldName
		}
		name, ok := field.CanonicalName(line[:colon])
		if !ok {
			return fields, errFieldName
		}
		value := field.TrimSpace(line[colon+1:])
		if !field.IsValue(value) {
			return fields, errFieldValue
		}
		fields = append(fields, fieldLine{name, value})
	}
	return fields, nil
}

// The kinds of bytes.
const (
	hostByte = 1 << iota // of a name in a Host
	pathByte             // of a path, where it stands for itself
)

var byteKinds = func() (kinds [256]uint8) {
	for c := range kinds {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
			kinds[c] = hostByte | pathByte
		}
	}
	// Unreserved characters and delimiters (RFC 3986, section 3.2.2). A comma could
	// be of a list of two hosts.
	for _, c := range "-._~!$&'()*+;=" {
		kinds[c] |= hostByte
	}
	for _, c := range "/-._~$&+:=@" {
		kinds[c] |= pathByte
	}
	return kinds
}()

// cleanValue replaces control characters, which could end a line, by spaces.
func cleanValue(b []byte) {
	for i, c := range b {
		if !field.IsValueByte(c) {
			b[i] = ' '
		}
	}
}
