package http1_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/http1"
)

// A server is one of the two that are compared.
type server interface {
	Serve(net.Listener) error
	Close() error
}

// start serves handler on a free port with either server, and returns the address.
func start(t *testing.T, s server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
	})
	return l.Addr().String()
}

func standard(h http.Handler) server {
	return &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
}

func ours(h http.Handler) server { return &http1.Server{Handler: h} }

// expand makes what is sent of a string in which | stands for CRLF.
func expand(s string) string { return strings.ReplaceAll(s, "|", "\r\n") }

// lastRequest is sent behind what is exchanged, and lastAnswer comes back, as normalize
// has it, if the connection has stayed open until then.
const (
	lastRequest = "GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	lastAnswer  = "HTTP/1.1 200 OK\nConnection: close\nContent-Length: 0\n\n\"\"\n"
)

// exchange sends request, closes its side if that is told, and returns what comes
// back up to the end of the connection.
func exchange(t *testing.T, address, request string, halfClose bool) (response string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	if halfClose {
		c.(*net.TCPConn).CloseWrite()
	}
	var b bytes.Buffer
	c.SetReadDeadline(time.Now().Add(patience))
	if _, err = io.Copy(&b, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v behind %q", err, b.String())
	}
	return b.String()
}

var dates = regexp.MustCompile(`Date: [^\r]*\r\n`)

// normalize makes what two servers have answered comparable: without the date, fields
// in the order of their names, and reasons for a refusal left out.
func normalize(t *testing.T, answer string) string {
	answer = dates.ReplaceAllString(answer, "")
	var b strings.Builder
	for answer != "" {
		head, rest, ok := strings.Cut(answer, "\r\n\r\n")
		if !ok || !strings.HasPrefix(head, "HTTP/") {
			b.WriteString(answer)
			break
		}
		lines := strings.Split(head, "\r\n")
		fmt.Fprintln(&b, lines[0])
		fields := lines[1:]
		sortFields(fields)
		for _, f := range fields {
			fmt.Fprintln(&b, f)
		}
		fmt.Fprintln(&b)
		// The next response is behind the body, which no handler of the table
		// begins with HTTP/.
		at := strings.Index(rest, "HTTP/1.")
		if at < 0 {
			at = len(rest)
		}
		fmt.Fprintf(&b, "%q\n", rest[:at])
		answer = rest[at:]
	}
	return b.String()
}

func sortFields(fields []string) {
	for i := range fields {
		for j := i; j > 0 && fields[j] < fields[j-1]; j-- {
			fields[j], fields[j-1] = fields[j-1], fields[j]
		}
	}
}

// handler does what the path of a request says.
func handler(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Content-Type"] = nil // nothing is guessed
	flush := func() { http.NewResponseController(w).Flush() }
	switch r.URL.Path {
	case "/echo":
		b, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %d %q %v %v", r.Method, r.RequestURI, r.ContentLength, b, err, r.Trailer)
	case "/head":
		fmt.Fprintf(w, "%s %q %v %v", r.Host, r.Header, r.Close, r.TransferEncoding)
	case "/nothing":
	case "/unread":
		io.WriteString(w, "unread")
	case "/204":
		w.WriteHeader(204)
		_, err := io.WriteString(w, "not allowed")
		if err != http.ErrBodyNotAllowed {
			panic(err)
		}
	case "/304":
		h["Etag"] = []string{`"x"`}
		w.WriteHeader(304)
	case "/404":
		h.Set("Content-Length", "3")
		w.WriteHeader(404)
		io.WriteString(w, "404")
	case "/999":
		w.WriteHeader(999)
	case "/flushed":
		io.WriteString(w, "one")
		flush()
		io.WriteString(w, "two")
	case "/chunked":
		h.Set("Transfer-Encoding", "chunked")
		io.WriteString(w, "one")
	case "/large":
		w.Write(bytes.Repeat([]byte("x"), 10000))
		w.Write(bytes.Repeat([]byte("y"), 10))
	case "/trailers":
		h.Set("Trailer", "X-One, X-Two")
		io.WriteString(w, "body")
		h.Set("X-One", "1")
		h.Set(http.TrailerPrefix+"X-Three", "3")
	case "/early":
		h.Set("Link", "a")
		w.WriteHeader(103)
		h.Set("Link", "b")
		io.WriteString(w, "final")
	case "/little":
		h.Set("Content-Length", "10")
		io.WriteString(w, "little")
	case "/much":
		h.Set("Content-Length", "3")
		_, err := io.WriteString(w, "much")
		if err != http.ErrContentLength {
			panic(err)
		}
		io.WriteString(w, "abc")
	case "/close":
		h.Set("Connection", "close")
		io.WriteString(w, "closed")
	case "/panic":
		io.WriteString(w, "lost")
		panic(http.ErrAbortHandler)
	case "/panic-flushed":
		io.WriteString(w, "part")
		flush()
		panic(http.ErrAbortHandler)
	case "/fields":
		h["X-Bad Name"] = []string{"1"}
		h["X-Line"] = []string{"a\r\nInjected: b"}
		h["X-Empty"] = nil
		h["X-Many"] = []string{"1", "2"}
		h["Date"] = nil
	case "/hijack":
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		line, _ := rw.ReadString('\n')
		fmt.Fprintf(rw, "hijacked %q", line)
		rw.Flush()
	case "/late":
		io.WriteString(w, "late")
		flush()
		h.Set("X-Late", "1")
		w.WriteHeader(500)
	case "/status-late":
		w.WriteHeader(200)
		h.Set("X-Late", "1")
		io.WriteString(w, "body")
	}
}

// A difference says why the two servers do not do the same.
type difference string

// The intended differences.
const (
	same        difference = ""
	lenient     difference = "ours takes what RFC 9112 wants to be taken"
	closes      difference = "ours closes a connection on which it is not known where the next request begins"
	no1xx       difference = "ours sends no 1xx to HTTP/1.0, which has none (RFC 9110, section 15.2)"
	silent      difference = "ours does not answer what was not asked to its end"
	incomplete  difference = "ours sends nothing complete for a handler that wanted to write more than it had announced"
	knowsLength difference = "ours leaves the length of what a HEAD has no body of to the handler"
)

// exchanges are the requests on a connection and how the two servers differ.
var exchanges = []struct {
	name    string
	request string
	ends    bool // nothing can be sent behind request
	differ  difference
	want    string // with a difference: what ours answers, as normalize has it
	open    bool   // with a difference: whether ours serves lastRequest, too
}{
	{name: "plain", request: "GET /echo?a HTTP/1.1|Host: a||"},
	{name: "header", request: "GET /head HTTP/1.1|Host: a|x-y: 1|X-Y: 2|Cookie: a=b||"},
	{name: "counted body", request: "POST /echo HTTP/1.1|Host: a|Content-Length: 3||abc"},
	{name: "chunked body", request: "POST /echo HTTP/1.1|Host: a|Transfer-Encoding: chunked||3|abc|2;x|de|0||"},
	{name: "trailers of a request", request: "POST /echo HTTP/1.1|Host: a|Transfer-Encoding: chunked|Trailer: X||3|abc|0|X: 1||"},
	{name: "empty body", request: "POST /echo HTTP/1.1|Host: a|Content-Length: 0||"},
	{name: "body of a GET", request: "GET /echo HTTP/1.1|Host: a|Content-Length: 3||abc"},
	{name: "pipelined", request: "GET /echo?1 HTTP/1.1|Host: a||POST /echo?2 HTTP/1.1|Host: a|Content-Length: 1||xGET /echo?3 HTTP/1.1|Host: a||"},
	{name: "pipelined behind an unread body", request: "POST /unread HTTP/1.1|Host: a|Content-Length: 3||abcGET /echo HTTP/1.1|Host: a||"},
	{name: "HTTP/1.0", request: "GET /echo HTTP/1.0||"},
	{name: "HTTP/1.0 kept alive", request: "GET /echo HTTP/1.0|Connection: keep-alive||GET /echo HTTP/1.0||"},
	{name: "HTTP/1.0 kept alive, length unknown", request: "GET /flushed HTTP/1.0|Connection: keep-alive||"},
	{name: "closed by the client's wish", request: "GET /echo HTTP/1.1|Host: a|Connection: x, close||GET /echo HTTP/1.1|Host: a||"},
	{name: "closed by the handler's wish", request: "GET /close HTTP/1.1|Host: a||GET /echo HTTP/1.1|Host: a||"},
	{name: "nothing written", request: "GET /nothing HTTP/1.1|Host: a||"},
	{name: "HEAD of nothing", request: "HEAD /nothing HTTP/1.1|Host: a||"},
	{name: "HEAD with a length", request: "HEAD /404 HTTP/1.1|Host: a||"},
	{name: "HEAD", request: "HEAD /echo HTTP/1.1|Host: a||", differ: knowsLength, open: true,
		want: "HTTP/1.1 200 OK\n\n\"\"\n"},
	{name: "204", request: "GET /204 HTTP/1.1|Host: a||"},
	{name: "304", request: "GET /304 HTTP/1.1|Host: a||"},
	{name: "404", request: "GET /404 HTTP/1.1|Host: a||"},
	{name: "999", request: "GET /999 HTTP/1.1|Host: a||"},
	{name: "flushed", request: "GET /flushed HTTP/1.1|Host: a||"},
	{name: "chunked by the handler's wish", request: "GET /chunked HTTP/1.1|Host: a||"},
	{name: "large", request: "GET /large HTTP/1.1|Host: a||"},
	{name: "trailers", request: "GET /trailers HTTP/1.1|Host: a||"},
	{name: "trailers for HTTP/1.0", request: "GET /trailers HTTP/1.0||"},
	{name: "1xx", request: "GET /early HTTP/1.1|Host: a||"},
	{name: "1xx for HTTP/1.0", request: "GET /early HTTP/1.0||", differ: no1xx,
		want: "HTTP/1.0 200 OK\nContent-Length: 5\nLink: b\n\n\"final\"\n"},
	{name: "too little", request: "GET /little HTTP/1.1|Host: a||GET /echo HTTP/1.1|Host: a||"},
	{name: "too much", request: "GET /much HTTP/1.1|Host: a||", differ: incomplete},
	{name: "panic", request: "GET /panic HTTP/1.1|Host: a||GET /echo HTTP/1.1|Host: a||"},
	{name: "panic behind a part", request: "GET /panic-flushed HTTP/1.1|Host: a||GET /echo HTTP/1.1|Host: a||"},
	{name: "fields that break out", request: "GET /fields HTTP/1.1|Host: a||"},
	{name: "hijacked", ends: true, request: "GET /hijack HTTP/1.1|Host: a||more\n"},
	{name: "head after the body", request: "GET /late HTTP/1.1|Host: a||"},
	{name: "field after the head", request: "GET /status-late HTTP/1.1|Host: a||"},
	{name: "100-continue", request: "POST /echo HTTP/1.1|Host: a|Content-Length: 3|Expect: 100-continue||abc"},
	{name: "100-continue without a body", request: "POST /echo HTTP/1.1|Host: a|Content-Length: 0|Expect: 100-continue||"},
	{name: "100-continue of HTTP/1.0", request: "POST /echo HTTP/1.0|Content-Length: 3|Expect: 100-continue||abc"},
	{name: "OPTIONS *", request: "OPTIONS * HTTP/1.1|Host: a||"},
	{name: "absolute form", request: "GET http://b/head?x HTTP/1.1|Host: a||"},
	{name: "end within a counted body", ends: true, request: "POST /echo HTTP/1.1|Host: a|Content-Length: 5||abc", differ: closes,
		want: "HTTP/1.1 200 OK\nConnection: close\nContent-Length: 39\n\n\"POST /echo 5 \\\"abc\\\" unexpected EOF map[]\"\n"},
	{name: "end within a chunked body", ends: true, request: "POST /echo HTTP/1.1|Host: a|Transfer-Encoding: chunked||5|abc"},
	{name: "end within a head", ends: true, request: "GET /echo HTTP/1.1|Host: a|", differ: silent},
	{name: "leading empty line", request: "|GET /echo HTTP/1.1|Host: a||", differ: lenient, open: true,
		want: "HTTP/1.1 200 OK\nContent-Length: 26\n\n\"GET /echo 0 \\\"\\\" <nil> map[]\"\n"},
}

func TestServerDoesAsNetHTTPDoes(t *testing.T) {
	for _, tt := range exchanges {
		for _, halfClose := range []bool{false, true} {
			name := tt.name
			if halfClose {
				name += ", half-closed"
			} else if strings.HasPrefix(name, "end within") {
				continue // both wait for more
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				is := is.New(t)
				request, want := expand(tt.request), tt.want
				if !tt.ends {
					request += lastRequest
				}
				if tt.open {
					want += lastAnswer
				}
				theirs := normalize(t, exchange(t, start(t, standard(http.HandlerFunc(handler))), request, halfClose))
				got := normalize(t, exchange(t, start(t, ours(http.HandlerFunc(handler))), request, halfClose))
				if tt.differ == same {
					is.Equal(got, theirs)
					return
				}
				is.Equal(got, want)
				is.True(got != theirs) // or there is no difference
			})
		}
	}
}
