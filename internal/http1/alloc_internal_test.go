//go:build !race

package http1

import (
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/matryer/is"
)

// serveOver serves handler on a connection, and returns a func that sends a request on
// it and reads the response, which is as long as the first one.
func serveOver(t testing.TB, handler http.HandlerFunc, request string) (exchange func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Handler: handler}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		s.Close()
		<-served
	})
	b := make([]byte, 64<<10)
	sent := []byte(request)
	if _, err := client.Write(sent); err != nil {
		t.Fatal(err)
	}
	n, err := client.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		client.Write(sent)
		io.ReadFull(client, b[:n])
	}
}

func TestRequestThatIsLikeTheOneBeforeAllocatesNothing(t *testing.T) {
	is := is.New(t)
	body := make([]byte, 100)
	exchange := serveOver(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-Host"] = r.Header["X-Forwarded-Host"]
		w.Write(body)
	}, "GET /x HTTP/1.1\r\nHost: app.test\r\nUser-Agent: test\r\nx-forwarded-host: a\r\nAccept: */*\r\n\r\n")
	is.Equal(testing.AllocsPerRun(1000, exchange), 0.0)
}

func TestRequestWithABodyAllocatesLittle(t *testing.T) {
	is := is.New(t)
	exchange := serveOver(t, func(w http.ResponseWriter, r *http.Request) {
		var b [100]byte
		for {
			if _, err := r.Body.Read(b[:]); err != nil {
				break
			}
		}
		w.Write(b[:])
	}, "POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello")
	is.True(testing.AllocsPerRun(1000, exchange) <= 2) // the body, and what its Read fills
}
