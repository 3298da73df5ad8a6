package http1_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/http1"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/socket"
)

// drop reads a body as far as it can, by pipes where that is possible. It returns how
// much came, and how much of it in pipes.
func drop(body io.Reader) (n, piped int, err error) {
	p := make([]byte, 32<<10)
	for err == nil {
		var pipe *socket.Pipe
		pipe, err = body.(socket.PipeReader).ReadPipe(100 << 10)
		switch {
		case pipe != nil:
			n += pipe.Len()
			piped += pipe.Len()
			pipe.Release()
		case err == nil:
			var m int
			m, err = body.Read(p)
			n += m
		}
	}
	return n, piped, err
}

// What of the body came with the head is read first, and what comes behind the body is
// the next request.
func TestBodyOfASocketIsReadIntoPipes(t *testing.T) {
	const size = 1 << 20
	long := strings.Repeat("x", size)
	certificate := proxytest.NewCA().Issue("app.test")
	for name, tt := range map[string]struct {
		tls   bool
		body  string
		piped bool
	}{
		"with a length": {false, fmt.Sprintf("Content-Length: %d\r\n\r\n%s", size, long), true},
		"in chunks":     {false, fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", size, long), false},
		"over TLS":      {true, fmt.Sprintf("Content-Length: %d\r\n\r\n%s", size, long), false},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			server := &http1.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n, piped, err := drop(r.Body)
				fmt.Fprint(w, n, piped > size/2, err)
			})}
			if tt.tls {
				server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
			}
			client, err := net.Dial("tcp", start(t, server))
			is.NoErr(err)
			defer client.Close()
			if tt.tls {
				client = tls.Client(client, &tls.Config{InsecureSkipVerify: true})
			}
			br := bufio.NewReader(client)
			for range 2 {
				_, err = io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\n"+tt.body)
				is.NoErr(err)
				is.Equal(answered(t, br), fmt.Sprint(size, tt.piped, io.EOF))
			}
		})
	}
}

func TestClientIsAskedForABodyThatIsReadIntoPipes(t *testing.T) {
	is := is.New(t)
	dial := serveSockets(t, func(w http.ResponseWriter, r *http.Request) {
		n, piped, err := drop(r.Body)
		fmt.Fprint(w, n, piped, err)
	})
	client := dial()
	br := bufio.NewReader(client)
	_, err := io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	is.NoErr(err)
	line, err := br.ReadString('\n')
	is.NoErr(err)
	is.Equal(line, "HTTP/1.1 100 Continue\r\n")
	br.Discard(2)
	_, err = io.WriteString(client, "hello")
	is.NoErr(err)
	is.Equal(answered(t, br), fmt.Sprint(5, 5, io.EOF)) // nothing was read ahead
}

func TestReadIntoPipesEndsAsAReadDoes(t *testing.T) {
	is := is.New(t)
	bodies := make(chan io.ReadCloser, 1)
	errs := make(chan error, 1)
	dial := serveSockets(t, func(w http.ResponseWriter, r *http.Request) {
		bodies <- r.Body
		if r.URL.Path == "/close" {
			r.Body.Close()
		}
		n, _, err := drop(r.Body)
		if n != 5 {
			err = errors.Join(err, fmt.Errorf("%d bytes came", n))
		}
		errs <- err
	})
	const begun = " HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"
	client := dial()
	_, err := io.WriteString(client, "POST /"+begun)
	is.NoErr(err)
	body := <-bodies
	client.Close()
	is.Equal(<-errs, io.ErrUnexpectedEOF)

	client = dial()
	_, err = io.WriteString(client, "POST /close"+begun)
	is.NoErr(err)
	<-bodies
	is.True(errors.Is(<-errs, http.ErrBodyReadAfterClose))

	_, _, err = drop(body) // of a request that is over
	is.True(err != nil)
}
