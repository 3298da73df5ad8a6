package http1_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/http1"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// A stoppable is a server that serves on a socket, whose requests for /hold last until
// they are released or their contexts end.
type stoppable struct {
	*http1.Server
	t                *testing.T
	address          string
	entered, release chan struct{}
	ended            chan error // gets the error of the context of a request that was held
}

func newStoppable(t *testing.T) *stoppable {
	s := &stoppable{t: t, entered: make(chan struct{}), release: make(chan struct{}), ended: make(chan error, 1)}
	s.Server = &http1.Server{Handler: http.HandlerFunc(s.serve)}
	s.address = start(t, s.Server)
	return s
}

func (s *stoppable) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/hold" {
		s.entered <- struct{}{}
		select {
		case <-s.release:
		case <-r.Context().Done():
		}
		s.ended <- r.Context().Err()
	}
	fmt.Fprint(w, r.URL.Path)
}

// dial returns a connection, which has answered a request if that is told.
func (s *stoppable) dial(used bool) (net.Conn, *bufio.Reader) {
	s.t.Helper()
	client, err := net.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { client.Close() })
	br := bufio.NewReader(client)
	if used {
		send(s.t, client, getting("/"))
		if body := answered(s.t, br); body != "/" {
			s.t.Fatal(body)
		}
	}
	return client, br
}

// awaitIdle returns when the server is done with all requests. It is a moment after their
// clients have the answers.
func (s *stoppable) awaitIdle() {
	for _, busy := s.Connections(); busy > 0; _, busy = s.Connections() {
		runtime.Gosched()
	}
}

// shutdown begins a Shutdown, and returns what gets its error, once no connection may
// be opened any more.
func (s *stoppable) shutdown(ctx context.Context) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(ctx) }()
	for {
		client, err := net.Dial("tcp", s.address)
		if err != nil {
			s.Connections() // when it has told all of them
			return ended
		}
		client.Close()
	}
}

func TestShutdownClosesConnectionsThatWait(t *testing.T) {
	is := is.New(t)
	s := newStoppable(t)
	_, br := s.dial(true)
	is.NoErr(s.Shutdown(t.Context()))
	_, err := br.ReadByte()
	is.Equal(err, io.EOF)
	open, busy := s.Connections()
	is.Equal(open, 0)
	is.Equal(busy, 0)
}

func TestShutdownWaitsForRequestsAndAnnouncesTheEnd(t *testing.T) {
	is := is.New(t)
	s := newStoppable(t)
	client, br := s.dial(true)
	s.dial(true)
	s.awaitIdle()
	send(t, client, getting("/hold"), getting("/never"))
	<-s.entered
	open, busy := s.Connections()
	is.Equal(open, 2)
	is.Equal(busy, 1)
	ended := s.shutdown(t.Context())
	select {
	case <-ended:
		t.Fatal("it was not waited for")
	default:
	}
	s.release <- struct{}{}
	res, err := http.ReadResponse(br, nil)
	is.NoErr(err)
	is.True(res.Close) // Connection: close
	body, err := io.ReadAll(res.Body)
	is.NoErr(err)
	is.Equal(string(body), "/hold")
	is.NoErr(<-ended)
	_, err = br.ReadByte()
	is.Equal(err, io.EOF) // the request behind it was not served
}

// A visited is a server and its only client, in memory and in the time of a bubble.
type visited struct {
	*http1.Server
	client net.Conn
	br     *bufio.Reader // of client
}

// newVisited returns one that has accepted the connection.
func newVisited(t *testing.T, config *tls.Config) *visited {
	s := &http1.Server{Handler: answer("ok"), TLSConfig: config}
	client := serveMemory(t, s)()
	synctest.Wait()
	return &visited{s, client, bufio.NewReader(client)}
}

// shutdown begins a Shutdown, and returns what gets its error, once the connection is told.
func (v *visited) shutdown(t *testing.T) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- v.Shutdown(t.Context()) }()
	synctest.Wait()
	return ended
}

func TestShutdownServesWhatHasBegunToArrive(t *testing.T) {
	for name, used := range map[string]bool{"on a new connection": false, "on one that was used": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				v := newVisited(t, nil)
				if used {
					send(t, v.client, getting("/"))
					is.Equal(answered(t, v.br), "ok")
				}
				_, err := io.WriteString(v.client, get)
				is.NoErr(err)
				synctest.Wait() // that is read
				ended := v.shutdown(t)
				time.Sleep(time.Second)
				_, err = io.WriteString(v.client, "\r\n")
				is.NoErr(err)
				is.Equal(answered(t, v.br), "ok")
				is.NoErr(<-ended)
			})
		})
	}
}

// It may have sent its first request already.
func TestShutdownWaitsAMomentForAClientThatHasJustConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		v := newVisited(t, nil)
		ended := v.shutdown(t)
		time.Sleep(400 * time.Millisecond)
		send(t, v.client, getting("/"))
		is.Equal(answered(t, v.br), "ok")
		is.NoErr(<-ended)
	})
}

// A client that means to send a request does so at once.
func TestClientThatHasSentNoRequestDelaysShutdownByHalfASecondAtMost(t *testing.T) {
	for name, tt := range map[string]struct {
		config *tls.Config
		said   string
		age    time.Duration // of the connection
		want   time.Duration
	}{
		"a new connection":           {nil, "", 0, 500 * time.Millisecond},
		"a newer one":                {nil, "", 200 * time.Millisecond, 300 * time.Millisecond},
		"one that waits":             {nil, "", time.Second, 0},
		"no handshake":               {&tls.Config{}, "", time.Second, 500 * time.Millisecond},
		"the beginning of handshake": {&tls.Config{}, "\x16\x03\x01\x02\x00", time.Second, 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				s := &http1.Server{Handler: answer("ok"), TLSConfig: tt.config}
				client := serveMemory(t, s)()
				synctest.Wait() // it is accepted
				io.WriteString(client, tt.said)
				time.Sleep(tt.age)
				begun := time.Now()
				is.NoErr(s.Shutdown(t.Context()))
				is.Equal(time.Since(begun), tt.want)
			})
		})
	}
}

func TestRequestBehindAHandshakeThatShutdownMeetsIsAnswered(t *testing.T) {
	certificate := proxytest.NewCA().Issue("app.test")
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		v := newVisited(t, &tls.Config{Certificates: []tls.Certificate{certificate}})
		ended := v.shutdown(t)
		time.Sleep(400 * time.Millisecond)
		secured := tls.Client(v.client, &tls.Config{InsecureSkipVerify: true})
		is.NoErr(secured.Handshake())
		time.Sleep(400 * time.Millisecond)
		send(t, secured, getting("/"))
		is.Equal(answered(t, bufio.NewReader(secured)), "ok")
		is.NoErr(<-ended)
	})
}

func TestShutdownReturnsWhenItsContextEndsAndCloseEndsRequests(t *testing.T) {
	is := is.New(t)
	s := newStoppable(t)
	client, br := s.dial(false)
	send(t, client, getting("/hold"))
	<-s.entered
	ctx, cancel := context.WithCancel(t.Context())
	ended := s.shutdown(ctx)
	cancel()
	is.Equal(<-ended, context.Canceled)
	is.NoErr(s.Close())
	is.Equal(<-s.ended, context.Canceled)
	is.NoErr(s.Shutdown(t.Context())) // waits for the handler
	_, err := br.ReadByte()
	is.True(err != nil)
}

func TestServeAfterShutdownServesNobody(t *testing.T) {
	is := is.New(t)
	s := &http1.Server{Handler: http.NotFoundHandler()}
	is.NoErr(s.Shutdown(t.Context()))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)
	is.True(errors.Is(s.Serve(l), http.ErrServerClosed))
	_, err = l.Accept()
	is.True(errors.Is(err, net.ErrClosed))
}
