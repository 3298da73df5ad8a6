package handover_test

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
)

// open returns a socket that listens.
func open(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

func isAny(net.Addr) bool { return true }

// at returns whether an address is that of l.
func at(l net.Listener) func(net.Addr) bool {
	return func(a net.Addr) bool { return a.String() == l.Addr().String() }
}

func isOpen(address string) bool {
	c, err := net.Dial("tcp", address)
	if err == nil {
		c.Close()
	}
	return err == nil
}

func TestListenerIsTheOneOfThatNameThatSuits(t *testing.T) {
	is := is.New(t)
	all := new(handover.Sockets)
	one, two, metrics := open(t), open(t), open(t)
	is.NoErr(all.Duplicate(handover.HTTP, one))
	is.NoErr(all.Duplicate(handover.HTTP, two))
	is.NoErr(all.Duplicate(handover.Metrics, metrics))
	l, err := all.Listener(handover.HTTP, at(metrics))
	is.NoErr(err)
	is.Equal(l, nil)
	l, err = all.Listener(handover.HTTP, at(two))
	is.NoErr(err)
	is.Equal(l.Addr().String(), two.Addr().String())
	is.NoErr(l.Close())
	l, err = all.Listener(handover.HTTP, at(two)) // it is taken
	is.NoErr(err)
	is.Equal(l, nil)
	is.True(all.Has(handover.HTTP)) // the other one is left
	is.True(!all.Has(handover.HTTPS))
	f := all.File(handover.HTTP)
	is.True(f != nil)
	is.NoErr(f.Close())
	is.Equal(all.File(handover.HTTP), nil)
	all.Close()
	is.True(isOpen(one.Addr().String())) // no socket is closed by that
}

func TestSocketOfAnotherKindIsAnError(t *testing.T) {
	is := is.New(t)
	all := new(handover.Sockets)
	defer all.Close()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	is.NoErr(err)
	defer c.Close()
	is.NoErr(all.Duplicate(handover.HTTP, c.(*net.UDPConn)))
	is.NoErr(all.Duplicate(handover.HTTP3, open(t)))
	_, err = all.Listener(handover.HTTP, isAny)
	is.True(strings.HasPrefix(err.Error(), "http: what was handed over is no listening socket"))
	_, err = all.PacketConn(handover.HTTP3, isAny)
	is.True(strings.HasPrefix(err.Error(), "http3: what was handed over is no socket of packets"))
	again, err := all.PacketConn(handover.HTTP, isAny)
	is.NoErr(err)
	is.Equal(again.LocalAddr().String(), c.LocalAddr().String())
	is.NoErr(again.Close())
}

func TestCopyIsOfTheSameSocketsAndOutlivesThem(t *testing.T) {
	is := is.New(t)
	all := new(handover.Sockets)
	one := open(t)
	is.NoErr(all.Duplicate(handover.HTTP, one))
	copied, err := all.Copy()
	is.NoErr(err)
	all.Close()
	is.True(!all.Has(handover.HTTP))
	address := one.Addr().String()
	is.NoErr(one.Close())
	is.True(isOpen(address)) // in its queue
	l, err := copied.Listener(handover.HTTP, at(one))
	is.NoErr(err)
	c, err := l.Accept()
	is.NoErr(err)
	is.NoErr(c.Close())
	is.NoErr(l.Close())
	copied.Close()
	is.True(!isOpen(address))
}

func TestSocketsAreSentUnderTheirNames(t *testing.T) {
	is := is.New(t)
	a, b := links(t)
	all := new(handover.Sockets)
	defer all.Close()
	one := open(t)
	is.NoErr(all.Duplicate(handover.HTTPS, one))
	is.NoErr(all.SendTo(a))
	is.True(all.Has(handover.HTTPS)) // it is still here
	m, err := b.Receive()
	is.NoErr(err)
	var socket handover.Socket
	is.NoErr(m.Decode(&socket))
	is.Equal(socket.Name, handover.HTTPS)
	got := new(handover.Sockets)
	got.Add(socket.Name, m.File)
	l, err := got.Listener(handover.HTTPS, at(one))
	is.NoErr(err)
	is.NoErr(l.Close())
	_, err = m.File.Stat()
	is.True(err != nil && strings.Contains(err.Error(), os.ErrClosed.Error())) // package net has one of its own
}

func TestPlacesAreThoseOfTheListenersThatAreLeft(t *testing.T) {
	is := is.New(t)
	all := new(handover.Sockets)
	defer all.Close()
	used, left, metrics := open(t), open(t), open(t)
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	is.NoErr(err)
	defer packets.Close()
	is.NoErr(all.Duplicate(handover.HTTP, used))
	is.NoErr(all.Duplicate(handover.Further, left))
	is.NoErr(all.Duplicate(handover.HTTP3, packets.(*net.UDPConn)))
	is.NoErr(all.Duplicate(handover.Metrics, metrics))
	l, err := all.Listener(handover.HTTP, isAny)
	is.NoErr(err)
	defer l.Close()
	is.Equal(all.Places(), []handover.Place{{handover.Further, left.Addr().String()}, {handover.Metrics, metrics.Addr().String()}})
	is.True(isOpen(left.Addr().String())) // as before
}
