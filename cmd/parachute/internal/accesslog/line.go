package accesslog

import (
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A line builds log lines of one level and message in the format of slog's handlers.
// It uses no reflection, and once b has grown, does not allocate.
type line struct {
	text       bool // in the format of slog.TextHandler, not slog.JSONHandler
	level, msg string

	b []byte // the line

	// All lines of a second begin with the same head bytes of b, which are left there for
	// the next line. Behind the fraction of the second they go on with the same tail: the
	// time zone, the level and the message.
	second int64 // since 1970
	head   int   // 0 before the first line
	tail   []byte
}

// begin empties s and begins a line.
func (s *line) begin(t time.Time) {
	if s.head == 0 || s.second != t.Unix() {
		s.beginSecond(t)
	}
	b := s.b[:s.head]
	if s.text {
		b = appendInt(b, 1e3+int64(t.Nanosecond())/1e6)
	} else {
		b = appendInt(b, 1e9+int64(t.Nanosecond()))
		for b[len(b)-1] == '0' {
			b = b[:len(b)-1]
		}
	}
	b[s.head] = '.' // in place of the 1 that has kept the zeros behind it
	if len(b) == s.head+1 {
		b = b[:s.head]
	}
	s.b = append(b, s.tail...)
}

// beginSecond sets what the lines of the second of t have in common.
func (s *line) beginSecond(t time.Time) {
	s.second = t.Unix()
	if s.text {
		s.b = append(s.b[:0], "time="...)
	} else {
		s.b = append(s.b[:0], `{"time":"`...)
	}
	s.b = t.AppendFormat(s.b, "2006-01-02T15:04:05")
	s.head = len(s.b)
	s.b = t.AppendFormat(s.b, "Z07:00")
	if !s.text {
		s.b = append(s.b, '"')
	}
	s.str(`,"level":"`, s.level)
	s.str(`,"msg":"`, s.msg)
	s.tail = append(s.tail[:0], s.b[s.head:]...)
}

func (s *line) end() {
	if !s.text {
		s.b = append(s.b, '}')
	}
	s.b = append(s.b, '\n')
}

// str adds a field. Its key is all that stands before the value in JSON. This, int and
// appendInt are not inlined: the line of a request has twenty fields, and as many copies
// were most of the code that it passes through.
//
//go:noinline
func (s *line) str(key, v string) {
	if s.text {
		s.b = appendText(appendName(s.b, key[len(`,"`):len(key)-len(`":"`)]), v)
		return
	}
	b := append(s.b, key...)
	if len(v) <= maxValue && isPlain(v) {
		b = append(b, v...)
	} else {
		b = appendEscaped(b, truncate(v))
	}
	s.b = append(b, '"')
}

//go:noinline
func (s *line) int(key string, v int64) {
	b := s.b
	if s.text {
		b = appendName(b, key[len(`,"`):len(key)-len(`":`)])
	} else {
		b = append(b, key...)
	}
	s.b = appendInt(b, v)
}

// header adds the header of that name. Several values are joined with commas.
func (s *line) header(prefix, name string, h http.Header) {
	v := strings.Join(h[http.CanonicalHeaderKey(name)], ",")
	if s.text {
		s.b = append(s.b, ' ')
	} else {
		s.b = append(s.b, `,"`...)
	}
	s.b = append(s.b, prefix...)
	for i := range len(name) {
		s.b = append(s.b, fieldByte(name[i]))
	}
	if s.text {
		s.b = appendText(append(s.b, '='), v)
		return
	}
	s.str(`":"`, v)
}

//go:noinline
func appendInt(b []byte, v int64) []byte {
	var digits [len("-9223372036854775808")]byte
	i := len(digits)
	left := uint64(v)
	if v < 0 {
		left = -left
	}
	for {
		i--
		digits[i] = '0' + byte(left%10)
		if left /= 10; left == 0 {
			break
		}
	}
	if v < 0 {
		i--
		digits[i] = '-'
	}
	return append(b, digits[i:]...)
}

// fieldByte converts a byte of a header name for the name of a field.
func fieldByte(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c - 'A' + 'a'
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	}
	return '_'
}

// maxValue is the longest value in a line, because a request can have megabytes
// of headers.
const maxValue = 2048

// truncate returns v, shortened to maxValue bytes if it is longer.
func truncate(v string) string {
	if len(v) <= maxValue {
		return v
	}
	n := maxValue - len("...")
	for i := 1; i < utf8.UTFMax; i++ {
		if !utf8.RuneStart(v[n]) {
			n--
		}
	}
	return v[:n] + "..."
}

// isPlain reports whether v stands for itself in a JSON string.
func isPlain(v string) bool {
	for i := range len(v) {
		if !plain[v[i]] {
			return false
		}
	}
	return true
}

// plain tells the bytes that stand for themselves in a JSON string.
var plain = func() (plain [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		plain[c] = c != '"' && c != '\\'
	}
	return plain
}()

// appendEscaped appends v as it stands in a JSON string. Like encoding/json, it replaces
// invalid UTF-8 by the replacement character, and escapes U+2028 and U+2029.
func appendEscaped(b []byte, v string) []byte {
	const hex = "0123456789abcdef"
	start, i := 0, 0
	for i < len(v) {
		c := v[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(v[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(b, v[start:i]...)
				b = append(b, `\ufffd`...)
				start = i + size
			} else if r == '\u2028' || r == '\u2029' {
				b = append(b, v[start:i]...)
				b = append(b, `\u202`...)
				b = append(b, hex[r&0xf])
				start = i + size
			}
			i += size
			continue
		}
		if plain[c] {
			i++
			continue
		}
		b = append(b, v[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			b = append(b, `\u00`...)
			b = append(b, hex[c>>4], hex[c&0xf])
		}
		i++
		start = i
	}
	return append(b, v[start:]...)
}

// appendText appends v as the value of a text line.
func appendText(b []byte, v string) []byte {
	if v = truncate(v); isBare(v) {
		return append(b, v...)
	}
	return strconv.AppendQuote(b, v)
}

// appendName appends the name of a field of a text line.
func appendName(b []byte, name string) []byte {
	b = append(b, ' ')
	b = append(b, name...)
	return append(b, '=')
}

// isBare reports whether v needs no quotes in a text line.
func isBare(v string) bool {
	for i := 0; i < len(v); {
		c := v[i]
		if c < utf8.RuneSelf {
			if c <= ' ' || c == '"' || c == '=' {
				return false
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(v[i:])
		if r == utf8.RuneError || unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return false
		}
		i += size
	}
	return v != ""
}
