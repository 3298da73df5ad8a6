package http1_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/http1"
)

// readResponse returns the next response and its body.
func readResponse(t *testing.T, br *bufio.Reader) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestRetiredServerAnswersTheNextRequestOfEachConnection(t *testing.T) {
	for name, used := range map[string]bool{"on a new connection": false, "on one that was used": true} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			s := newStoppable(t)
			client, br := s.dial(used)
			for open := 0; open == 0; { // until it is accepted
				open, _ = s.Connections()
				runtime.Gosched()
			}
			s.Retire()
			_, err := net.Dial("tcp", s.address)
			is.True(err != nil) // no connection is accepted
			send(t, client, getting("/"))
			res, body := readResponse(t, br)
			is.Equal(body, "/")
			is.True(res.Close) // Connection: close
			_, err = br.ReadByte()
			is.Equal(err, io.EOF)
		})
	}
}

func TestRetiredServerAnswersAllThatHasArrived(t *testing.T) {
	is := is.New(t)
	s := newStoppable(t)
	client, br := s.dial(true)
	s.Retire()
	send(t, client, getting("/1"), getting("/2"), getting("/3"))
	for _, path := range []string{"/1", "/2", "/3"} {
		res, body := readResponse(t, br)
		is.Equal(body, path)
		is.Equal(res.Close, path == "/3") // only behind the last
	}
	_, err := br.ReadByte()
	is.Equal(err, io.EOF)
}

func TestRequestUnderWayIsTheLastOnARetiredServer(t *testing.T) {
	is := is.New(t)
	s := newStoppable(t)
	client, br := s.dial(true)
	send(t, client, getting("/hold"))
	<-s.entered
	s.Retire()
	s.release <- struct{}{}
	res, body := readResponse(t, br)
	is.Equal(body, "/hold")
	is.True(res.Close)
	is.NoErr(s.Shutdown(t.Context()))
}

// A client that sends another request before it has read that the connection is closed
// must not lose the answer that is on its way: what arrives at a closed socket resets it.
func TestRetiredServerDoesNotResetWhoSendsMore(t *testing.T) {
	is := is.New(t)
	s := newStoppable(t)
	client, br := s.dial(true)
	s.Retire()
	send(t, client, getting("/"))
	_, err := br.Peek(1) // it is answered
	is.NoErr(err)
	send(t, client, getting("/late"))
	_, body := readResponse(t, br)
	is.Equal(body, "/")
	_, err = br.ReadByte()
	is.Equal(err, io.EOF) // and no reset
}

func TestRetiredServerTakesNoListener(t *testing.T) {
	is := is.New(t)
	s := new(http1.Server)
	s.Retire()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)
	is.Equal(s.Serve(l), http.ErrServerClosed)
	_, err = l.Accept()
	is.True(err != nil) // it was closed
}

func TestShutdownClosesWhatARetiredServerHasLeft(t *testing.T) {
	is := is.New(t)
	s := newStoppable(t)
	_, br := s.dial(true)
	s.Retire()
	is.NoErr(s.Shutdown(t.Context()))
	_, err := br.ReadByte()
	is.Equal(err, io.EOF)
}
