package tcp_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/matryer/is"
	"golang.org/x/sys/unix"

	"github.com/shahnk19/parachute/cmd/parachute/internal/tcp"
)

// defersAccept reports whether clients of l are accepted only when they have sent something.
func defersAccept(t *testing.T, l *tcp.Listener) bool {
	t.Helper()
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var seconds int
	if failed := raw.Control(func(fd uintptr) {
		seconds, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT)
	}); failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	return seconds > 0
}

// What it sends may be read as soon as it is accepted.
func TestClientsAreAcceptedWithWhatTheyHaveSent(t *testing.T) {
	is := is.New(t)
	is.True(defersAccept(t, listen(t, nil)))
	given := tcp.NewListener(withoutKeepAlive(t), nil)
	defer given.Close()
	is.True(defersAccept(t, given)) // another process had it
}

// As may browsers, which connect before they know what to ask for.
func TestClientThatSendsNothingIsAcceptedAllTheSame(t *testing.T) {
	is := is.New(t)
	l := listen(t, nil)
	client := dial(t, l)
	c, err := l.NewAcceptor().Accept()
	is.NoErr(err)
	defer c.Close()
	is.Equal(c.RemoteAddr().String(), client.LocalAddr().String())
}

func TestFinishWaitsForClientThatHasSentNothingYet(t *testing.T) {
	is := is.New(t)
	l := listen(t, nil)
	tcp.SetArriveTimeout(l, time.Hour)
	a := l.NewAcceptor()
	client := dial(t, l)
	finished := make(chan error, 1)
	go func() { finished <- l.Finish() }()
	sent := make(chan error, 1)
	time.AfterFunc(50*time.Millisecond, func() { // Finish would be over by then
		_, err := client.Write([]byte("x"))
		sent <- err
	})
	c, err := a.Accept()
	is.NoErr(err)
	defer c.Close()
	is.NoErr(<-sent)
	var b [1]byte
	_, err = c.Read(b[:])
	is.NoErr(err)
	_, err = a.Accept()
	is.True(errors.Is(err, net.ErrClosed))
	is.NoErr(<-finished)
}

// Otherwise it may take a second until its connection arrives, which it has opened.
func TestListenerThatFinishesPutsNobodyOff(t *testing.T) {
	is := is.New(t)
	l := listen(t, nil)
	a := l.NewAcceptor()
	suspended := make(chan error, 1)
	go func() { suspended <- l.Suspend() }()
	_, err := a.Accept()
	is.True(errors.Is(err, net.ErrClosed))
	is.NoErr(<-suspended)
	is.True(!defersAccept(t, l))
	is.NoErr(l.Resume())
	is.True(defersAccept(t, l))
}
