package forward_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/http1"
	"github.com/shahnk19/parachute/internal/socket"
)

// A piping exchange reads the body into pipes where that is possible, and answers with
// how much came so. It hands on the body that it was given.
func piping(bodies chan<- io.Reader) func(*http.Request, string, field.View, func(int, http.Header)) (*http.Response, error) {
	return func(r *http.Request, _ string, _ field.View, _ func(int, http.Header)) (*http.Response, error) {
		bodies <- r.Body
		piped, p := 0, make([]byte, 32<<10)
		for {
			pipe, err := r.Body.(socket.PipeReader).ReadPipe(100 << 10)
			if pipe != nil {
				piped += pipe.Len()
				pipe.Release()
			} else if err == nil {
				_, err = r.Body.Read(p)
			}
			if err == io.EOF {
				return response(200, fmt.Sprint(piped > 0)), nil
			}
			if err != nil {
				return nil, err
			}
		}
	}
}

// A server that has no pipes has its bodies read as ever.
func TestBodyThatIsReadIntoPipesIsCounted(t *testing.T) {
	const size = 1 << 20
	for name, start := range map[string]func(t *testing.T, h http.Handler) (address string){
		"http1":    startHTTP1,
		"net/http": startStandard,
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			bodies := make(chan io.Reader, 2)
			p := newProxy(piping(bodies))
			client, err := net.Dial("tcp", start(t, p))
			is.NoErr(err)
			defer client.Close()
			br := bufio.NewReader(client)
			for range 2 {
				_, err = fmt.Fprintf(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))
				is.NoErr(err)
				res, err := http.ReadResponse(br, nil)
				is.NoErr(err)
				b, err := io.ReadAll(res.Body)
				is.NoErr(err)
				is.Equal(string(b), fmt.Sprint(name == "http1"))
				is.True(!res.Close)
				o := <-p.outcomes
				is.NoErr(o.err)
				is.NoErr(o.BodyErr)
				is.Equal(o.BytesIn, int64(size))
				<-bodies
			}
		})
	}
}

func TestBodyThatBreaksOffWhileItIsReadIntoPipesIsTheClients(t *testing.T) {
	is := is.New(t)
	bodies := make(chan io.Reader, 1)
	p := newProxy(piping(bodies))
	client, err := net.Dial("tcp", startHTTP1(t, p))
	is.NoErr(err)
	_, err = io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello")
	is.NoErr(err)
	body := <-bodies
	is.NoErr(client.Close())
	o := <-p.outcomes
	is.True(errors.Is(o.BodyErr, io.ErrUnexpectedEOF))
	is.Equal(o.BytesIn, int64(5))
	_, err = body.(socket.PipeReader).ReadPipe(1)
	is.True(err != nil) // nobody reads it any more
}

func startHTTP1(t *testing.T, h http.Handler) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http1.Server{Handler: h}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return l.Addr().String()
}

func startStandard(t *testing.T, h http.Handler) (address string) {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}
