package http1_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// strictness is about what this server refuses and net/http's takes, and the other way
// round. What both refuse is in the tables of parse_internal_test.go.
func strictness() (all []dialogue) {
	const chunked = post + "Transfer-Encoding: chunked\r\n\r\n"
	const (
		taken   = http.StatusOK
		invalid = http.StatusBadRequest

		twoEnds   = "two readers could end it in two places (RFC 9112, section 6)"
		lineEnds  = "readers for whom LF alone ends no line see other fields (RFC 9112, section 2.2)"
		folded    = "it is obsolete, and readers differ in where the field ends (RFC 9112, section 5.2)"
		hosts     = "two readers could find two hosts in it (RFC 9110, section 7.2)"
		targets   = "whoever sends it on could send it elsewhere (RFC 9112, section 3.2)"
		limits    = "memory that a stranger can use is bounded"
		toBeTaken = "RFC 9112 wants it taken"
	)
	for _, row := range []struct {
		name           string
		send           string
		ours, standard int
		why            string
	}{
		{"a length beside chunks", post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", invalid, taken, twoEnds},
		{"chunks in HTTP/1.0", "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", invalid, taken, twoEnds},
		{"the same length twice", post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", invalid, taken, twoEnds},
		{"chunked twice", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", invalid, http.StatusNotImplemented, "it is no unknown coding, but a wrong one"},
		{"white space behind the size of a chunk", chunked + "3 \r\nabc\r\n0\r\n\r\n", invalid, taken, "it is no part of the size, and no extension follows (RFC 9112, section 7.1.1)"},

		{"a request line that ends with LF alone", "GET / HTTP/1.1\nHost: h\r\n\r\n", invalid, taken, lineEnds},
		{"a field that ends with LF alone", "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", invalid, taken, lineEnds},
		{"a head that ends with LF alone", "GET / HTTP/1.1\r\nHost: h\r\n\n", invalid, taken, lineEnds},
		{"a field that goes on in the next line", get + "X: y\r\n z\r\n\r\n", invalid, taken, folded},
		{"a trailer that goes on in the next line", chunked + "3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n", invalid, taken, folded},
		{"a trailer whose name is none", chunked + "3\r\nabc\r\n0\r\nX y: z\r\n\r\n", invalid, taken, "it would be sent on"},

		{"a Host with a port that is none", "GET / HTTP/1.1\r\nHost: h:x\r\n\r\n", invalid, taken, hosts},
		{"a Host that is a list", "GET / HTTP/1.1\r\nHost: h,g\r\n\r\n", invalid, taken, hosts},
		{"a Host with half an address", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", invalid, taken, hosts},

		{"a target that is neither a path nor a URL", "GET x:http://g/ HTTP/1.1\r\nHost: h\r\n\r\n", invalid, taken, targets},
		{"a target without an authority", "GET http:g HTTP/1.1\r\nHost: h\r\n\r\n", invalid, taken, targets},
		{"a target with an empty authority", "GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n", invalid, taken, targets},
		{"a target with another scheme", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", invalid, taken, targets},
		{"a target with a user", "GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", invalid, taken, targets},
		{"a target with a fragment", "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", invalid, taken, targets},
		{"a star for another method than OPTIONS", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", invalid, taken, targets},
		{"an authority without a port", "CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n", invalid, taken, targets},
		{"a path for CONNECT", "CONNECT /x HTTP/1.1\r\nHost: h\r\n\r\n", invalid, taken, targets},

		{"a target of 9 KiB", "GET /" + strings.Repeat("x", 9<<10) + " HTTP/1.1\r\nHost: h\r\n\r\n", http.StatusRequestURITooLong, taken, limits},
		{"200 fields", get + strings.Repeat("X: y\r\n", 200) + "\r\n", http.StatusRequestHeaderFieldsTooLarge, taken, limits},
		{"a head of 65 KiB", get + "X: " + strings.Repeat("y", 65<<10) + "\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge, taken, limits},

		{"a version that is not there yet", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", http.StatusHTTPVersionNotSupported, taken, "what it would mean is not known"},
		{"an expectation beside 100-continue", post + "Expect: 100-continue, x\r\nContent-Length: 3\r\n\r\nabc", http.StatusExpectationFailed, http.StatusContinue, "it cannot be met (RFC 9110, section 10.1.1)"},

		{"an empty line in front", "\r\n" + get + "\r\n", taken, invalid, toBeTaken + " (section 2.2)"},
		{"white space before an extension", chunked + "3 ;a\r\nabc\r\n0\r\n\r\n", taken, invalid, toBeTaken + " (section 7.1.1)"},
		{"many zeros before the size of a chunk", chunked + "00000000000000000003\r\nabc\r\n0\r\n\r\n", taken, invalid, toBeTaken + " (section 7.1)"},
	} {
		d := dialogue{name: row.name, send: row.send, brief: true, why: row.why, handler: takeWhole}
		old := strings.Contains(row.send, "HTTP/1.0\r\n")
		d.want, d.standard = outcome(row.ours, old), outcome(row.standard, old)
		all = append(all, d)
	}
	return all
}

// takeWhole refuses a request whose body is malformed.
func takeWhole(w http.ResponseWriter, r *http.Request) {
	if _, err := io.ReadAll(r.Body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
	}
}

// outcome returns what a status means for a dialogue. Whoever is refused is hung up on,
// and so is whoever speaks an old version.
func outcome(status int, old bool) []string {
	switch {
	case status == http.StatusContinue:
		return []string{"100", "200", "goes on"}
	case status >= 400 || old:
		return []string{fmt.Sprint(status), "ends"}
	}
	return []string{fmt.Sprint(status), "goes on"}
}
