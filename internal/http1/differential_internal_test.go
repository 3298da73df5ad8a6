package http1

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// A reading is what somebody made of a request.
type reading struct {
	method, target, host, proto string
	path, rawPath, query        string
	header, trailer             http.Header
	length                      int64
	close                       bool
	body                        string
	consumed                    int // bytes of the input
}

// read is what this package makes of the request at the beginning of raw.
func read(raw []byte) (*reading, int, error) {
	in := &input{src: bytes.NewReader(raw), buf: make([]byte, 16)}
	var h head
	var s search
	n := 0
	for n == 0 {
		if err := in.fill(); err != nil {
			return nil, 0, err
		}
		var err error
		if n, err = parseHead(in.unread(), &s, &testLimits, &h); err != nil {
			return nil, 0, err
		}
	}
	in.discard(n)
	var slot requestSlot
	slot.setContext(context.Background())
	r := slot.fill(&h)
	if h.hasBody() {
		r.Body = newBody(in, &h.message, &r.Trailer)
	}
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, n, err
	}
	made := describe(r, content)
	made.consumed = len(raw) - in.src.(*bytes.Reader).Len() - len(in.unread())
	return made, n, nil
}

// readStandard is what net/http makes of it.
func readStandard(raw []byte) (*reading, error) {
	src := bytes.NewReader(raw)
	br := bufio.NewReaderSize(src, 128<<10)
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil, err
	}
	delete(r.Header, "Host") // as its server does
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	made := describe(r, content)
	made.consumed = len(raw) - src.Len() - br.Buffered()
	return made, nil
}

func describe(r *http.Request, content []byte) *reading {
	made := &reading{
		method: r.Method, target: r.RequestURI, host: r.Host, proto: r.Proto,
		path: r.URL.Path, rawPath: r.URL.RawPath, query: r.URL.RawQuery,
		header: maps.Clone(r.Header), trailer: r.Trailer,
		length: r.ContentLength, close: r.Close, body: string(content),
	}
	if len(made.trailer) == 0 {
		made.trailer = nil
	}
	// net/http adds this to a Pragma, for applications.
	if slices.Equal(made.header["Pragma"], []string{"no-cache"}) && slices.Equal(made.header["Cache-Control"], []string{"no-cache"}) {
		delete(made.header, "Cache-Control")
	}
	return made
}

// withoutExceptions returns raw, whose head takes n bytes, without what RFC 9112
// wants to be accepted and http.ReadRequest refuses. These are all:
//
//   - an empty line in front of the request line (section 2.2),
//   - white space in front of the extension of a chunk (section 7.1.1),
//   - zeros in front of the size of a chunk, as many as fit into its line.
//
// The request in raw was accepted, and read up to the byte consumed.
func withoutExceptions(raw []byte, n, consumed int, chunked bool) []byte {
	var b bytes.Buffer
	b.Write(bytes.TrimPrefix(raw[:n], []byte("\r\n")))
	rest := raw[n:consumed]
	for chunked {
		line, behind, _ := bytes.Cut(rest, []byte("\r\n"))
		size, extension, extended := strings.Cut(string(line), ";")
		size = strings.TrimLeft(strings.TrimRight(size, " \t"), "0")
		if size == "" {
			size, chunked = "0", false
		}
		b.WriteString(size)
		if extended {
			b.WriteString(";" + extension)
		}
		b.WriteString("\r\n")
		var length int
		fmt.Sscanf(size, "%x", &length)
		if chunked {
			length += len("\r\n")
		}
		b.Write(behind[:length])
		rest = behind[length:]
	}
	b.Write(rest)
	b.Write(raw[consumed:])
	return b.Bytes()
}

// Whatever is accepted, net/http accepts too, and reads the same in it.
func FuzzRequest(f *testing.F) {
	for _, tt := range refused {
		f.Add([]byte(expand(tt.raw)))
	}
	for _, raw := range accepted {
		f.Add([]byte(expand(raw)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		ours, n, err := read(raw)
		if err != nil {
			return
		}
		plain := withoutExceptions(raw, n, ours.consumed, ours.length < 0)
		theirs, err := readStandard(plain)
		if err != nil {
			t.Fatalf("accepted what net/http refuses: %v\n%q", err, raw)
		}
		theirs.consumed += len(raw) - len(plain)
		if !reflect.DeepEqual(ours, theirs) {
			t.Fatalf("%q:\n ours %+v\ntheirs %+v", raw, ours, theirs)
		}
	})
}

func TestUnusualRequestsAreTaken(t *testing.T) {
	for _, raw := range accepted {
		if _, _, err := read([]byte(expand(raw))); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

// accepted are requests that have all kinds of things which are taken.
var accepted = []string{
	"GET / HTTP/1.1|Host: a||",
	"|GET / HTTP/1.1|Host: a||GET / HTTP/1.1|Host: b||",
	"GET / HTTP/1.0||",
	"GET /?a=b&c HTTP/1.0|Connection: keep-alive||",
	"GET //a//b?? HTTP/1.1|Host: a||",
	"GET /a;b=c,d:e@f$g&h+i~!*'(){}\\^`<>\"[] HTTP/1.1|Host: a||",
	"GET /%2f%41?%zz HTTP/1.1|Host: [::1]:80|Pragma: no-cache||",
	"GET HTTP://A:80?x HTTP/1.1|Host: b||",
	"GET https://a/b/c HTTP/1.1|Host: ||",
	"OPTIONS * HTTP/1.1|Host: a||",
	"OPTIONS http://a HTTP/1.1|Host: a||",
	"CONNECT a:80 HTTP/1.1|Host: a:80||",
	"M-SEARCH /x HTTP/1.1|Host: a|X:|x: \t2\t|X-1: \xe4||",
	"GET /a?b HTTP/1.1|Host: a|Content-Length: 003||abcdef",
	"POST / HTTP/1.1|Host: a|Content-Length: 0||x",
	"POST / HTTP/1.1|Host: a|Transfer-Encoding: Chunked||3|abc|0||x",
	"POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||3;a=b|abc|A;c=\"d;e\"|0123456789|0;f||x",
	"POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||3 ;a|abc|0000000000000000000003\t;a|abc|00000000000000000||x",
	"POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Trailer: X, y||3|abc|0|X: 1|Z: 2|Z: 3||x",
	"POST / HTTP/1.1|Host: a|Trailer: X|Content-Length: 1||abc",
	"POST / HTTP/1.1|Host: a|Connection: close, Upgrade|Upgrade: x|Expect: 100-continue|Content-Length: 1||a",
}
