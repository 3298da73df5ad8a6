package http1_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/http1"
	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestSlowClientsAreGivenUp(t *testing.T) {
	const request = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhel"
	for name, tt := range map[string]struct {
		pieces []string // 8 s apart
		answer string   // how it begins
		after  time.Duration
		failed error // of the handler
	}{
		"nothing":           {nil, "", 75 * time.Second, nil},
		"half a head":       {[]string{"GET / HT"}, "HTTP/1.1 408 ", 10 * time.Second, nil},
		"a head in pieces":  {[]string{"GET / HT", "TP/1.1\r\n", "Ho"}, "HTTP/1.1 408 ", 10 * time.Second, nil},
		"half a body":       {[]string{request}, "HTTP/1.1 200 ", 60 * time.Second, os.ErrDeadlineExceeded},
		"a body in pieces":  {[]string{request, "l"}, "HTTP/1.1 200 ", 68 * time.Second, os.ErrDeadlineExceeded},
		"a slow whole body": {[]string{request, "l", "o"}, "HTTP/1.1 200 ", 16*time.Second + 75*time.Second, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				failed := make(chan error, 1)
				client, closed := serveInMemory(t, func(w http.ResponseWriter, r *http.Request) {
					_, err := io.ReadAll(r.Body)
					failed <- err
				})
				began := time.Now()
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					for _, piece := range tt.pieces {
						io.WriteString(client, piece)
						time.Sleep(8 * time.Second)
					}
				}()
				answer, _ := io.ReadAll(client)
				is.True(strings.HasPrefix(string(answer), tt.answer))
				is.Equal(time.Since(began).Truncate(time.Second), tt.after) // but for what is left to linger
				if strings.HasPrefix(tt.answer, "HTTP/1.1 200") {
					is.True(errors.Is(<-failed, tt.failed))
				}
				client.Close()
				<-closed
				<-sent
			})
		})
	}
}

// Some clients send an empty line behind a body. That begins no request, which would
// have to come within 10 s, and does not prolong the time without one.
func TestEmptyLineBehindABodyBeginsNoRequest(t *testing.T) {
	const request = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello"
	for name, tt := range map[string]struct {
		pieces []string // 30 s apart
		want   []string // the statuses
		after  time.Duration
	}{
		"with the body":                {[]string{request + "\r\n"}, []string{"200"}, 75 * time.Second},
		"later":                        {[]string{request, "\r\n"}, []string{"200"}, 75 * time.Second},
		"in two pieces":                {[]string{request + "\r", "\n"}, []string{"200", "408"}, 10 * time.Second}, // half a line may be anything
		"before the first request":     {[]string{"\r\n"}, nil, 75 * time.Second},
		"and then a request":           {[]string{request + "\r\n", request}, []string{"200", "200"}, 30*time.Second + 75*time.Second},
		"and then half a head":         {[]string{request + "\r\n", "GET"}, []string{"200", "408"}, 40 * time.Second},
		"twice at once":                {[]string{request + "\r\n\r\n"}, []string{"200", "400"}, 0},
		"twice, with time in between":  {[]string{request + "\r\n", "\r\n"}, []string{"200", "400"}, 30 * time.Second},
		"with each of several in turn": {[]string{request + "\r\n", request + "\r\n", request + "\r\n"}, []string{"200", "200", "200"}, 60*time.Second + 75*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				client, closed := serveInMemory(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
				began := time.Now()
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					for _, piece := range tt.pieces {
						io.WriteString(client, piece)
						time.Sleep(30 * time.Second)
					}
				}()
				answers, _ := io.ReadAll(client)
				var got []string
				for _, answer := range strings.Split(string(answers), "HTTP/1.1 ")[1:] {
					got = append(got, answer[:3])
				}
				is.Equal(got, tt.want)
				is.Equal(time.Since(began).Truncate(time.Second), tt.after) // but for what is left to linger
				client.Close()
				<-closed
				<-sent
			})
		})
	}
}

func TestClientThatTakesNothingIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		failed := make(chan error, 1)
		client, closed := serveInMemory(t, func(w http.ResponseWriter, r *http.Request) {
			_, err := w.Write(make([]byte, 1<<20))
			failed <- err
		})
		began := time.Now()
		io.WriteString(client, "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
		is.True(errors.Is(<-failed, os.ErrDeadlineExceeded))
		is.Equal(time.Since(began), time.Minute)
		client.Close()
		<-closed
	})
}

// A handler that sets a deadline sees to slow clients itself.
func TestHandlerThatSetsADeadlineHasNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		failed := make(chan error, 1)
		client, closed := serveInMemory(t, func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).SetWriteDeadline(time.Time{})
			_, err := w.Write(make([]byte, 1<<20))
			failed <- err
		})
		io.WriteString(client, "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
		time.Sleep(time.Hour)
		go io.Copy(io.Discard, client)
		is.NoErr(<-failed)
		client.Close()
		<-closed
	})
}

// serveInMemory serves a connection in memory, and returns the client's end, and what
// is closed when the server's is.
func serveInMemory(t *testing.T, h http.HandlerFunc) (client net.Conn, closed <-chan struct{}) {
	t.Helper()
	n := new(proxytest.Net)
	l, err := n.Listen("app.test:80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = n.Dial(t.Context(), "tcp", "app.test:80"); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	s := &http1.Server{Handler: h}
	go func() {
		defer close(done)
		s.ServeConn(conn)
		s.Close()
	}()
	return client, done
}
