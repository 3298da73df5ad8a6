package http1_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"
)

// cork has what client sends leave together with the end of it. Who sends them one
// after the other, as all do, may be interrupted in between.
func cork(t *testing.T, client *net.TCPConn) {
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
			client := dial()
			cork(t, client)
			var requests strings.Builder
			for _, request := range all {
				requests.WriteString(request.String())
			}
			_, err := client.Write([]byte(requests.String()))
			is.NoErr(err)
			is.NoErr(client.CloseWrite())
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
	client := dial()
	br := bufio.NewReader(client)
	send(t, client, getting("/1"))
	is.Equal(answered(t, br), "/1<nil>")
	lasts(t)
	cork(t, client)
	send(t, client, getting("/wait"))
	is.NoErr(client.CloseWrite())
	is.Equal(answered(t, br), "/wait<nil>")
}
