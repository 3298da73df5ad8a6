package http2_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/shahnk19/parachute/cmd/parachute/internal/http2"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// patience is how long something may take that is bound to happen.
const patience = 10 * time.Second

// A site is a Server on a network in memory. Requests for /hold last until they are released, and
// those for /large get an answer of a megabyte.
type site struct {
	*http2.Server
	t                *testing.T
	network          proxytest.Net
	tls              *tls.Config // nil: without
	entered, release chan struct{}
}

const large = 1 << 20

const address = "www.example.com"

// everything is the last stream of a GOAWAY that refuses none.
const everything = 1<<31 - 1

func newSite(t *testing.T, secure bool) *site {
	s := &site{t: t, entered: make(chan struct{}, 10), release: make(chan struct{})}
	s.Server = &http2.Server{New: func() *http.Server { return &http.Server{Handler: http.HandlerFunc(s.serve)} }}
	if secure {
		s.tls = &tls.Config{Certificates: []tls.Certificate{proxytest.NewCA().Issue(address)}, NextProtos: []string{"h2"}}
	}
	l, err := s.network.Listen(address + ":443")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			go s.take(c)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-accepted
		s.Close()
	})
	return s
}

func (s *site) take(c net.Conn) {
	if s.tls == nil {
		s.Serve(c)
		return
	}
	secured := tls.Server(c, s.tls)
	if secured.Handshake() == nil {
		s.Serve(secured)
	}
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/hold":
		s.entered <- struct{}{}
		<-s.release
	case "/large":
		w.Write(bytes.Repeat([]byte{'x'}, large))
		return
	}
	fmt.Fprint(w, r.URL.Path, " ", r.TLS != nil)
}

// A client speaks HTTP/2 frame by frame.
type client struct {
	*h2.Framer
	net.Conn
	t       *testing.T
	next    uint32   // stream
	goAways []uint32 // the last streams of those that have come

	bodies   map[uint32][]byte
	complete map[uint32]bool // answers whose end has come
}

// dial connects, and has exchanged settings when it returns.
func (s *site) dial() *client {
	s.t.Helper()
	c := s.connect()
	c.awaitFrame(func(f h2.Frame) bool {
		return f.Header().Type == h2.FrameSettings && f.Header().Flags == h2.FlagSettingsAck
	})
	return c
}

// open connects, and says nothing.
func (s *site) open() net.Conn {
	s.t.Helper()
	conn, err := s.network.Dial(s.t.Context(), "tcp", address+":443")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// connect sends the preface and settings.
func (s *site) connect() *client {
	s.t.Helper()
	conn := s.open()
	if s.tls != nil {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	}
	conn.SetDeadline(time.Now().Add(patience))
	c := &client{
		Framer: h2.NewFramer(conn, conn), Conn: conn, t: s.t, next: 1,
		bodies: make(map[uint32][]byte), complete: make(map[uint32]bool),
	}
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(conn, h2.ClientPreface); err != nil {
		s.t.Fatal(err)
	}
	if err := c.WriteSettings(); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// ask sends a request, and returns its stream.
func (c *client) ask(path string) uint32 {
	c.t.Helper()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "app.test"}, {":path", path}} {
		encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	id := c.next
	c.next += 2
	err := c.WriteHeaders(h2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// awaitFrame returns the first frame that is wanted. It answers pings and settings.
func (c *client) awaitFrame(wanted func(h2.Frame) bool) h2.Frame {
	c.t.Helper()
	for {
		f, err := c.ReadFrame()
		if err != nil {
			c.t.Fatal(err)
		}
		switch f := f.(type) {
		case *h2.GoAwayFrame:
			c.goAways = append(c.goAways, f.LastStreamID)
		case *h2.PingFrame:
			c.WritePing(true, f.Data)
		case *h2.SettingsFrame:
			if !f.IsAck() {
				c.WriteSettingsAck()
			}
		case *h2.RSTStreamFrame:
			c.t.Fatal("reset: ", f)
		case *h2.DataFrame:
			c.bodies[f.StreamID] = append(c.bodies[f.StreamID], f.Data()...)
			c.complete[f.StreamID] = f.StreamEnded()
			if n := uint32(len(f.Data())); n > 0 {
				c.WriteWindowUpdate(0, n)
				c.WriteWindowUpdate(f.StreamID, n)
			}
		}
		if wanted(f) {
			return f
		}
	}
}

// answer returns the body of an answer.
func (c *client) answer(id uint32) string {
	c.t.Helper()
	if !c.complete[id] {
		c.awaitFrame(func(h2.Frame) bool { return c.complete[id] })
	}
	return string(c.bodies[id])
}

// awaitGoAway waits until n GOAWAY frames have come in all.
func (c *client) awaitGoAway(n int) {
	c.t.Helper()
	if len(c.goAways) < n {
		c.awaitFrame(func(h2.Frame) bool { return len(c.goAways) == n })
	}
}

// awaitEnd reads until the server hangs up, which it must do without a reset.
func (c *client) awaitEnd() {
	c.t.Helper()
	for {
		if _, err := c.ReadFrame(); err == io.EOF {
			return
		} else if err != nil {
			c.t.Fatal(err)
		}
	}
}

func (s *site) shutdown() <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(s.t.Context()) }()
	return ended
}

// forBoth runs a test with TLS and without, in fake time: how long the server is patient
// with a client must not depend on how busy the machine is.
func forBoth(t *testing.T, f func(t *testing.T, is *is.I, s *site)) {
	for name, secure := range map[string]bool{"h2c": false, "h2": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, is.New(t), newSite(t, secure)) })
		})
	}
}

func TestConnectionsAreServed(t *testing.T) {
	forBoth(t, func(t *testing.T, is *is.I, s *site) {
		c := s.dial()
		is.Equal(c.answer(c.ask("/")), fmt.Sprint("/ ", s.tls != nil)) // the handler knows of TLS
		is.Equal(len(c.answer(c.ask("/large"))), large)
	})
}

// The second one is of the server itself, which answers nothing that comes later.
func TestClientIsToldTwiceBeforeItsConnectionEnds(t *testing.T) {
	forBoth(t, func(t *testing.T, is *is.I, s *site) {
		c := s.dial()
		c.answer(c.ask("/"))
		ended := s.shutdown()
		c.awaitGoAway(2)
		is.Equal(c.goAways, []uint32{everything, 1})
		c.awaitEnd()
		is.NoErr(c.Conn.Close())
		is.NoErr(<-ended)
	})
}

func TestRequestThatIsSentBeforeTheClientKnowsIsAnswered(t *testing.T) {
	forBoth(t, func(t *testing.T, is *is.I, s *site) {
		c := s.dial()
		c.answer(c.ask("/"))
		s.shutdown()
		f, err := c.ReadFrame()
		for ; err == nil && f.Header().Type != h2.FrameGoAway; f, err = c.ReadFrame() {
		}
		is.NoErr(err)
		is.Equal(f.(*h2.GoAwayFrame).LastStreamID, uint32(everything))
		id := c.ask("/crossed") // before the PING is answered
		is.Equal(c.answer(id), fmt.Sprint("/crossed ", s.tls != nil))
		c.awaitGoAway(1)
		is.Equal(c.goAways, []uint32{id})
		c.awaitEnd()
	})
}

// Where another process serves already, a client far away is waited for.
func TestRequestOfAClientThatLearnsLateIsAnsweredAfterRetire(t *testing.T) {
	forBoth(t, func(t *testing.T, is *is.I, s *site) {
		c := s.dial()
		c.answer(c.ask("/"))
		s.Retire()
		<-time.After(750 * time.Millisecond) // on its way there and back
		id := c.ask("/late")
		is.Equal(c.answer(id), fmt.Sprint("/late ", s.tls != nil))
		c.awaitGoAway(2)
		is.Equal(c.goAways, []uint32{everything, id})
		c.awaitEnd()
	})
}

func TestShutdownWaitsForAnswersUntilAllOfThemIsSent(t *testing.T) {
	forBoth(t, func(t *testing.T, is *is.I, s *site) {
		c := s.dial()
		held, huge := c.ask("/hold"), c.ask("/large")
		<-s.entered
		ended := s.shutdown()
		c.awaitGoAway(1)
		is.Equal(len(c.answer(huge)), large)
		select {
		case err := <-ended:
			t.Fatal("it has not waited: ", err)
		default:
		}
		close(s.release)
		is.Equal(c.answer(held), fmt.Sprint("/hold ", s.tls != nil))
		c.awaitEnd()
		is.NoErr(c.Conn.Close())
		is.NoErr(<-ended)
	})
}

func TestConnectionThatIsHandedOverDuringShutdownIsServed(t *testing.T) {
	forBoth(t, func(t *testing.T, is *is.I, s *site) {
		old := s.dial()
		held := old.ask("/hold")
		<-s.entered
		ended := s.shutdown()
		old.awaitGoAway(1)
		c := s.connect()
		is.Equal(c.answer(c.ask("/")), fmt.Sprint("/ ", s.tls != nil)) // its first request is waited for
		c.awaitGoAway(2)
		is.Equal(c.goAways, []uint32{everything, 1})
		c.awaitEnd()
		close(s.release)
		old.answer(held)
		old.awaitEnd()
		is.NoErr(old.Conn.Close())
		is.NoErr(c.Conn.Close())
		is.NoErr(<-ended)
	})
}

// Neither can be waited for: one that reads nothing, and one that has said nothing.
func TestClientThatSaysNothingDoesNotDelayShutdown(t *testing.T) {
	forBoth(t, func(t *testing.T, is *is.I, s *site) {
		deaf := s.dial()
		deaf.answer(deaf.ask("/"))
		conn := s.open()
		if s.tls != nil {
			is.NoErr(tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}).Handshake())
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		is.NoErr(s.Shutdown(ctx))
	})
}

func TestShutdownReturnsWhenItsContextEndsAndCloseCuts(t *testing.T) {
	forBoth(t, func(t *testing.T, is *is.I, s *site) {
		defer close(s.release)
		c := s.dial()
		c.ask("/hold")
		<-s.entered
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		is.Equal(s.Shutdown(ctx), context.Canceled)
		is.NoErr(s.Close())
		for err := error(nil); err == nil; {
			_, err = c.ReadFrame()
		}
		is.NoErr(s.Shutdown(t.Context()))
	})
}

// A connection of a client that is well takes as long as its answers, and not a second
// more, as it does with that server alone.
func TestIdleConnectionThatIsClosedByItsClientIsNotWaitedFor(t *testing.T) {
	forBoth(t, func(t *testing.T, is *is.I, s *site) {
		c := s.dial()
		ended := s.shutdown()
		c.awaitGoAway(1)
		is.NoErr(c.Conn.Close())
		is.NoErr(<-ended)
	})
}
