package main_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"
)

// A hastyTarget answers as soon as it has the head of a request, with the status in its
// path, or else with 200. It reads no body as such: whatever comes behind the head is kept
// until the connection ends, with what was asked for.
type hastyTarget struct {
	address string
	ended   chan string // for each connection: METHOD PATH, and what came behind the head
}

func newHastyTarget(t *testing.T) *hastyTarget {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := &hastyTarget{address: l.Addr().String(), ended: make(chan string, 100)}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { target.serve(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return target
}

func (a *hastyTarget) serve(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(conn)
	var head bytes.Buffer
	for !bytes.HasSuffix(head.Bytes(), []byte("\r\n\r\n")) {
		b, err := r.ReadByte()
		if err != nil {
			return // it was opened, and not needed
		}
		head.WriteByte(b)
	}
	method, rest, _ := strings.Cut(head.String(), " ")
	path, _, _ := strings.Cut(rest, " ")
	status := 200
	fmt.Sscanf(path, "/%d", &status)
	answer := fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 2\r\n", status)
	if path == "/up" || path == "/next" {
		answer += "Connection: close\r\n"
	}
	io.WriteString(conn, answer+"\r\nok")
	behind, err := io.ReadAll(r)
	if err != nil {
		behind = fmt.Append(behind, " and ", err)
	}
	if path != "/up" {
		a.ended <- fmt.Sprintf("%s %s %.40q", method, path, bytes.TrimLeft(behind, "x"))
	}
}

// A target may answer before it has the body. The client gets that answer, and neither
// its connection nor that to the target is used for another request, for what comes next
// there may still be of the body.
func TestConnectionsWhoseRequestWasAnsweredEarlyAreNotUsedAgain(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	proxy, address := startProxy(t, asBinary, env)
	target := newHastyTarget(t)
	is.Equal(inProcess(t, env, "deploy", "web", "--target", target.address, "--host", "app.test").wait(t), 0)

	const next = "GET /next HTTP/1.1\r\nHost: app.test\r\n\r\n"
	const expecting = "Host: app.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
	for name, tt := range map[string]struct {
		send   string
		status int
		asked  string
	}{
		"a refused expectation":             {"POST /417 HTTP/1.1\r\n" + expecting, 417, `POST /417 ""`},
		"an expectation that is passed by":  {"POST /200 HTTP/1.1\r\n" + expecting, 200, `POST /200 ""`},
		"the body comes all the same":       {"POST /417 HTTP/1.1\r\n" + expecting + "xxx" + next, 417, `POST /417 ""`},
		"a redirect of an expectation":      {"PUT /307 HTTP/1.1\r\n" + expecting + "xxx" + next, 307, `PUT /307 ""`},
		"a large upload that is refused":    {"POST /413 HTTP/1.1\r\nHost: app.test\r\nContent-Length: 67108864\r\n\r\n" + strings.Repeat("x", 4<<20), 413, `POST /413 ""`},
		"one that is answered and goes on":  {"POST /200 HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4194304\r\n\r\n" + strings.Repeat("x", 1<<20), 200, `POST /200 ""`},
		"one in chunks that does not go on": {"POST /403 HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n", 403, `POST /403 ""`},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			conn, err := net.Dial("tcp", address)
			is.NoErr(err)
			is.NoErr(conn.SetDeadline(time.Now().Add(patience)))
			writing := make(chan struct{})
			go func() {
				defer close(writing)
				io.WriteString(conn, tt.send)
			}()
			defer func() { conn.Close(); <-writing }()
			answers := bufio.NewReader(conn)
			status, last, err := readFinalAnswer(answers, http.MethodPost)
			is.NoErr(err)
			is.Equal(status, tt.status)
			is.True(last) // the client is told that the connection ends
			rest, _ := io.ReadAll(answers)
			is.Equal(string(rest), "") // nothing else is answered
			is.Equal(<-target.ended, tt.asked)
		})
	}
	conn, err := net.Dial("tcp", address)
	is.NoErr(err)
	defer conn.Close()
	io.WriteString(conn, next)
	status, _, err := readFinalAnswer(bufio.NewReader(conn), http.MethodGet)
	is.NoErr(err)
	is.Equal(status, 200)
	is.Equal(<-target.ended, `GET /next ""`)
	proxy.interrupt()
	is.Equal(proxy.wait(t), 0)
	is.Equal(len(target.ended), 0) // connections that asked for more than that
}

// A request of HTTP/1.0 without a Host belongs to the service that has no hosts, and the
// target does not learn from it what it is called here.
func TestRequestThatNamesNoHostGoesToTheServiceWithoutHosts(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	_, address := startProxy(t, asBinary, env)
	target := newRawTarget(t)
	is.Equal(inProcess(t, env, "deploy", "web", "--target", target.address).wait(t), 0)
	for _, f := range []framing{
		{name: "no Host", send: "GET / HTTP/1.0\r\n\r\n", status: []int{200}, arrives: []string{`GET /  ""`}},
		{name: "an empty Host", send: "GET / HTTP/1.1\r\nHost:\r\n\r\n", status: []int{200}, arrives: []string{`GET /  ""`}, open: true},
		{name: "any Host", send: "GET / HTTP/1.1\r\nHost: any.test\r\n\r\n", status: []int{200}, arrives: []string{`GET / any.test ""`}, open: true},
	} {
		t.Run(f.name, func(t *testing.T) { f.check(t, address, target) })
	}
}
