package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"golang.org/x/net/http2"

	"github.com/shahnk19/parachute/cmd/parachute/internal/server"
)

// startPlain starts a proxy and deploys an app to it.
func startPlain(t *testing.T, c server.Config) *site {
	t.Helper()
	s := &site{app: newApp(t)}
	t.Cleanup(func() { close(s.app.release) }) // before the app waits for its requests
	s.process = start(t, c)
	deploy(t, c, s.app.Listener.Addr().String())
	return s
}

// newH2CClient returns a client that speaks HTTP/2 without TLS, and never asks.
func newH2CClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

func (p *process) h2c(t *testing.T, client *http.Client, method, path string, body io.Reader) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.address+path, body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func TestHTTP2WithPriorKnowledgeIsServedBesideHTTP1(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	s, client := startPlain(t, newConfig(t)), newH2CClient(t)
	res := s.h2c(t, client, "GET", "/", nil)
	is.Equal(res.Proto, "HTTP/2.0")
	is.Equal(bodyOf(t, res), "hello")
	is.Equal(res.Header.Get("X-Scheme"), "http") // what the app was told
	is.Equal(s.get("/"), "200 hello")            // over HTTP/1

	large := strings.Repeat("0123456789abcdef", 1<<17) // 2 MiB, more than any window
	res = s.h2c(t, client, "POST", "/echo", strings.NewReader(large))
	is.True(bodyOf(t, res) == large)              // there and back
	is.Equal(res.Trailer.Get("X-Sum"), "2097152") // with what comes after it

	events := s.h2c(t, client, "GET", "/events", nil)
	line, err := bufio.NewReader(events.Body).ReadString('\n')
	is.NoErr(err)
	is.Equal(line, "data: 1\n") // at once, although the stream goes on
	is.NoErr(events.Body.Close())
	is.NoErr(s.stop(t))
	is.Equal(strings.Count(s.log.String(), `"proto":"HTTP/2.0"`), 3)
	is.Equal(strings.Count(s.log.String(), `"scheme":"http"`), 4)
}

func TestDeployDrainsRequestsOverH2C(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	s, client := startPlain(t, c), newH2CClient(t)
	answers := make(chan string, 1)
	go func() { answers <- answerOf(client.Get("http://" + s.address + "/hold")) }()
	<-s.app.entered
	next := newApp(t)
	deployed := make(chan struct{})
	go func() {
		defer close(deployed)
		deploy(t, c, next.Listener.Addr().String())
	}()
	s.await(t, `"msg":"switched","service":"web","generation":2`)
	is.Equal(bodyOf(t, s.h2c(t, client, "GET", "/", nil)), "hello") // on the connection of the other request
	select {
	case <-deployed:
		t.Fatal("it was not waited for")
	default:
	}
	s.app.release <- struct{}{}
	is.Equal(<-answers, "200 hello")
	<-deployed
}

func TestStopLetsRequestsOverH2CFinishAndAnswersWhatItCutsOff(t *testing.T) {
	t.Parallel()
	for timeout, want := range map[time.Duration]string{0: "200 hello", -1: "504 504 Gateway Timeout"} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			c := newConfig(t)
			c.ShutdownTimeout = timeout
			s, client := startPlain(t, c), newH2CClient(t)
			events := s.h2c(t, client, "GET", "/events", nil)
			answers := make(chan string, 1)
			go func() { answers <- answerOf(client.Get("http://" + s.address + "/hold")) }()
			<-s.app.entered

			s.cancel()
			s.await(t, `"msg":"stopping"`)
			if timeout == 0 {
				s.app.release <- struct{}{}
			}
			is.Equal(<-answers, want)
			is.NoErr(s.stop(t)) // although the client does not hang up
			is.Equal(strings.Contains(s.log.String(), "cut off"), timeout < 0)
			_, _ = io.Copy(io.Discard, events.Body) // ends, although the app never ends it
		})
	}
}

func TestConnectionsOfH2CHaveTheLimitsOfHTTP2(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	c.Limits.Streams = 7
	c.Limits.HeaderBytes = 32 << 10
	p := start(t, c)
	conn, err := net.Dial("tcp", p.address)
	is.NoErr(err)
	defer conn.Close()
	got := settings(t, conn)
	is.Equal(got[http2.SettingMaxConcurrentStreams], uint32(7))
	is.True(got[http2.SettingMaxHeaderListSize] >= 32<<10 && got[http2.SettingMaxHeaderListSize] < 33<<10)
	is.Equal(got[http2.SettingInitialWindowSize], uint32(window))
}

func TestConnectionsOfH2CThatAreSlowOrIdleAreClosed(t *testing.T) {
	c := newConfig(t)
	c.Limits.ReadHeader = 500 * time.Millisecond
	c.Limits.Idle = 500 * time.Millisecond
	p := start(t, c)
	for name, sent := range map[string]string{
		"part of the preface":      "PRI * HTTP/2.0\r\n",
		"most of it":               "PRI * HTTP/2.0\r\n\r\nSM\r\n",
		"no request":               http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"another preface":          "PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n",
		"a head that looks so":     "PRI * HTTP/2.0\r\nHost: app.test\r\n\r\n",
		"one with a field of ours": "PRI * HTTP/2.0\r\nX: SM\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			conn, err := net.Dial("tcp", p.address)
			is.NoErr(err)
			defer conn.Close()
			_, _ = io.WriteString(conn, sent) // whoever is late with it is hung up on just so
			is.NoErr(conn.SetReadDeadline(time.Now().Add(patience)))
			_, err = io.Copy(io.Discard, conn) // until it is hung up on
			is.True(!errors.Is(err, os.ErrDeadlineExceeded))
		})
	}
}

func TestPrefaceThatComesInPiecesIsOne(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	p := start(t, newConfig(t))
	conn, err := net.Dial("tcp", p.address)
	is.NoErr(err)
	defer conn.Close()
	for _, b := range []byte(http2.ClientPreface) {
		_, err = conn.Write([]byte{b})
		is.NoErr(err)
	}
	framer := http2.NewFramer(conn, conn)
	is.NoErr(framer.WriteSettings())
	frame, err := framer.ReadFrame()
	is.NoErr(err)
	_, ok := frame.(*http2.SettingsFrame)
	is.True(ok)
}

// Without a limit of time nothing but the answer ends the wait.
func TestMalformedRequestThatIsShorterThanAPrefaceIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	c := newConfig(t)
	c.Limits.ReadHeader = -1
	p := start(t, c)
	for _, sent := range []string{"BAD\r\n\r\n", "PRI\r\n\r\n", "GET /\r\n\r\n", "\x16\x03\x01\r\n\r\n"} {
		t.Run(fmt.Sprintf("%q", sent), func(t *testing.T) {
			is := is.New(t)
			conn, err := net.Dial("tcp", p.address)
			is.NoErr(err)
			defer conn.Close()
			_, err = io.WriteString(conn, sent)
			is.NoErr(err)
			is.NoErr(conn.SetReadDeadline(time.Now().Add(patience)))
			line, err := bufio.NewReader(conn).ReadString('\n')
			is.NoErr(err)
			is.Equal(line, "HTTP/1.1 400 Bad Request\r\n")
		})
	}
}

func TestUnreadUploadsOverH2CHaveALimit(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	c.Limits.Unread = 2 * window
	s, client := startPlain(t, c), newH2CClient(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan string, 3)
	for range cap(ended) {
		r, err := http.NewRequestWithContext(ctx, "POST", "http://"+s.address+"/hold", strings.NewReader(strings.Repeat("x", 64*window)))
		is.NoErr(err)
		go func() { ended <- answerOf(client.Do(r)) }()
	}
	is.True(strings.Contains(s.await(t, "unread uploads"), `"level":"WARN"`))
	for range cap(ended) {
		is.True(!strings.HasPrefix(<-ended, "200")) // the connection of all three
	}
}
