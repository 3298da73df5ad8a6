package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/matryer/is"
)

// patience is how long something may take that is bound to happen.
const patience = time.Minute

// goroutine returns the number of the goroutine that calls it.
func goroutine() (number int) {
	var b [64]byte
	fmt.Sscanf(string(b[:runtime.Stack(b[:], false)]), "goroutine %d ", &number)
	return number
}

// A host is a server on a socket that says which goroutine has served a request.
type host struct {
	*Server
	address string
	ended   chan error // gets the error of Serve
}

func newHost(t *testing.T) *host {
	t.Helper()
	return newHostOf(t, func(*Server) {})
}

// newHostOf returns a host that has what set sets.
func newHostOf(t *testing.T, set func(*Server)) *host {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{
		Server:  &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, goroutine()) })},
		address: l.Addr().String(),
		ended:   make(chan error, 1),
	}
	set(h.Server)
	h.init()
	go func() { h.ended <- h.Serve(l) }()
	t.Cleanup(func() { h.Close() })
	return h
}

// ask sends a request on a connection of its own, and returns the goroutine that has served
// it.
func (h *host) ask(t *testing.T) (number int) {
	t.Helper()
	is := is.New(t)
	c, err := net.Dial("tcp", h.address)
	is.NoErr(err)
	defer c.Close()
	_, err = c.Write([]byte("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n"))
	is.NoErr(err)
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	is.NoErr(err)
	defer answer.Body.Close()
	_, err = fmt.Fscan(answer.Body, &number)
	is.NoErr(err)
	return number
}

// await returns when n workers wait for a connection.
func (h *host) await(t *testing.T, n int) {
	t.Helper()
	h.awaitThat(t, func() bool { return len(h.spare) == n })
}

// awaitThat returns when is reports true, which is called with h.mu held.
func (h *host) awaitThat(t *testing.T, is func() bool) {
	t.Helper()
	for late := time.After(patience); ; runtime.Gosched() {
		h.mu.Lock()
		ok := is()
		h.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-late:
			t.Fatal("it does not come to that")
		default:
		}
	}
}

func TestWorkerServesOneConnectionAfterAnother(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	first := h.ask(t)
	for range 100 {
		h.await(t, 1)
		is.Equal(h.ask(t), first)
	}
}

func TestWorkersThatAreTooManyEnd(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	h.mu.Lock()
	h.maxSpare = 0
	h.mu.Unlock()
	first := h.ask(t)
	awaitNoWorker(t)
	is.True(h.ask(t) != first)
}

func TestWorkersEndWithTheirServer(t *testing.T) {
	is := is.New(t)
	h := newHost(t)
	h.ask(t)
	h.await(t, 1)
	is.NoErr(h.Close())
	is.True(errors.Is(<-h.ended, http.ErrServerClosed))
	awaitNoWorker(t)
}

// awaitNoWorker returns when no worker runs.
func awaitNoWorker(t *testing.T) {
	t.Helper()
	awaitEnd(t, "(*Server).work(")
}

// awaitEnd returns when no goroutine is in that function.
func awaitEnd(t *testing.T, function string) {
	t.Helper()
	b := make([]byte, 1<<20)
	for late := time.After(patience); ; runtime.Gosched() {
		if !bytes.Contains(b[:runtime.Stack(b, true)], []byte(function)) {
			return
		}
		select {
		case <-late:
			t.Fatalf("%s has not returned:\n%s", function, b)
		default:
		}
	}
}
