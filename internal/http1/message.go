package http1

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/shahnk19/parachute/internal/field"
)

// A message is what the fields of a request say about the request as a message:
// where it ends, and what becomes of the connection.
type message struct {
	host   string // value of Host
	hosts  int    // how many Host fields there are
	length int64  // Content-Length; -1: none

	coded       bool // there is a Transfer-Encoding, which is chunked
	close       bool // Connection has close
	keepAlive   bool // Connection has keep-alive
	upgrade     bool // Connection has upgrade
	expect100   bool // Expect has 100-continue
	expectOther bool // Expect has something else
	hasTrailers bool // there is a Trailer
	badTrailer  bool // Trailer has a field that says where the message ends
}

// readMessage reads what the fields say.
func readMessage(fields []fieldLine) (m message, err error) {
	m.length = -1
	for i := range fields {
		name, value := fields[i].name, fields[i].value
		switch len(name) { // most have another length than all of these
		case len("Host"):
			if name == "Host" {
				m.host = value
				m.hosts++
			}
		case len("Expect"):
			if name == "Expect" {
				is100 := strings.EqualFold(value, "100-continue")
				m.expect100 = m.expect100 || is100
				m.expectOther = m.expectOther || !is100 && value != ""
			}
		case len("Trailer"):
			if name == "Trailer" {
				m.readTrailer(value)
			}
		case len("Connection"):
			if name == "Connection" {
				m.readConnection(value)
			}
		case len("Content-Length"):
			if name == "Content-Length" {
				err = m.readLength(value)
			}
		case len("Transfer-Encoding"):
			if name == "Transfer-Encoding" {
				err = m.readCoding(value)
			}
		}
		if err != nil {
			return m, err
		}
	}
	switch {
	case m.hosts > 1:
		return m, errHosts
	case m.hosts == 1 && !isHost(m.host) && m.host != "":
		return m, errHost
	case m.coded && m.length >= 0:
		return m, errTwoLengths
	case m.coded && m.badTrailer:
		return m, errTrailer
	case m.expectOther:
		return m, errExpect
	}
	return m, nil
}

func (m *message) readConnection(value string) {
	if strings.EqualFold(value, "keep-alive") { // the usual one
		m.keepAlive = true
		return
	}
	for option := range field.Elements(value) {
		m.close = m.close || strings.EqualFold(option, "close")
		m.keepAlive = m.keepAlive || strings.EqualFold(option, "keep-alive")
		m.upgrade = m.upgrade || strings.EqualFold(option, "upgrade")
	}
}

// readLength reads a Content-Length. A list of equal numbers could be taken for
// one of them (RFC 9110, section 8.6), but no client sends that.
func (m *message) readLength(value string) error {
	n, ok := parseLength(value)
	if m.length >= 0 || !ok || len(value) > len("9223372036854775807") {
		return errLength
	}
	m.length = n
	return nil
}

// parseLength parses the value of a Content-Length, which has nothing but digits.
func parseLength(s string) (n int64, ok bool) {
	for i := range len(s) {
		digit := int64(s[i]) - '0'
		if digit < 0 || digit > 9 || n > (math.MaxInt64-digit)/10 {
			return 0, false
		}
		n = 10*n + digit
	}
	return n, s != ""
}

// readCoding reads a Transfer-Encoding. If it has chunked twice, or something behind
// that, it does not say where the body ends (RFC 9112, section 6.3), and that is worse
// than to name a coding that is not known.
func (m *message) readCoding(value string) error {
	if m.coded {
		return errCodings
	}
	if strings.EqualFold(value, "chunked") {
		m.coded = true
		return nil
	}
	chunked, others := false, false
	for coding := range field.Elements(value) {
		if chunked {
			return errCodings
		}
		chunked = strings.EqualFold(coding, "chunked")
		others = others || !chunked
	}
	if !others {
		return errCodings
	}
	return errCoding
}

// readTrailer reads the names of the trailer fields that are announced.
func (m *message) readTrailer(value string) {
	m.hasTrailers = true
	for name := range field.Elements(value) {
		m.badTrailer = m.badTrailer || framesMessage(name)
	}
}

// framesMessage reports whether a field says where a message ends. It cannot be in a
// trailer section.
func framesMessage(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Content-Length", "Transfer-Encoding", "Trailer":
		return true
	}
	return false
}

// addNames adds the names in the value of a Trailer to h.
func addNames(h http.Header, value string) {
	for name := range field.Elements(value) {
		h[http.CanonicalHeaderKey(name)] = nil
	}
}

// check checks what depends on the request line and on the fields.
func (h *head) check() error {
	switch {
	case h.coded && h.minor == 0:
		return errOldCoding // its sender did not know it, or who passed it on did not (RFC 9112, section 6.1)
	case h.hosts == 0 && h.minor > 0:
		return errNoHost
	}
	return h.parseTarget()
}

// isHost reports whether s is a uri-host with an optional port (RFC 9110, section
// 7.2), as it may stand in Host or in the authority of a request target.
func isHost(s string) bool {
	host, port := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return false
		}
		addr, err := netip.ParseAddr(s[1:end])
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return false
		}
		return s[end+1:] == "" || s[end+1] == ':' && isPort(s[end+2:])
	}
	if colon := strings.IndexByte(s, ':'); colon >= 0 {
		host, port = s[:colon], s[colon+1:]
	}
	return isName(host) && isPort(port)
}

// isName reports whether s is a name or an IPv4 address.
func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			i += 2
			continue
		}
		if byteKinds[s[i]]&hostByte == 0 {
			return false
		}
	}
	return s != ""
}

// isPort reports whether s is a port. It may be empty.
func isPort(s string) bool {
	if s == "" {
		return true
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n <= 65535
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}
