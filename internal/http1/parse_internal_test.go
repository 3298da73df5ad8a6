package http1

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"
)

var testLimits = limits{bytes: 64 << 10, fields: 128, target: 8 << 10}

// parse parses a head that arrives as a whole.
func parse(raw string) (*head, int, error) {
	h := new(head)
	n, err := parseHead([]byte(raw), new(search), &testLimits, h)
	return h, n, err
}

// expand makes a raw request of one in which | stands for CRLF.
func expand(s string) string { return strings.ReplaceAll(s, "|", "\r\n") }

// refused are heads that are refused, each with why. Heads have an end, since one
// without might only be incomplete.
var refused = []struct {
	raw string
	why *refusal
}{
	// The request line.
	{"GET /|Host: a||", errLine}, // HTTP/0.9
	{"GET / HTTP/2.0|Host: a||", errVersion},
	{"GET / HTTP/1.2|Host: a||", errVersion},
	{"GET / HTTP/0.9|Host: a||", errVersion},
	{"GET / HTTP/1.10|Host: a||", errLine},
	{"GET / http/1.1|Host: a||", errLine},
	{"GET / HTTP/1.1 |Host: a||", errLine},
	{"GET / XHTTP/1.1|Host: a||", errLine},
	{"GET  / HTTP/1.1|Host: a||", errLine},
	{"GET /  HTTP/1.1|Host: a||", errLine},
	{"GET\t/ HTTP/1.1|Host: a||", errMethod},
	{" GET / HTTP/1.1|Host: a||", errBeginning},
	{"||GET / HTTP/1.1|Host: a||", errEmptyLine},
	{"\nGET / HTTP/1.1|Host: a||", errEmptyLine},
	{"\rGET / HTTP/1.1|Host: a||", errLineEnd},
	{"\x16\x03\x01\x02\x00\x01\x00\x01", errBeginning}, // TLS
	{"G\x00T / HTTP/1.1|Host: a||", errMethod},
	{"GET(/) / HTTP/1.1|Host: a||", errMethod},
	{"GET / HTTP/1.1\nHost: a||", errLineEnd},
	{"GET / HTTP/1.1|Host: a\n\n", errLineEnd},
	{"GET / HTTP/1.1|Host: a|\n", errLineEnd},
	{"GET / HTTP/1.1\r\r\nHost: a||", errLine},
	{"GET / HTTP/1.1||", errNoHost},

	// The request target.
	{"GET x:http://other/admin HTTP/1.1|Host: a||", errTargetForm},
	{"GET http:.evil.test/ HTTP/1.1|Host: a||", errTargetForm},
	{"GET http:/evil HTTP/1.1|Host: a||", errTargetForm},
	{"GET http:///admin HTTP/1.1|Host: a||", errTargetForm},
	{"GET ftp://a/ HTTP/1.1|Host: a||", errTargetForm},
	{"GET admin HTTP/1.1|Host: a||", errTargetForm},
	{"GET ?q HTTP/1.1|Host: a||", errTargetForm},
	{"GET * HTTP/1.1|Host: a||", errTargetForm},
	{"GET a:80 HTTP/1.1|Host: a||", errTargetForm},
	{"OPTIONS *x HTTP/1.1|Host: a||", errTargetForm},
	{"CONNECT / HTTP/1.1|Host: a||", errTargetForm},
	{"CONNECT a HTTP/1.1|Host: a||", errTargetForm},
	{"CONNECT a: HTTP/1.1|Host: a||", errTargetForm},
	{"CONNECT u@a:80 HTTP/1.1|Host: a||", errTargetForm},
	{"CONNECT http://a:80 HTTP/1.1|Host: a||", errTargetForm},
	{"GET http://user@a/ HTTP/1.1|Host: a||", errTargetForm},
	{"GET http://user:pass@a/ HTTP/1.1|Host: a||", errTargetForm},
	{"GET http://a:99999/ HTTP/1.1|Host: a||", errTargetForm},
	{"GET http://a:x/ HTTP/1.1|Host: a||", errTargetForm},
	{"GET http://a,b/ HTTP/1.1|Host: a||", errTargetForm},
	{"GET http://[::1/ HTTP/1.1|Host: a||", errTargetForm},
	{"GET /a#b HTTP/1.1|Host: a||", errTargetByte},
	{"GET /a\x00b HTTP/1.1|Host: a||", errTargetByte},
	{"GET /a\x7fb HTTP/1.1|Host: a||", errTargetByte},
	{"GET /a\rb HTTP/1.1|Host: a||", errTargetByte},
	{"GET /a\tb HTTP/1.1|Host: a||", errTargetByte},
	{"GET /%zz HTTP/1.1|Host: a||", errTargetPath},
	{"GET /% HTTP/1.1|Host: a||", errTargetPath},

	// Host.
	{"GET / HTTP/1.1|Host: a|Host: a||", errHosts},
	{"GET / HTTP/1.0|Host: a|Host: b||", errHosts},
	{"GET / HTTP/1.1|Host: user@a||", errHost},
	{"GET / HTTP/1.1|Host: a,b||", errHost},
	{"GET / HTTP/1.1|Host: a/b||", errHost},
	{"GET / HTTP/1.1|Host: a b||", errHost},
	{"GET / HTTP/1.1|Host: a:x||", errHost},
	{"GET / HTTP/1.1|Host: a:+80||", errHost},
	{"GET / HTTP/1.1|Host: a:99999||", errHost},
	{"GET / HTTP/1.1|Host: a:80:80||", errHost},
	{"GET / HTTP/1.1|Host: :80||", errHost},
	{"GET / HTTP/1.1|Host: ::1||", errHost},
	{"GET / HTTP/1.1|Host: [::1||", errHost},
	{"GET / HTTP/1.1|Host: [::1]x||", errHost},
	{"GET / HTTP/1.1|Host: [::1%25eth0]||", errHost},
	{"GET / HTTP/1.1|Host: [127.0.0.1]||", errHost},
	{"GET / HTTP/1.1|Host: a%||", errHost},
	{"GET / HTTP/1.1|Host: a%2||", errHost},
	{"GET / HTTP/1.1|Host: a\\b||", errHost},
	{"GET / HTTP/1.1|Host: \xc3\xa4||", errHost},

	// Field lines.
	{"GET / HTTP/1.1|Host : a||", errFieldName},
	{"GET / HTTP/1.1| Host: a||", errFolded},
	{"GET / HTTP/1.1|Host: a|X: 1| folded||", errFolded},
	{"GET / HTTP/1.1|Host: a|X: 1|\tfolded||", errFolded},
	{"GET / HTTP/1.1|Host: a|: 1||", errFieldName},
	{"GET / HTTP/1.1|Host: a|X||", errFieldName},
	{"GET / HTTP/1.1|Host: a|X Y: 1||", errFieldName},
	{"GET / HTTP/1.1|Host: a|X\x00: 1||", errFieldName},
	{"GET / HTTP/1.1|Host: a|X\xe4: 1||", errFieldName},
	{"GET / HTTP/1.1|Host: a|\rX: 1||", errFieldName},
	{"GET / HTTP/1.1|Host: a|X: a\x00b||", errFieldValue},
	{"GET / HTTP/1.1|Host: a|X: a\rb||", errFieldValue},
	{"GET / HTTP/1.1|Host: a|X: a\r\r\n\r\n", errFieldValue},
	{"GET / HTTP/1.1|Host: a|X: a\x0bb||", errFieldValue},
	{"GET / HTTP/1.1|Host: a|X: a\x7fb||", errFieldValue},
	{"GET / HTTP/1.1|Host: a|X: a\nY: b||", errLineEnd},

	// Lengths and codings.
	{"POST / HTTP/1.1|Host: a|Content-Length: 3|Transfer-Encoding: chunked||", errTwoLengths},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Content-Length: 0||", errTwoLengths},
	{"POST / HTTP/1.0|Host: a|Transfer-Encoding: chunked||", errOldCoding},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding : chunked||", errFieldName},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: xchunked||", errCoding},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: gzip, chunked||", errCoding},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked, chunked||", errCodings},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked, identity||", errCodings},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: Chunked,gzip||", errCodings},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: gzip, chunked, chunked||", errCodings},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked,||", errCodings},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: ,||", errCodings},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked;q=1||", errCoding},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: \"chunked\"||", errCoding},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: identity||", errCoding},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: ||", errCodings},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Transfer-Encoding: chunked||", errCodings},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Transfer-Encoding: gzip||", errCodings},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: \x0bchunked||", errFieldValue},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked\x00||", errFieldValue},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding:| chunked||", errFolded},
	{"POST / HTTP/1.1|Host: a|Content-Length: 3|Content-Length: 4||", errLength},
	{"POST / HTTP/1.1|Host: a|Content-Length: 3|Content-Length: 3||", errLength},
	{"POST / HTTP/1.1|Host: a|Content-Length: 3, 3||", errLength},
	{"POST / HTTP/1.1|Host: a|Content-Length: +3||", errLength},
	{"POST / HTTP/1.1|Host: a|Content-Length: -1||", errLength},
	{"POST / HTTP/1.1|Host: a|Content-Length: ||", errLength},
	{"POST / HTTP/1.1|Host: a|Content-Length: 3 3||", errLength},
	{"POST / HTTP/1.1|Host: a|Content-Length: 0x3||", errLength},
	{"POST / HTTP/1.1|Host: a|Content-Length: 1_0||", errLength},
	{"POST / HTTP/1.1|Host: a|Content-Length: 3.0||", errLength},
	{"POST / HTTP/1.1|Host: a|Content-Length: 9223372036854775808||", errLength},
	{"POST / HTTP/1.1|Host: a|Content-Length: 00000000000000000003||", errLength},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Trailer: X, Content-Length||", errTrailer},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Trailer: Transfer-Encoding||", errTrailer},
	{"POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Trailer: trailer||", errTrailer},

	// Expect.
	{"POST / HTTP/1.1|Host: a|Expect: nonsense||", errExpect},
	{"POST / HTTP/1.1|Host: a|Expect: 100-continue, nonsense||", errExpect},
	{"POST / HTTP/1.1|Host: a|Expect: 100-continue|Expect: nonsense||", errExpect},
}

func TestAmbiguousHeadsAreRefused(t *testing.T) {
	for _, tt := range refused {
		t.Run(tt.raw, func(t *testing.T) {
			is := is.New(t)
			_, n, err := parse(expand(tt.raw))
			is.Equal(n, 0)
			is.True(errors.Is(err, tt.why)) // err
		})
	}
}

// A client of HTTP/0.9 sends a line, and waits; so does one that ends its lines in another
// way.
func TestHeadIsRefusedAsSoonAsThatCanBeSeen(t *testing.T) {
	for raw, why := range map[string]*refusal{
		"GET /|":                         errLine,
		"|GET /index.html|":              errLine,
		"GET / HTTP/2.0|":                errVersion,
		"G(T / HTTP/1.1|":                errMethod,
		"GET /a#b HTTP/1.1|":             errTargetByte,
		"GET / HTTP/1.1\rH":              errLineEnd,
		"GET / HTTP/1.1|Host: a\r\r":     errLineEnd,
		"GET / HTTP/1.1|Host: a|X: y\rZ": errLineEnd,
		"GET / HTTP/1.1|Host: a\n":       errLineEnd,
	} {
		t.Run(raw, func(t *testing.T) {
			is := is.New(t)
			b := []byte(expand(raw))
			s, h := new(search), new(head)
			for i := range b {
				n, err := parseHead(b[:i], s, &testLimits, h)
				is.NoErr(err)
				is.Equal(n, 0) // has not arrived
			}
			_, err := parseHead(b, s, &testLimits, h)
			is.True(errors.Is(err, why)) // err
		})
	}
}

func TestHeadsBeyondALimitAreRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		raw string
		why *refusal
	}{
		"a long target":              {"GET /" + strings.Repeat("a", 8<<10) + " HTTP/1.1|Host: a||", errTargetSize},
		"a target that never ends":   {"GET /" + strings.Repeat("a", 9<<10), errTargetSize},
		"many fields":                {"GET / HTTP/1.1|Host: a|" + strings.Repeat("X: 1|", 128) + "|", errFields},
		"many fields without an end": {"GET / HTTP/1.1|Host: a|" + strings.Repeat("X: 1|", 128), errFields},
		"a long field":               {"GET / HTTP/1.1|Host: a|X: " + strings.Repeat("a", 64<<10) + "||", errHeadSize},
		"a field that never ends":    {"GET / HTTP/1.1|Host: a|X: " + strings.Repeat("a", 64<<10), errHeadSize},
		"long fields":                {"GET / HTTP/1.1|Host: a|" + strings.Repeat("X: "+strings.Repeat("a", 1<<10)+"|", 64) + "|", errHeadSize},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			_, n, err := parse(expand(tt.raw))
			is.Equal(n, 0)
			is.True(errors.Is(err, tt.why)) // err
		})
	}
}

func TestHeadsAtALimitAreTaken(t *testing.T) {
	const line = "GET / HTTP/1.1\r\nHost: a\r\n"
	for name, raw := range map[string]string{
		"target": "GET /" + strings.Repeat("a", 8<<10-1) + " HTTP/1.1\r\nHost: a\r\n\r\n",
		"fields": line + strings.Repeat("X: 1\r\n", 127) + "\r\n",
		"bytes":  line + "X: " + strings.Repeat("a", 64<<10-len(line)-len("X: \r\n\r\n")) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			_, n, err := parse(raw)
			is.NoErr(err)
			is.Equal(n, len(raw))
		})
	}
}

func TestHeadIsParsed(t *testing.T) {
	is := is.New(t)
	raw := expand("|POST /a%2Fb?x=%zz HTTP/1.1|host: A.Test:8080|X-a: \t 1 \t|x-A:|cOOKIE: \xe4|Content-Length: 007|Connection: Foo, CLOSE|Expect: 100-Continue||next")
	h, n, err := parse(raw)
	is.NoErr(err)
	is.Equal(raw[n:], "next")
	is.Equal(h.method, "POST")
	is.Equal(h.target, "/a%2Fb?x=%zz")
	is.Equal(h.minor, 1)
	is.Equal(h.authority(), "A.Test:8080")
	is.Equal(h.url.Path, "/a/b")
	is.Equal(h.url.RawPath, "/a%2Fb")
	is.Equal(h.url.RawQuery, "x=%zz")
	is.Equal(h.length, int64(7))
	is.True(h.close)
	is.True(h.expect100)
	is.True(!h.coded)
	is.Equal(h.fields, []fieldLine{
		{"Host", "A.Test:8080"}, {"X-A", "1"}, {"X-A", ""}, {"Cookie", "\xe4"},
		{"Content-Length", "007"}, {"Connection", "Foo, CLOSE"}, {"Expect", "100-Continue"},
	})
}

// What is taken from the head before must be of no other head.
func TestHeadIsParsedWhateverCameBefore(t *testing.T) {
	heads := []string{
		"GET / HTTP/1.1|Host: a||",
		"GET / HTTP/1.1|Host: b||",
		"GET /b HTTP/1.1|Host: b||",
		"GET / HTTP/1.0||",
		"GET http://c/ HTTP/1.1|Host: a||",
		"GET /%41 HTTP/1.1|Host: a||",
		"POST / HTTP/1.1|Host: a|Content-Length: 3||",
		"POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Connection: close||",
		"OPTIONS * HTTP/1.1|Host: a||",
		"CONNECT a:80 HTTP/1.1|Host: a||",
		"GET / HTTP/1.1|Host: a|Content-Length: x||",
		"GET /%zz HTTP/1.1|Host: a||",
		"POST / HTTP/1.0|Host: a|Transfer-Encoding: chunked||",
	}
	describe := func(h *head, n int, err error) string {
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(n, h.method, h.target, h.minor, h.fields, h.message, h.url, h.authority())
	}
	for _, first := range heads {
		for _, second := range heads {
			is := is.New(t)
			h, _, _ := parse(expand(first))
			raw := []byte(expand(second))
			n, err := parseHead(raw, new(search), &testLimits, h)
			is.Equal(describe(h, n, err), describe(parse(expand(second)))) // behind another
			n, err = parseHead(raw, new(search), &testLimits, h)
			is.Equal(describe(h, n, err), describe(parse(expand(second)))) // again
		}
	}
}

func TestHeadIsFoundHoweverItArrives(t *testing.T) {
	for _, raw := range []string{
		expand("|GET / HTTP/1.1|Host: a|X: 1||body"),
		expand("GET / HTTP/1.0||"),
	} {
		want, n, err := parse(raw)
		is := is.New(t)
		is.NoErr(err)
		s, h := new(search), new(head)
		for i := range n {
			m, err := parseHead([]byte(raw[:i]), s, &testLimits, h)
			is.NoErr(err)
			is.Equal(m, 0) // has not arrived
		}
		m, err := parseHead([]byte(raw[:n]), s, &testLimits, h)
		is.NoErr(err)
		is.Equal(m, n)
		is.Equal(h.target, want.target)
		is.Equal(h.fields, want.fields)
	}
}

func TestLengthIsReadAsANumberOfDigits(t *testing.T) {
	for _, text := range []string{
		"", "0", "5", "100", "007", "-0", "+5", " 5", "5 ", "0x5", "1_0", "/", ":", "x", "\x00", "\xff",
		"9223372036854775799", "9223372036854775800", "9223372036854775807", "9223372036854775808",
		"18446744073709551616", "99999999999999999999999", "00000000000000000000000009",
	} {
		want, err := strconv.ParseUint(text, 10, 63)
		if n, ok := parseLength(text); ok != (err == nil) || ok && n != int64(want) {
			t.Errorf("%q is %v, %v", text, n, ok)
		}
	}
}

func TestHostIsANameOrAnAddressWithAPort(t *testing.T) {
	for _, host := range []string{
		"a", "A.Test", "app.test.", "app.test:8080", "app.test:", "app.test:0", "app.test:65535", "127.0.0.1:80",
		"[::1]", "[::1]:80", "[2001:db8::7]:443", "under_score.test", "xn--bcher-kva.test", "a%C3%A4.test", "*.test",
	} {
		if _, _, err := parse("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}
