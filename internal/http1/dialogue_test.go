package http1_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shahnk19/parachute/internal/http1"
)

// patience is how long a test waits for what should come at once.
const patience = time.Minute

// A server is one of the two that are compared.
type server interface {
	Serve(net.Listener) error
	Close() error
}

// start serves on a free port with either server, and returns the address.
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

// A dialogue is what a client sends on a connection, a handler, and what the client
// gets. It is the same from net/http's server, unless standard says otherwise.
type dialogue struct {
	name    string
	handler http.HandlerFunc
	send    string
	half    bool // the client sends its FIN behind that
	alone   bool // whatever is sent behind that is not read as a request
	guess   bool // the server may guess a Content-Type
	brief   bool // of a response, its status alone is compared

	// want has a line for each response, and one for what becomes of the
	// connection, as describe writes them.
	want []string

	// standard is what net/http's server does instead, and why this one does not.
	standard []string
	why      string
}

// lastTarget is asked for on a connection that goes on behind a dialogue.
const (
	lastTarget  = "/last"
	lastRequest = "GET " + lastTarget + " HTTP/1.1\r\nHost: h\r\n\r\n"
)

func (e *dialogue) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == lastTarget {
		w.Header().Set("Connection", "close")
		return
	}
	if !e.guess {
		w.Header()["Content-Type"] = nil
	}
	e.handler(w, r)
}

// run has the dialogue with the server at address, up to as many responses as want
// has, and returns what want is compared with. If it is told to be ahead, the client
// sends the last request, and its FIN, along with the others.
func (e *dialogue) run(t *testing.T, address string, want []string, ahead bool) (got []string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	written := make(chan struct{})
	go func() {
		defer close(written)
		send := e.send
		if ahead {
			send += lastRequest
		}
		io.WriteString(conn, send)
		if e.half || ahead {
			conn.(*net.TCPConn).CloseWrite()
		}
	}()
	defer func() { conn.Close(); <-written }()

	r := bufio.NewReader(conn)
	method, _, _ := strings.Cut(e.send, " ")
	for range len(want) - 1 {
		if _, err := r.Peek(1); err != nil {
			return append(got, describeEnd(err))
		}
		res, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return append(got, describeEnd(err))
		}
		line, err := describe(res)
		if e.brief {
			line = fmt.Sprint(res.StatusCode)
		}
		if got = append(got, line); err != nil {
			return append(got, describeEnd(err))
		}
		if res.StatusCode == http.StatusSwitchingProtocols {
			rest, err := io.ReadAll(r)
			return append(got, fmt.Sprintf("%q and %s", rest, describeEnd(err)))
		}
		if res.Close && res.StatusCode >= 200 {
			rest, err := io.ReadAll(r)
			if len(rest) > 0 {
				return append(got, fmt.Sprintf("%q and %s", rest, describeEnd(err)))
			}
			return append(got, describeEnd(err))
		}
		if res.StatusCode >= 200 {
			method = ""
		}
	}
	if e.half {
		_, err := r.ReadByte()
		return append(got, describeEnd(err))
	}
	if <-written; !ahead {
		io.WriteString(conn, lastRequest)
	}
	_, err = r.Peek(1)
	if errors.Is(err, syscall.ECONNRESET) {
		return append(got, "ends") // it had, and this request was too late
	}
	if err != nil {
		return append(got, describeEnd(err))
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return append(got, describeEnd(err))
	}
	if res.StatusCode != http.StatusOK || !res.Close {
		return append(got, fmt.Sprintf("goes on with %s", res.Status))
	}
	return append(got, "goes on")
}

// describe returns a response as STATUS FIELD:VALUE ... BODY TRAILER:VALUE, less what
// every one has.
func describe(res *http.Response) (string, error) {
	body, err := io.ReadAll(res.Body)
	var b strings.Builder
	if res.ProtoMinor == 0 {
		b.WriteString("HTTP/1.0 ")
	}
	fmt.Fprint(&b, res.StatusCode)
	if _, reason, _ := strings.Cut(res.Status, " "); reason != http.StatusText(res.StatusCode) {
		fmt.Fprintf(&b, " (%s)", reason)
	}
	if res.StatusCode >= 200 && res.Header.Get("Date") == "" {
		b.WriteString(" without a Date")
	}
	res.Header.Del("Date")
	fields := lines(res.Header)
	if res.ContentLength >= 0 && len(res.Header["Content-Length"]) == 0 && res.StatusCode >= 200 && res.StatusCode != 204 && res.StatusCode != 304 {
		fields = append(fields, "without a body")
	}
	if len(res.TransferEncoding) > 0 {
		fields = append(fields, "in chunks")
	}
	for _, field := range fields {
		b.WriteString(" " + field)
	}
	if len(body) > 60 {
		fmt.Fprintf(&b, " %d bytes", len(body))
	} else if len(body) > 0 {
		fmt.Fprintf(&b, " %q", body)
	}
	for _, field := range lines(res.Trailer) {
		b.WriteString(" trailer " + field)
	}
	if res.Close && res.StatusCode >= 200 {
		b.WriteString(" close")
	}
	return b.String(), err
}

func lines(h http.Header) (all []string) {
	for name, values := range h {
		for _, value := range values {
			all = append(all, name+":"+value)
		}
	}
	slices.Sort(all)
	return all
}

func describeEnd(err error) string {
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return "ends"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "breaks off"
	case errors.Is(err, syscall.ECONNRESET):
		return "is reset"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "takes too long"
	}
	return "is malformed"
}

// TestDialoguesGoAsWithTheStandardServer has the same dialogues with net/http's
// server and with this one: request by request, and with all requests in one piece that
// the client's FIN comes along with.
func TestDialoguesGoAsWithTheStandardServer(t *testing.T) {
	t.Parallel()
	for _, e := range slices.Concat(lengths(), bodiless(), bodies(), expectations(), sequences(), codings(), heads(), failures(), strictness()) {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			e.check(t, "this server", ours(http.HandlerFunc(e.serve)), e.want)
			want := e.want
			if e.standard != nil {
				want = e.standard
			}
			if (e.standard == nil) != (e.why == "") {
				t.Error("a difference has no reason, or a reason no difference")
			}
			e.check(t, "net/http's server", standard(http.HandlerFunc(e.serve)), want)
		})
	}
}

func (e *dialogue) check(t *testing.T, name string, s server, want []string) {
	t.Helper()
	address := start(t, s)
	if got := e.run(t, address, want, false); !slices.Equal(got, want) {
		t.Errorf("%s\n%q\nwant\n%q", name, got, want)
	}
	if e.half || e.alone {
		return
	}
	got := e.run(t, address, want, true)
	if last := len(got) - 1; len(got) == len(want) && got[last] == "is reset" {
		got[last] = want[last] // a connection that ends with something unread may be reset
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s, all in one piece\n%q\nwant\n%q", name, got, want)
	}
}
