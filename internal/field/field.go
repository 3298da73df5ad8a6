// Package field reads the values of header fields: tokens, lists of them, and
// media types (RFC 9110, sections 5.6 and 8.3). What it reads is told apart
// without regard to case, and nothing is allocated.
package field

import (
	"iter"
	"net/http"
	"strings"
)

// IsToken reports whether s is a token, as the name of a field and a method
// are (RFC 9110, section 5.6.2).
func IsToken(s string) bool {
	for i := range len(s) {
		if kinds[s[i]]&tokenByte == 0 {
			return false
		}
	}
	return s != ""
}

// IsTokenByte reports whether c may stand in a token.
func IsTokenByte(c byte) bool { return kinds[c]&tokenByte != 0 }

// CanonicalName returns name in canonical form, as [http.CanonicalHeaderKey] does, and
// reports whether it is a token. Names that are canonical, which nearly all are, cost
// one look at each byte.
func CanonicalName(name string) (string, bool) {
	isCanonical, upper := true, true
	for i := range len(name) {
		c := name[i]
		kind := kinds[c]
		switch {
		case kind&tokenByte == 0:
			return "", false
		case upper && kind&lowerByte != 0, !upper && kind&upperByte != 0:
			isCanonical = false
		}
		upper = c == '-'
	}
	if !isCanonical {
		name = http.CanonicalHeaderKey(name)
	}
	return name, name != ""
}

// IsValue reports whether s can be the value of a field: it has no control
// characters but tabs (RFC 9110, section 5.5).
func IsValue(s string) bool {
	for i := range len(s) {
		if kinds[s[i]]&valueByte == 0 {
			return false
		}
	}
	return true
}

// IsValueByte reports whether c may stand in the value of a field.
func IsValueByte(c byte) bool { return kinds[c]&valueByte != 0 }

// TrimSpace returns s without the spaces and tabs around it (RFC 9110, section
// 5.6.3).
func TrimSpace(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// The kinds of bytes.
const (
	tokenByte = 1 << iota
	valueByte
	lowerByte
	upperByte
)

var kinds = func() (kinds [256]uint8) {
	for c := range kinds {
		switch {
		case 'a' <= c && c <= 'z':
			kinds[c] = tokenByte | lowerByte
		case 'A' <= c && c <= 'Z':
			kinds[c] = tokenByte | upperByte
		case '0' <= c && c <= '9':
			kinds[c] = tokenByte
		}
		if c >= ' ' && c != 0x7f || c == '\t' {
			kinds[c] |= valueByte
		}
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		kinds[c] |= tokenByte
	}
	return kinds
}()

// Elements yields the elements of a list that commas separate, without the
// white space around them and without empty ones.
func Elements(list string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for more := true; more; {
			var element string
			element, list, more = strings.Cut(list, ",")
			if element = trim(element); element != "" && !yield(element) {
				return
			}
		}
	}
}

// HasToken reports whether one of the lists, the values of one field, has
// token as an element.
func HasToken(lists []string, token string) bool {
	for _, list := range lists {
		for element := range Elements(list) {
			if strings.EqualFold(element, token) {
				return true
			}
		}
	}
	return false
}

// MediaType returns the media type of a Content-Type without its parameters,
// as it was sent: "" where h has none.
func MediaType(h http.Header) string {
	values := h["Content-Type"]
	if len(values) == 0 {
		return ""
	}
	return withoutParameters(values[0])
}

// HasMediaType reports whether one of the lists, the values of an Accept, names
// media, with whatever parameters.
func HasMediaType(lists []string, media string) bool {
	for _, list := range lists {
		for element := range Elements(list) {
			if strings.EqualFold(withoutParameters(element), media) {
				return true
			}
		}
	}
	return false
}

func withoutParameters(media string) string {
	media, _, _ = strings.Cut(media, ";")
	return trim(media)
}

// IsEventStream reports whether h is the head of a stream of server-sent
// events.
func IsEventStream(h http.Header) bool { return IsEventStreamType(h["Content-Type"]) }

// IsEventStreamType reports whether the values of a Content-Type say so.
func IsEventStreamType(values []string) bool {
	return len(values) > 0 && strings.EqualFold(withoutParameters(values[0]), "text/event-stream")
}

// IsGRPC reports whether h is the head of a gRPC request or answer, whatever
// its messages are written in (application/grpc, application/grpc+proto).
// gRPC-Web, which ends with its body, is not meant.
func IsGRPC(h http.Header) bool {
	const grpc = "application/grpc"
	media := MediaType(h)
	return len(media) >= len(grpc) && strings.EqualFold(media[:len(grpc)], grpc) &&
		(len(media) == len(grpc) || media[len(grpc)] == '+')
}

// IsCall reports whether r can be a gRPC call: gRPC is not spoken over HTTP/1,
// whatever a client says there. The rest is up to the target, which has to speak
// HTTP/2 as well.
func IsCall(r *http.Request) bool { return r.ProtoMajor > 1 && IsGRPC(r.Header) }

// trim removes the white space that may surround an element. Nearly always there
// is none, which strings.Trim takes longer to find out.
func trim(s string) string {
	for s != "" && isSpace(s[0]) {
		s = s[1:]
	}
	for s != "" && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }
