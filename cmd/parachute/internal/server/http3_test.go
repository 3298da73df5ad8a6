package server_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestStopLetsRequestsOverTLSFinish(t *testing.T) {
	t.Parallel()
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			c := newConfig(t)
			c.HTTP3 = true
			s := startSite(t, c)
			client := s.clients(t)[proto]
			events := bufio.NewReader(s.request(t, client, "GET", "/events", nil).Body)
			first, err := events.ReadString('\n')
			is.NoErr(err)
			is.Equal(first, "data: 1\n")
			answers := s.hold(t, client)

			s.cancel()
			s.await(t, `"msg":"stopping"`)
			s.app.release <- struct{}{}
			is.Equal(<-answers, "200 hello")
			is.NoErr(s.stop(t)) // although the client does not hang up
			is.True(!strings.Contains(s.log.String(), "cut off"))
			_, _ = io.Copy(io.Discard, events) // ends, although the app never ends it
		})
	}
}

func TestStopAnswersWhatItCutsOffOverTLS(t *testing.T) {
	t.Parallel()
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/3.0"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			c := newConfig(t)
			c.HTTP3 = true
			c.ShutdownTimeout = -1
			s := startSite(t, c)
			answers := s.hold(t, s.clients(t)[proto])
			is.NoErr(s.stop(t)) // although the app keeps the request
			is.Equal(<-answers, "504 504 Gateway Timeout")
			is.True(strings.Contains(s.log.String(), "requests were cut off"))
			s.app.release <- struct{}{}
		})
	}
}

// hold sends a request that the app keeps until it is released, and returns
// when it has arrived. The answer is sent to the channel.
func (s *site) hold(t *testing.T, client *http.Client) <-chan string {
	t.Helper()
	answers := make(chan string, 1)
	go func() { answers <- ask(client, s.secure, "/hold") }()
	select {
	case <-s.app.entered:
	case answer := <-answers:
		t.Fatal(answer)
	}
	return answers
}

// ask returns the status and the body of what is at a path of the site.
func ask(client *http.Client, address, path string) string {
	r, err := http.NewRequest("GET", "https://"+address+path, nil)
	if err != nil {
		return err.Error()
	}
	r.Host = host
	return answerOf(client.Do(r))
}

func TestHTTP3ClientThatDoesNotHangUpIsHungUpOn(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	c.HTTP3 = true
	c.HTTPSPort = int(netip.MustParseAddrPort(proxytest.FreeAddress(t)).Port())
	s := startSite(t, c)
	config := s.trust()
	config.NextProtos = []string{http3.NextProtoH3}
	conn, err := quic.DialAddr(t.Context(), s.secure, config, nil)
	is.NoErr(err)
	is.NoErr(s.stop(t)) // which takes less than the time for requests
	_, err = conn.AcceptUniStream(t.Context())
	for err == nil { // the streams that HTTP/3 begins with
		_, err = conn.AcceptUniStream(t.Context())
	}
	var closed *quic.ApplicationError
	is.True(errors.As(err, &closed)) // it was told, and did not have to find out
	free, err := net.ListenPacket("udp", s.secure)
	is.NoErr(err) // the port is given back
	is.NoErr(free.Close())
}

func TestPortOfHTTP3IsFreeForTheNextProcessThoughOthersStillDrain(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	c.HTTP3 = true
	c.HTTPSPort = int(netip.MustParseAddrPort(proxytest.FreeAddress(t)).Port())
	s := startSite(t, c)
	is.Equal(ask(s.clients(t)["HTTP/3.0"], s.secure, "/"), "200 hello")
	answers := s.hold(t, s.clients(t)["HTTP/1.1"])
	s.cancel()
	for err := error(syscall.EADDRINUSE); err != nil; {
		var free net.PacketConn
		free, err = net.ListenPacket("udp", s.secure)
		if err == nil {
			is.NoErr(free.Close())
		}
		is.True(err == nil || errors.Is(err, syscall.EADDRINUSE))
	}
	s.app.release <- struct{}{}
	is.Equal(<-answers, "200 hello")
	is.NoErr(s.stop(t))
}

func TestStreamsOfAnHTTP3ConnectionHaveTheirLimit(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	c.HTTP3 = true
	c.Limits.Streams = 7
	s := startSite(t, c)
	config := s.trust()
	config.NextProtos = []string{http3.NextProtoH3}
	conn, err := quic.DialAddr(t.Context(), s.secure, config, nil)
	is.NoErr(err)
	defer conn.CloseWithError(0, "")
	for range 7 {
		_, err := conn.OpenStream()
		is.NoErr(err)
	}
	_, err = conn.OpenStream()
	var limit *quic.StreamLimitReachedError
	is.True(errors.As(err, &limit))
}

func TestHTTP3IdleConnectionIsClosed(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	c.HTTP3 = true
	c.Limits.Idle = 500 * time.Millisecond
	s := startSite(t, c)
	config := s.trust()
	config.NextProtos = []string{http3.NextProtoH3}
	conn, err := quic.DialAddr(t.Context(), s.secure, config, nil)
	is.NoErr(err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case <-conn.Context().Done():
	case <-ctx.Done():
		t.Fatal("it is kept")
	}
}

// Over HTTP/3, the head of a request does not say that there is no body.
func TestRequestWithoutABodyHasNoneOverTLS(t *testing.T) {
	t.Parallel()
	c := newConfig(t)
	c.HTTP3 = true
	s := startSite(t, c)
	for proto, client := range s.clients(t) {
		for method, want := range map[string]string{"GET": "0 []", "DELETE": "0 []", "POST": "0 []"} {
			res := s.request(t, client, method, "/framing", nil)
			got, err := io.ReadAll(res.Body)
			is := is.New(t)
			is.NoErr(err)
			is.Equal(res.Proto, proto)
			is.Equal(string(got), want)
		}
	}
}

func TestAnswerWithoutABodyHasNoneOverTLS(t *testing.T) {
	t.Parallel()
	c := newConfig(t)
	c.HTTP3 = true
	s := startSite(t, c)
	for _, client := range s.clients(t) {
		for _, tt := range []struct {
			method, path string
			status       int
			length       int64
		}{
			{"GET", "/head?200", 200, 0},
			{"GET", "/head?204", 204, 0},
			{"GET", "/head?304", 304, 0},
			{"HEAD", "/", 200, 5},
		} {
			is := is.New(t)
			res := s.request(t, client, tt.method, tt.path, nil)
			got, err := io.ReadAll(res.Body)
			is.NoErr(err)
			is.Equal(string(got), "")
			is.Equal(res.StatusCode, tt.status)
			if tt.status == 200 {
				is.Equal(res.ContentLength, tt.length)
			}
		}
	}
}
