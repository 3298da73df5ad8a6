package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/upstream"
)

// A recording answers whatever is written to it with the same bytes, and ends.
type recording struct {
	net.Conn
	answer io.Reader
}

func (r recording) Read(p []byte) (int, error)    { return r.answer.Read(p) }
func (recording) Write(p []byte) (int, error)     { return len(p), nil }
func (recording) SetReadDeadline(time.Time) error { return nil }
func (recording) Close() error                    { return nil }

// A reading is what somebody made of an answer.
type reading struct {
	interims []int
	status   int
	length   int64
	header   string
	body     string
	complete bool
	trailer  string
}

func (r reading) String() string {
	return fmt.Sprintf("%d, then %d, length %d, complete %t\n%s\n%q\n%s", r.interims, r.status, r.length, r.complete, r.header, r.body, r.trailer)
}

// fields returns h in a form that can be compared.
func fields(h http.Header) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			// Folded lines may leave any white space (RFC 9112, section 5.2).
			fmt.Fprintf(&b, "%q: %q\n", name, strings.FieldsFunc(value, func(c rune) bool { return c == ' ' || c == '\t' }))
		}
	}
	return b.String()
}

// readOurs reads raw with a Pool; it reports false if raw is refused.
func readOurs(method string, raw []byte) (reading, bool) {
	p := upstream.New(upstream.Options{Dial: func(context.Context, string, string) (net.Conn, error) {
		return recording{answer: bytes.NewReader(raw)}, nil
	}})
	defer p.Close()
	var got reading
	resp, err := p.Exchange(request(method, nil, 0), "/", field.View{}, func(status int, h http.Header) {
		got.interims = append(got.interims, status)
	})
	if err != nil {
		return got, false
	}
	defer resp.Body.Close()
	// What http.ReadResponse takes out or puts in is no difference.
	if resp.ProtoMinor > 0 && tokens(resp.Header["Connection"])["close"] {
		resp.Header.Del("Connection")
	}
	if pragma := resp.Header["Pragma"]; len(pragma) > 0 && pragma[0] == "no-cache" && resp.Header["Cache-Control"] == nil {
		resp.Header["Cache-Control"] = []string{"no-cache"}
	}
	got.status, got.length, got.header = resp.StatusCode, resp.ContentLength, fields(resp.Header)
	body, err := io.ReadAll(resp.Body)
	got.body, got.complete, got.trailer = string(body), err == nil, fields(resp.Trailer)
	return got, true
}

func tokens(values []string) map[string]bool {
	set := make(map[string]bool)
	for _, value := range values {
		for element := range strings.SplitSeq(value, ",") {
			set[strings.ToLower(strings.Trim(element, " \t"))] = true
		}
	}
	return set
}

// readTheirs reads raw with http.ReadResponse.
func readTheirs(method string, raw []byte) (reading, bool) {
	var got reading
	in := bufio.NewReader(bytes.NewReader(raw))
	for {
		resp, err := http.ReadResponse(in, request(method, nil, 0))
		if err != nil {
			return got, false
		}
		if resp.StatusCode/100 == 1 && resp.StatusCode != 101 {
			got.interims = append(got.interims, resp.StatusCode)
			continue
		}
		if len(resp.TransferEncoding) > 0 && resp.Header.Get("Content-Length") != "" {
			// Where no body follows, net/http leaves both lengths there.
			resp.Header.Del("Content-Length")
			if method == "HEAD" {
				resp.ContentLength = -1
			}
		}
		got.status, got.length, got.header = resp.StatusCode, resp.ContentLength, fields(resp.Header)
		if resp.StatusCode == 101 {
			resp.Body = io.NopCloser(in)
		}
		body, err := io.ReadAll(resp.Body)
		got.body, got.complete, got.trailer = string(body), err == nil, fields(resp.Trailer)
		return got, true
	}
}

// taken matches what we take and net/http refuses: lengths that are repeated,
// identity, any Trailer, lines that are folded for nothing, names that are no
// tokens, and control characters.
var taken = regexp.MustCompile(`(?is)\ncontent-length:.*(,|\ncontent-length:)|\ntransfer-encoding:\s*identity|\ntrailer:|\n[ \t]|` +
	"\n[^\n:]*[^-!#$%&'*+.^_`|~0-9a-z\n:][^\n:]*:|[\\x01-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f]")

// FuzzAnswer checks that whatever is not refused is read as everybody who uses
// net/http reads it, but for what that has no reading of.
func FuzzAnswer(f *testing.F) {
	for _, a := range answers {
		f.Add(a.method == "HEAD", []byte(a.raw))
	}
	f.Add(true, []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"))
	f.Add(false, []byte("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"))
	f.Add(false, []byte("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+ok))
	f.Add(false, []byte("HTTP/1.1 100 Continue\r\nContent-Length: x\r\n\r\n"+ok))
	f.Add(false, []byte("HTTP/1.1 100 Continue\r\nTransfer-Encoding: gzip\r\n\r\n"+ok))
	f.Add(false, []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nhello"))
	f.Add(false, []byte("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\td\r\nContent-Length: 0\r\n\r\n"))
	f.Add(false, []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\nHTTP/1.1\r\n\r\n"))
	f.Add(false, []byte("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nConnection: CLOSE\r\nPragma: no-cache\r\n\r\nhello"))
	f.Fuzz(func(t *testing.T, head bool, raw []byte) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		ours, ok := readOurs(method, raw)
		if !ok {
			return
		}
		theirs, ok := readTheirs(method, raw)
		if !ok && taken.Match(raw) {
			return
		}
		if !ok {
			t.Fatalf("net/http refuses\n%q\nwhich is read as\n%v", raw, ours)
		}
		if !ours.complete && strings.HasPrefix(theirs.body, ours.body) {
			// A body may be refused at any point.
			theirs.body, theirs.complete, theirs.trailer = ours.body, false, ours.trailer
		}
		if ours.complete && !theirs.complete && ours.body == theirs.body && (len(ours.trailer) > 4000 || taken.Match(raw)) {
			theirs.complete, theirs.trailer = true, ours.trailer
		}
		if ours.String() != theirs.String() {
			t.Fatalf("%q\nis read as\n%v\nand by net/http as\n%v", raw, ours, theirs)
		}
	})
}
