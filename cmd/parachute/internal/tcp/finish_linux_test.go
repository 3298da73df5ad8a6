package tcp_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/tcp"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// connect opens n connections, which are in the queue of l when it returns: they have sent
// something.
func connect(t *testing.T, l *tcp.Listener, n int) {
	t.Helper()
	for range n {
		if _, err := dial(t, l).Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
}

// dial opens a connection and sends nothing.
func dial(t *testing.T, l *tcp.Listener) net.Conn {
	t.Helper()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// acceptAll accepts until there is an error, and returns how many it accepted.
func acceptAll(l net.Listener) (n int, err error) {
	for {
		c, err := l.Accept()
		if err != nil {
			return n, err
		}
		defer c.Close()
		n++
	}
}

func listen(t *testing.T, q *tcp.Quota) *tcp.Listener {
	t.Helper()
	l, err := tcp.Listen(proxytest.FreeAddress(t), q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// ignoreNewcomers has newcomers ignored, which some systems have for root alone.
func ignoreNewcomers(t *testing.T, l *tcp.Listener) {
	t.Helper()
	if !tcp.IgnoreNewcomers(l) {
		if os.Getuid() == 0 {
			t.Fatal("newcomers are not ignored")
		}
		t.Skip("the system lets nobody but root have newcomers ignored")
	}
}

func TestFinishClosesBehindTheLastConnectionOfTheQueue(t *testing.T) {
	for name, q := range map[string]*tcp.Quota{
		"with room":                   nil,
		"though the quota is used up": tcp.NewQuota(1, nil),
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			l := listen(t, q)
			a := l.NewAcceptor()
			connect(t, l, 100)
			finished := make(chan error, 1)
			go func() { finished <- l.Finish() }()
			n, err := acceptAll(a)
			is.Equal(n, 100)
			is.True(errors.Is(err, net.ErrClosed))
			is.NoErr(<-finished)
			_, err = net.Dial("tcp", l.Addr().String())
			is.True(errors.Is(err, syscall.ECONNREFUSED))
		})
	}
}

func TestFinishEndsAnAcceptThatWaits(t *testing.T) {
	is := is.New(t)
	l := listen(t, nil)
	a := l.NewAcceptor()
	connect(t, l, 1)
	ended := make(chan error, 1)
	first, err := a.Accept()
	is.NoErr(err)
	defer first.Close()
	go func() {
		_, err := a.Accept()
		ended <- err
	}()
	is.NoErr(l.Finish())
	is.True(errors.Is(<-ended, net.ErrClosed))
}

func TestFinishOfAListenerFromWhichNobodyAcceptsClosesIt(t *testing.T) {
	is := is.New(t)
	is.NoErr(listen(t, nil).Finish())
	l := listen(t, nil)
	is.NoErr(l.NewAcceptor().Close())
	is.NoErr(l.Finish())
	_, err := net.Dial("tcp", l.Addr().String())
	is.True(errors.Is(err, syscall.ECONNREFUSED))
}

// A busy machine may take its time with that. Nobody may be reset for it.
func TestFinishWaitsForWhoeverAcceptsTheQueueSlowly(t *testing.T) {
	is := is.New(t)
	ignoreNewcomers(t, listen(t, nil))
	l := listen(t, nil)
	a := l.NewAcceptor()
	connect(t, l, 3)
	finished := make(chan error, 1)
	go func() { finished <- l.Finish() }()
	for range 3 {
		c, err := a.Accept()
		is.NoErr(err)
		defer c.Close()
		select {
		case <-finished:
			t.Fatal("the queue is not empty")
		case <-time.After(tcp.FinishTimeout):
		}
	}
	_, err := a.Accept()
	is.True(errors.Is(err, net.ErrClosed))
	is.NoErr(<-finished)
}

// They are the newcomers of the process that listens next.
func TestClientThatConnectsWhileAListenerFinishesReachesTheNext(t *testing.T) {
	is := is.New(t)
	l := listen(t, nil)
	a := l.NewAcceptor()
	ignoreNewcomers(t, l)
	connected := make(chan error, 1)
	go func() {
		client, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			client.Close()
		}
		connected <- err
	}()
	awaitConnecting(t, l.Addr().(*net.TCPAddr).Port, connected) // its packet is lost by then
	go l.Finish()
	n, err := acceptAll(a)
	is.Equal(n, 0)
	is.True(errors.Is(err, net.ErrClosed))
	is.NoErr(l.Close())
	next, err := tcp.Listen(l.Addr().String(), nil)
	is.NoErr(err)
	defer next.Close()
	is.NoErr(<-connected)
}

// awaitConnecting returns when the system has sent the first packet of a client that connects
// to a port, and has no answer.
func awaitConnecting(t *testing.T, port int, connected <-chan error) {
	t.Helper()
	connecting := regexp.MustCompile(fmt.Sprintf(`(?m)^ *\d+: [0-9A-F]+:[0-9A-F]+ 0100007F:%04X 02 `, port)) // SYN_SENT
	for late := time.After(patience); ; {
		sockets, err := os.ReadFile("/proc/self/net/tcp")
		if err != nil {
			t.Fatal(err)
		}
		if connecting.Match(sockets) {
			return
		}
		select {
		case err := <-connected:
			t.Fatal("got an answer: ", err)
		case <-late:
			t.Fatal("the client does not connect")
		default:
		}
	}
}

func TestClosedAcceptorLeavesTheQueueToTheNext(t *testing.T) {
	is := is.New(t)
	l := listen(t, nil)
	first := l.NewAcceptor()
	ended := make(chan error, 1)
	go func() {
		_, err := acceptAll(first)
		ended <- err
	}()
	is.NoErr(first.Close())
	is.True(errors.Is(<-ended, net.ErrClosed))
	connect(t, l, 3)
	second := l.NewAcceptor()
	for range 3 {
		c, err := second.Accept()
		is.NoErr(err)
		is.NoErr(c.Close())
	}
	third := l.NewAcceptor() // closes the second
	_, err := second.Accept()
	is.True(errors.Is(err, net.ErrClosed))
	connect(t, l, 1)
	c, err := third.Accept()
	is.NoErr(err)
	is.NoErr(c.Close())
	is.NoErr(l.Close())
	_, err = third.Accept()
	is.True(errors.Is(err, net.ErrClosed))
}

// Whoever calls Accept may be told by Leave alone that they have got all, as a server that
// closes what comes later.
func TestLeaveReturnsWhenTheLastConnectionHasBeenDealtWith(t *testing.T) {
	is := is.New(t)
	l := listen(t, nil)
	a := l.NewAcceptor()
	connect(t, l, 2)
	c, err := a.Accept()
	is.NoErr(err)
	defer c.Close()
	left := make(chan error, 1)
	go func() { left <- l.Leave() }()
	<-a.Woken()
	select {
	case <-left:
		t.Fatal("the last connection is not dealt with")
	case <-time.After(50 * time.Millisecond):
	}
	_, err = a.Accept()
	is.True(errors.Is(err, net.ErrClosed)) // the second waits for others
	is.NoErr(<-left)
	is.NoErr(l.Leave()) // it is closed
}
