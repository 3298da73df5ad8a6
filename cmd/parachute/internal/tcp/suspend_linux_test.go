package tcp_test

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/tcp"
	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestSuspendedListenerRefusesClientsUntilItResumes(t *testing.T) {
	for name, address := range map[string]string{
		"at a port of its own": proxytest.FreeAddress(t), "at one that the system has chosen": "127.0.0.1:0",
	} {
		t.Run(name, func(t *testing.T) {
			l, err := tcp.Listen(address, nil)
			is.New(t).NoErr(err)
			defer l.Close()
			suspendAndResume(t, l)
		})
	}
}

func suspendAndResume(t *testing.T, l *tcp.Listener) {
	is := is.New(t)
	for range 2 { // it may be suspended again
		a := l.NewAcceptor()
		connect(t, l, 10)
		suspended := make(chan error, 1)
		go func() { suspended <- l.Suspend() }()
		n, err := acceptAll(a)
		is.Equal(n, 10) // nobody who was there is lost
		is.True(errors.Is(err, net.ErrClosed))
		is.NoErr(<-suspended)
		_, err = net.Dial("tcp", l.Addr().String())
		is.True(errors.Is(err, syscall.ECONNREFUSED))

		is.NoErr(l.Resume())
		next := l.NewAcceptor()
		connected := make(chan error, 1)
		go func() {
			client, err := net.Dial("tcp", l.Addr().String())
			if err == nil {
				client.Close()
			}
			connected <- err
		}()
		c, err := next.Accept() // which may have to wait for it
		is.NoErr(err)
		is.NoErr(c.Close())
		is.NoErr(<-connected)
	}
}

func TestSuspendedListenerCanBeClosed(t *testing.T) {
	is := is.New(t)
	l := listen(t, nil)
	is.NoErr(l.Resume())  // it was not suspended
	is.NoErr(l.Suspend()) // from which nobody has accepted
	is.NoErr(l.Close())
	is.True(l.Resume() != nil)
}
