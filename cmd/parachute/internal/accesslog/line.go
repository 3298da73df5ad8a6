package accesslog

import (
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A line builds a log line in the format of slog's handlers. It uses no
// reflection, and once b has grown, does not allocate.
type line struct {
	b    []byte
	text bool // in the format of slog.TextHandler, not slog.JSONHandler
}

// begin empties s and begins a line.
func (s *line) begin(t time.Time, level, msg string) {
	s.b = s.b[:0]
	s.append(t, level, msg)
}

// append begins a line after the contents of s.
func (s *line) append(t time.Time, level, msg string) {
	if s.text {
		s.b = append(s.b, "time="...)
		s.b = t.AppendFormat(s.b, "2006-01-02T15:04:05.000Z07:00")
	} else {
		s.b = append(s.b, `{"time":"`...)
		s.b = t.AppendFormat(s.b, time.RFC3339Nano)
		s.b = append(s.b, '"')
	}
	s.str("level", level)
	s.str("msg", msg)
}

func (s *line) end() {
	if !s.text {
		s.b = append(s.b, '}')
	}
	s.b = append(s.b, '\n')
}

func (s *line) int(name string, v int64) {
	s.b = strconv.AppendInt(appendKey(s.b, name, s.text), v, 10)
}

func (s *line) str(name, v string) {
	s.b = appendValue(appendKey(s.b, name, s.text), v, s.text)
}

func appendKey(b []byte, name string, text bool) []byte {
	b = append(beginKey(b, text), name...)
	return endKey(b, text)
}

func beginKey(b []byte, text bool) []byte {
	if text {
		return append(b, ' ')
	}
	return append(b, `,"`...)
}

func endKey(b []byte, text bool) []byte {
	if text {
		return append(b, '=')
	}
	return append(b, `":`...)
}

func appendValue(b []byte, v string, text bool) []byte {
	v = truncate(v)
	switch {
	case !text:
		return appendJSON(b, v)
	case isBare(v):
		return append(b, v...)
	}
	return strconv.AppendQuote(b, v)
}

// headers writes the headers of those names. Several values of a header are
// joined with commas.
func (s *line) headers(prefix string, names []string, h http.Header) {
	for _, name := range names {
		b := append(beginKey(s.b, s.text), prefix...)
		for i := range len(name) {
			b = append(b, fieldByte(name[i]))
		}
		s.b = appendValue(endKey(b, s.text), strings.Join(h[http.CanonicalHeaderKey(name)], ","), s.text)
	}
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

// appendJSON appends v as a JSON string. Like encoding/json, it replaces invalid
// UTF-8 by the replacement character, and escapes U+2028 and U+2029.
func appendJSON(b []byte, v string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start, i := 0, 0
	for i < len(v) && isPlain[v[i]] {
		i++
	}
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
		if isPlain[c] {
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
	b = append(b, v[start:]...)
	return append(b, '"')
}

// isPlain tells the bytes that stand for themselves in a JSON string.
var isPlain = func() (plain [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		plain[c] = c != '"' && c != '\\'
	}
	return plain
}()

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
