package main_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
)

// A framing is what a client sends on a connection of its own, byte for byte, and
// what becomes of it.
type framing struct {
	name string
	send string

	// status has the statuses of the final answers in order. refused stands for
	// 400 and 501, either for whatever is answered to what can be understood.
	status []int

	// arrives has the requests that reach the target, as METHOD TARGET HOST BODY.
	arrives []string

	open bool // the connection serves another request afterwards; otherwise it ends
	ends bool // the client sends its FIN behind the bytes
}

const (
	refused = -1
	either  = -2
)

// TestWhatArrivesIsOneRequestOrNothing sends what different parsers could take for
// different requests. It holds for each that the target gets one request that two
// strict parsers read alike, or nothing, and that nothing is served on the
// connection after what has been refused.
func TestWhatArrivesIsOneRequestOrNothing(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	proxy, address := startProxy(t, asBinary, env)
	target := newRawTarget(t)
	is.Equal(inProcess(t, env, "deploy", "web", "--target", target.address, "--host", "app.test").wait(t), 0)

	all := slices.Concat(ambiguousLengths(), ambiguousCodings(), ambiguousChunks(), ambiguousLines(), ambiguousRequestLines(), ambiguousTargets(), ambiguousHosts(), ambiguousSequences())
	is.True(len(all) >= 150) // requests
	for _, f := range all {
		t.Run(f.name, func(t *testing.T) { f.check(t, address, target) })
	}
	proxy.interrupt()
	is.Equal(proxy.wait(t), 0)
	target.stop()
	arrived, faults := target.take()
	is.Equal(len(arrived), 0) // arrived when nobody waited for it any more
	is.Equal(len(faults), 0)
}

func (f *framing) check(t *testing.T, address string, target *rawTarget) {
	is := is.New(t)
	conn, err := net.Dial("tcp", address)
	is.NoErr(err)
	defer conn.Close()
	is.NoErr(conn.SetDeadline(time.Now().Add(patience)))
	writing := make(chan struct{})
	go func() { // while answers are read, for a request that is refused is not read to its end
		defer close(writing)
		io.WriteString(conn, f.send)
		if f.ends {
			conn.(*net.TCPConn).CloseWrite()
		}
	}()
	defer func() { conn.Close(); <-writing }()

	answers := bufio.NewReader(conn)
	method, _, _ := strings.Cut(strings.TrimLeft(f.send, "\r\n"), " ")
	closes := false
	for i, want := range f.status {
		status, last, err := readFinalAnswer(answers, method)
		method = ""
		if err != nil {
			t.Fatalf("answer %d: %v; want %d", i, err, want)
		}
		closes = last
		switch want {
		case refused:
			if status != http.StatusBadRequest && status != http.StatusNotImplemented {
				t.Errorf("answer %d is %d; want it refused", i, status)
			}
		case either:
		default:
			if status != want {
				t.Errorf("answer %d is %d; want %d", i, status, want)
			}
		}
		if want != either && status >= 400 && status != http.StatusNotFound && !f.open && !last {
			t.Errorf("answer %d, a %d, does not say that the connection ends", i, status)
		}
	}
	arrived, faults := target.take()
	for _, fault := range faults {
		t.Error(fault)
	}
	if !slices.Contains(f.status, either) && !slices.Equal(arrived, f.arrives) {
		t.Errorf("the target got %q; want %q", arrived, f.arrives)
	}
	if slices.Contains(f.status, either) || t.Failed() {
		return
	}
	if !f.open {
		if rest, err := io.ReadAll(answers); len(rest) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%q and %v follow; want the end of the connection", rest, err)
		}
		return
	}
	if closes {
		t.Fatal("the connection ends; want it to serve another request")
	}
	<-writing
	io.WriteString(conn, "GET /next HTTP/1.1\r\nHost: app.test\r\n\r\n")
	status, _, err := readFinalAnswer(answers, http.MethodGet)
	is.NoErr(err)
	is.Equal(status, http.StatusOK)
	arrived, _ = target.take()
	is.Equal(arrived, []string{`GET /next app.test ""`})
}

// readFinalAnswer reads the next answer that is no 1xx. last says that it is the
// last one of the connection.
func readFinalAnswer(r *bufio.Reader, method string) (status int, last bool, err error) {
	for {
		res, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return 0, false, err
		}
		if res.StatusCode < 200 {
			continue
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return 0, false, err
		}
		return res.StatusCode, res.Close, nil
	}
}

// A rawTarget answers every request with 200, and keeps what it was sent.
type rawTarget struct {
	address  string
	listener net.Listener
	serving  sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	arrived []string
	faults  []string
}

func newRawTarget(t *testing.T) *rawTarget {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := &rawTarget{address: l.Addr().String(), listener: l}
	target.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			target.serving.Go(func() { target.serve(conn) })
		}
	})
	t.Cleanup(target.stop)
	return target
}

// stop ends the target when the proxy has closed its connections.
func (a *rawTarget) stop() {
	a.listener.Close()
	a.serving.Wait()
}

// take returns what has arrived since the last call.
func (a *rawTarget) take() (arrived, faults []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	arrived, faults = a.arrived, a.faults
	a.arrived, a.faults = nil, nil
	return arrived, faults
}

func (a *rawTarget) serve(conn net.Conn) {
	defer conn.Close()
	var raw bytes.Buffer
	r := bufio.NewReader(io.TeeReader(conn, &raw))
	for {
		lenient, err := http.ReadRequest(r)
		var body []byte
		if err == nil {
			body, err = io.ReadAll(lenient.Body)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
			return // no request, or a part of one
		}
		sent := bytes.Clone(raw.Bytes())
		raw.Reset()
		if err == nil && lenient.URL.Path == "/up" {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return
		}
		a.mu.Lock()
		strict, rest, fault := readStrictly(sent)
		switch {
		case err != nil:
			a.faults = append(a.faults, fmt.Sprintf("the target got what net/http refuses, %v: %q", err, sent))
		case fault != nil:
			a.faults = append(a.faults, fmt.Sprintf("the target got what is not strictly right, %v: %q", fault, sent))
		case len(rest) > 0 || r.Buffered() > 0:
			a.faults = append(a.faults, fmt.Sprintf("the target got more than a request: %q", sent))
		default:
			read := fmt.Sprintf("%s %s %s %q", lenient.Method, lenient.RequestURI, lenient.Host, body)
			if read != strict {
				a.faults = append(a.faults, fmt.Sprintf("one parser reads %s, the other %s", read, strict))
			}
			a.arrived = append(a.arrived, strict)
		}
		a.mu.Unlock()
		if err != nil {
			return
		}
		answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
		if lenient.Method == http.MethodHead {
			answer = strings.TrimSuffix(answer, "ok")
		}
		io.WriteString(conn, answer)
	}
}

// readStrictly reads one request by the letter of RFC 9112, without any of the
// leniency that the RFC allows, and returns what follows it.
func readStrictly(b []byte) (request string, rest []byte, err error) {
	head, rest, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		return "", nil, errors.New("a head without an end")
	}
	lines := strings.Split(string(head), "\r\n")
	if i := strings.IndexFunc(strings.Join(lines, ""), func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }); i >= 0 {
		return "", nil, errors.New("a control character in the head")
	}
	parts := strings.Split(lines[0], " ")
	if len(parts) != 3 || parts[2] != "HTTP/1.1" || !isToken(parts[0]) || !strings.HasPrefix(parts[1], "/") {
		return "", nil, fmt.Errorf("the request line %q", lines[0])
	}
	fields := map[string][]string{}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) {
			return "", nil, fmt.Errorf("the field line %q", line)
		}
		name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		fields[name] = append(fields[name], strings.Trim(value, " \t"))
	}
	host, length, coding := fields["host"], fields["content-length"], fields["transfer-encoding"]
	if len(host) != 1 || len(length)+len(coding) > 1 {
		return "", nil, fmt.Errorf("%d hosts, %d lengths and %d codings", len(host), len(length), len(coding))
	}
	var body []byte
	switch {
	case len(coding) > 0 && coding[0] != "chunked":
		return "", nil, fmt.Errorf("the coding %q", coding[0])
	case len(coding) > 0:
		if body, rest, err = readChunks(rest); err != nil {
			return "", nil, err
		}
	case len(length) > 0:
		n, err := strconv.ParseUint(length[0], 10, 32)
		if err != nil || length[0] != strconv.FormatUint(n, 10) || n > uint64(len(rest)) {
			return "", nil, fmt.Errorf("the length %q before %d bytes", length[0], len(rest))
		}
		body, rest = rest[:n], rest[n:]
	}
	return fmt.Sprintf("%s %s %s %q", parts[0], parts[1], host[0], body), rest, nil
}

// readChunks reads a chunked body without extensions, and its trailer section.
func readChunks(b []byte) (body, rest []byte, err error) {
	for {
		size, after, ok := bytes.Cut(b, []byte("\r\n"))
		n, err := strconv.ParseUint(string(size), 16, 32)
		if !ok || err != nil || n+2 > uint64(len(after)) {
			return nil, nil, fmt.Errorf("the chunk size %q", size)
		}
		if n == 0 {
			after, err := readTrailers(after)
			return body, after, err
		}
		if string(after[n:n+2]) != "\r\n" {
			return nil, nil, errors.New("no line end behind a chunk")
		}
		body, b = append(body, after[:n]...), after[n+2:]
	}
}

// readTrailers reads a trailer section. Fields that frame, route or authorize a message
// belong into its head: in a trailer they would do so after the fact.
func readTrailers(b []byte) (rest []byte, err error) {
	headOnly := []string{
		"content-length", "transfer-encoding", "trailer", "host", "connection", "te", "upgrade", "content-encoding", "content-type", "content-range",
		"authorization", "proxy-authorization", "cookie", "set-cookie", "expect", "forwarded", "x-real-ip", "x-request-id",
	}
	for {
		line, after, ok := bytes.Cut(b, []byte("\r\n"))
		if !ok || len(line) == 0 {
			return after, nil
		}
		name, _, ok := strings.Cut(string(line), ":")
		switch name := strings.ToLower(strings.ReplaceAll(name, "_", "-")); {
		case !ok || !isToken(name):
			return nil, fmt.Errorf("the trailer line %q", line)
		case slices.Contains(headOnly, name) || strings.HasPrefix(name, "x-forwarded-"):
			return nil, fmt.Errorf("the trailer %q", line)
		}
		b = after
	}
}

func isToken(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
