package http1_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

// A dialogue is what a client sends on a connection, a handler, and what the client
// gets. It is the same from net/http's server, unless standard says otherwise.
type dialogue struct {
	name    string
	handler http.HandlerFunc
	send    string
	half    bool // the client sends its FIN behind that
	guess   bool // the server may guess a Content-Type

	// want has a line for each response, and one for what becomes of the
	// connection, as describe writes them.
	want []string

	// standard is what net/http's server does instead, and why this one does not.
	standard []string
	why      string
}

// lastTarget is asked for on a connection that goes on behind a dialogue.
const lastTarget = "/last"

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
// has, and returns what want is compared with.
func (e *dialogue) run(t *testing.T, address string, want []string) (got []string) {
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
		io.WriteString(conn, e.send)
		if e.half {
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
		if got = append(got, line); err != nil {
			return append(got, describeEnd(err))
		}
		if res.StatusCode == http.StatusSwitchingProtocols {
			rest, err := io.ReadAll(r)
			return append(got, fmt.Sprintf("%q and %s", rest, describeEnd(err)))
		}
		if res.Close {
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
	<-written
	io.WriteString(conn, "GET "+lastTarget+" HTTP/1.1\r\nHost: h\r\n\r\n")
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

// describe returns a response as STATUS FIELD: VALUE, ... BODY TRAILER: VALUE, less
// what every one has.
func describe(res *http.Response) (string, error) {
	body, err := io.ReadAll(res.Body)
	var b strings.Builder
	fmt.Fprint(&b, res.StatusCode)
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
	if len(body) > 40 {
		fmt.Fprintf(&b, " %d bytes", len(body))
	} else if len(body) > 0 {
		fmt.Fprintf(&b, " %q", body)
	}
	for _, field := range lines(res.Trailer) {
		b.WriteString(" trailer " + field)
	}
	if res.Close {
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
	}
	return err.Error()
}

// TestDialoguesGoAsWithTheStandardServer has the same dialogues with net/http's
// server and with this one.
func TestDialoguesGoAsWithTheStandardServer(t *testing.T) {
	t.Parallel()
	all := slices.Concat(lengths(), bodiless(), bodies(), expectations(), heads(), failures())
	for _, e := range all {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			if got := e.run(t, start(t, ours(http.HandlerFunc(e.serve))), e.want); !slices.Equal(got, e.want) {
				t.Errorf("this server\n%q\nwant\n%q", got, e.want)
			}
			want := e.want
			if e.standard != nil {
				want = e.standard
			}
			if got := e.run(t, start(t, standard(http.HandlerFunc(e.serve))), want); !slices.Equal(got, want) {
				t.Errorf("net/http's server\n%q\nwant\n%q", got, want)
			}
		})
	}
}
