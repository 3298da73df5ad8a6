package tcp_test

import (
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/tcp"
)

// patience is how long something may take that is bound to happen.
const patience = time.Minute

// A door is a listener, and the connections that it accepts.
type door struct {
	net.Listener
	accepted chan net.Conn
	ended    chan error // gets the error of Accept
}

func openDoor(t *testing.T, q *tcp.Quota) *door {
	t.Helper()
	l, err := tcp.Listen("127.0.0.1:0", q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	d := &door{l.NewAcceptor(), make(chan net.Conn), make(chan error, 1)}
	go d.accept()
	return d
}

func (d *door) accept() {
	for {
		conn, err := d.Accept()
		if err != nil {
			d.ended <- err
			return
		}
		d.accepted <- conn
	}
}

// knock connects as a client does, and sends something.
func (d *door) knock(t *testing.T) {
	t.Helper()
	client, err := net.Dial("tcp", d.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
}

// next returns the next connection that is accepted.
func (d *door) next(t *testing.T) net.Conn {
	t.Helper()
	select {
	case conn := <-d.accepted:
		t.Cleanup(func() { conn.Close() })
		return conn
	case <-time.After(patience):
		t.Fatal("nobody is accepted")
		return nil
	}
}

func TestClientsWaitWhileAsManyAreConnectedAsMayBe(t *testing.T) {
	is := is.New(t)
	waiting := make(chan int, 1)
	var why atomic.Value
	q := tcp.NewQuota(3, func(open int, err error) {
		why.Store(err)
		select {
		case waiting <- open:
		default:
		}
	})
	one, other := openDoor(t, q), openDoor(t, q)
	one.knock(t)
	first := one.next(t)
	other.knock(t)
	second := other.next(t)
	one.knock(t)
	one.next(t)
	is.Equal(<-waiting, 3)
	is.True(why.Load().(error) != nil)

	one.knock(t)
	select {
	case <-one.accepted:
		t.Fatal("accepted one too many")
	case <-waiting: // again, for it goes on
	}
	is.NoErr(second.Close())
	one.next(t) // in the place of the one that left through the other door
	is.Equal(<-waiting, 3)

	one.knock(t)
	is.NoErr(first.Close())
	first.Close() // counts once
	one.next(t)
	one.knock(t)
	<-waiting
	<-waiting
	select {
	case <-one.accepted:
		t.Fatal("accepted one too many")
	case <-waiting:
	}
}

func TestListenerThatWaitsIsClosed(t *testing.T) {
	is := is.New(t)
	waiting := make(chan bool, 1)
	q := tcp.NewQuota(1, func(int, error) {
		select {
		case waiting <- true:
		default:
		}
	})
	d := openDoor(t, q)
	d.knock(t)
	d.next(t)
	<-waiting
	is.NoErr(d.Close())
	select {
	case err := <-d.ended:
		is.True(errors.Is(err, net.ErrClosed))
	case <-time.After(patience):
		t.Fatal("Accept goes on")
	}
}
