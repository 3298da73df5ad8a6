package http1_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
)

// sendLast sends text and the end of what client sends, and reports whether both have left
// together. Who sends one after the other, as all do, may be interrupted in between: so the
// socket is corked, with which the system waits for a fifth of a second.
func sendLast(t *testing.T, client *net.TCPConn, text string) bool {
	t.Helper()
	raw, err := client.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CORK, 1)
	})
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	began := time.Now()
	if _, err := client.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	return time.Since(began) < 100*time.Millisecond
}

// The programs that send a file and read what comes back do so.
func TestClientThatClosesItsSideAlongWithItsRequestIsServed(t *testing.T) {
	for name, all := range map[string][]sent{
		"a request":           {getting("/wait")},
		"a body":              {{"POST", "/wait", "Content-Length: 5\r\n", "hello"}},
		"a body in chunks":    {{"POST", "/wait", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"}},
		"pipelined requests":  {getting("/1"), getting("/wait"), getting("/2"), getting("/wait")},
		"an unread body last": {getting("/wait"), {"POST", "/unread", "Content-Length: 5\r\n", "hello"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			dial := serveSockets(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/wait" {
					body := make([]byte, 100)
					for err := error(nil); err == nil; {
						_, err = r.Body.Read(body)
					}
					lasts(t)
				}
				fmt.Fprint(w, r.URL.Path, r.Context().Err())
			})
			var requests strings.Builder
			for _, request := range all {
				requests.WriteString(request.String())
			}
			client := dial()
			for !sendLast(t, client, requests.String()) {
				client = dial()
			}
			var want strings.Builder
			for _, request := range all {
				fmt.Fprintln(&want, request.path+"<nil>")
			}
			is.Equal(answers(client, all), want.String())
		})
	}
}

func TestClientThatClosesItsSideAlongWithALaterRequestIsServed(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dial := serveSockets(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			lasts(t)
		}
		fmt.Fprint(w, r.URL.Path, r.Context().Err())
	})
	var br *bufio.Reader
	for together := false; !together; {
		client := dial()
		br = bufio.NewReader(client)
		send(t, client, getting("/1"))
		is.Equal(answered(t, br), "/1<nil>")
		lasts(t)
		together = sendLast(t, client, getting("/wait").String())
	}
	is.Equal(answered(t, br), "/wait<nil>")
}
