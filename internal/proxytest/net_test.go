package proxytest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestAddressInUseIsRefusedUntilItsListenerCloses(t *testing.T) {
	is := is.New(t)
	var n proxytest.Net
	first, err := n.Listen("127.0.0.1:3000")
	is.NoErr(err)
	_, err = n.Listen("localhost:3000")
	is.True(errors.Is(err, syscall.EADDRINUSE)) // localhost is 127.0.0.1
	is.Equal(err.Error(), "listen tcp 127.0.0.1:3000: bind: address already in use")
	is.NoErr(first.Close())
	is.True(errors.Is(first.Close(), net.ErrClosed)) // the second Close says so
	again, err := n.Listen("127.0.0.1:3000")
	is.NoErr(err)
	is.True(errors.Is(first.Close(), net.ErrClosed)) // the old listener does not close the new one
	_, err = n.Dial(t.Context(), "tcp", again.Addr().String())
	is.NoErr(err)
}

func TestPortZeroIsAlwaysAFreeOne(t *testing.T) {
	is := is.New(t)
	var n proxytest.Net
	taken := make(map[string]bool)
	for range 9999 {
		l, err := n.Listen(":0")
		is.NoErr(err)
		is.True(!taken[l.Addr().String()]) // given out once
		taken[l.Addr().String()] = true
	}
	_, err := n.Listen(":0")
	is.True(errors.Is(err, syscall.EADDRINUSE)) // none is left
	_, err = n.Listen("127.0.0.2:0")
	is.NoErr(err) // each address has its own
}

func TestListenerAddrCanBeDialed(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", ":0", "web-1:3000", "[::1]:3000", "10.0.0.7:80"} {
		t.Run(address, func(t *testing.T) {
			is := is.New(t)
			var n proxytest.Net
			l, err := n.Listen(address)
			is.NoErr(err)
			c, err := n.Dial(t.Context(), "tcp", l.Addr().String())
			is.NoErr(err)
			is.Equal(c.RemoteAddr(), l.Addr())
		})
	}
}

func TestNamesAreHostsOfTheirOwn(t *testing.T) {
	is := is.New(t)
	var n proxytest.Net
	_, err := n.Listen("web-1:3000")
	is.NoErr(err)
	_, err = n.Listen("WEB-1:3000")
	is.True(errors.Is(err, syscall.EADDRINUSE)) // case does not tell names apart
	_, err = n.Dial(t.Context(), "tcp", "web-2:3000")
	is.True(errors.Is(err, syscall.ECONNREFUSED)) // another name is another host
	_, err = n.Listen("web-2:3000")
	is.NoErr(err)
}

func TestNetsShareNothing(t *testing.T) {
	is := is.New(t)
	var one, other proxytest.Net
	_, err := one.Listen("127.0.0.1:80")
	is.NoErr(err)
	_, err = other.Dial(t.Context(), "tcp", "127.0.0.1:80")
	is.True(errors.Is(err, syscall.ECONNREFUSED))
}

func TestBothEndsAgreeOnAddresses(t *testing.T) {
	is := is.New(t)
	var n proxytest.Net
	l, err := n.Listen("127.0.0.1:80")
	is.NoErr(err)
	first, err := n.Dial(t.Context(), "tcp", "127.0.0.1:80")
	is.NoErr(err)
	server, err := l.Accept()
	is.NoErr(err)
	is.Equal(first.LocalAddr().String(), "127.0.0.1:40001")
	is.Equal(first.RemoteAddr().String(), "127.0.0.1:80")
	is.Equal(server.LocalAddr(), first.RemoteAddr())
	is.Equal(server.RemoteAddr(), first.LocalAddr())
	_, ok := server.RemoteAddr().(*net.TCPAddr)
	is.True(ok) // a *net.TCPAddr, as the system's

	second, err := n.DialFrom(t.Context(), netip.MustParseAddr("2001:db8::7"), "127.0.0.1:80")
	is.NoErr(err)
	server, err = l.Accept()
	is.NoErr(err)
	is.Equal(server.RemoteAddr().String(), "[2001:db8::7]:40002")
	is.Equal(second.LocalAddr().String(), "[2001:db8::7]:40002")
}

func TestRefusedDialSaysSo(t *testing.T) {
	is := is.New(t)
	var n proxytest.Net
	_, err := n.Dial(t.Context(), "tcp", "10.0.0.7:3000")
	var op *net.OpError
	is.True(errors.As(err, &op))
	is.True(errors.Is(err, syscall.ECONNREFUSED))
	is.True(!op.Timeout())
	is.Equal(err.Error(), "dial tcp 10.0.0.7:3000: connect: connection refused")
}

func TestMalformedAddressesAreErrors(t *testing.T) {
	var n proxytest.Net
	for _, address := range []string{"", "web", "web:", "web:http", "web:99999", "::1:80"} {
		t.Run(address, func(t *testing.T) {
			is := is.New(t)
			var op *net.OpError
			_, err := n.Listen(address)
			is.True(errors.As(err, &op))
			_, err = n.Dial(t.Context(), "tcp", address)
			is.True(errors.As(err, &op))
			defer func() { is.True(recover() != nil) }() // what returns no error panics
			n.Conns(address)
		})
	}
}

func TestUnknownNetworkIsAnError(t *testing.T) {
	is := is.New(t)
	var n proxytest.Net
	_, err := n.Dial(t.Context(), "udp", "127.0.0.1:53")
	var unknown net.UnknownNetworkError
	is.True(errors.As(err, &unknown))
}

func TestEndedContextEndsDial(t *testing.T) {
	is := is.New(t)
	var n proxytest.Net
	_, err := n.Listen("127.0.0.1:80")
	is.NoErr(err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = n.Dial(ctx, "tcp", "127.0.0.1:80")
	is.True(errors.Is(err, context.Canceled))
	is.Equal(n.Dials("127.0.0.1:80"), 0)
	is.Equal(n.Conns("127.0.0.1:80"), 0)
}

func TestBlackholeHoldsDialsUntilTheirContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		_, err := n.Listen("127.0.0.1:80")
		is.NoErr(err)
		n.Blackhole("127.0.0.1:80")

		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		_, err = n.Dial(ctx, "tcp", "127.0.0.1:80")
		is.Equal(time.Since(start), 5*time.Second)
		var op *net.OpError
		is.True(errors.As(err, &op))
		is.True(op.Timeout()) // a deadline is a time-out
		is.True(errors.Is(err, context.DeadlineExceeded))

		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		_, err = n.Dial(ctx, "tcp", "127.0.0.1:80")
		is.Equal(time.Since(start), time.Hour+5*time.Second)
		is.True(errors.As(err, &op))
		is.True(!op.Timeout()) // giving up is none
		is.True(errors.Is(err, context.Canceled))
		is.Equal(n.Dials("127.0.0.1:80"), 0) // neither made nor refused
	})
}

func TestBlackholeHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		n.Blackhole("web-1:80")
		ctx, cancel := context.WithCancel(t.Context())
		held := make(chan error, 1)
		go func() {
			_, err := n.Dial(ctx, "tcp", "web-1:80")
			held <- err
		}()
		synctest.Wait()
		_, err := n.Dial(t.Context(), "tcp", "web-2:80")
		is.True(errors.Is(err, syscall.ECONNREFUSED))
		cancel()
		is.True(errors.Is(<-held, context.Canceled))
	})
}

func TestDialsAndConnsAreCounted(t *testing.T) {
	is := is.New(t)
	var n proxytest.Net
	const address = "127.0.0.1:80"
	_, err := n.Dial(t.Context(), "tcp", address)
	is.True(err != nil)
	is.Equal(n.Dials(address), 1) // refused ones count
	is.Equal(n.Conns(address), 0)

	l, err := n.Listen(address)
	is.NoErr(err)
	a, err := n.Dial(t.Context(), "tcp", address)
	is.NoErr(err)
	b, err := n.Dial(t.Context(), "tcp", address)
	is.NoErr(err)
	is.Equal(n.Dials(address), 3)
	is.Equal(n.Conns(address), 2)

	server, err := l.Accept()
	is.NoErr(err)
	is.NoErr(server.Close())
	is.Equal(n.Conns(address), 2) // only the side that dialed ends it
	is.NoErr(a.Close())
	is.True(a.Close() != nil)
	is.Equal(n.Conns(address), 1) // closing twice counts once
	is.NoErr(b.Close())
	is.Equal(n.Conns(address), 0)
	is.Equal(n.Dials(address), 3)
	is.Equal(n.Conns("127.0.0.1:81"), 0) // an address nobody mentioned
}

func TestClosingAListenerEndsItsAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		l, err := n.Listen("127.0.0.1:80")
		is.NoErr(err)
		accepted := make(chan error)
		for range 2 {
			go func() {
				_, err := l.Accept()
				accepted <- err
			}()
		}
		synctest.Wait()
		is.NoErr(l.Close())
		is.True(errors.Is(<-accepted, net.ErrClosed))
		is.True(errors.Is(<-accepted, net.ErrClosed))
		_, err = l.Accept()
		is.True(errors.Is(err, net.ErrClosed))
	})
}

func TestClosingAListenerLeavesAcceptedConnections(t *testing.T) {
	is := is.New(t)
	var n proxytest.Net
	l, err := n.Listen("127.0.0.1:80")
	is.NoErr(err)
	c, err := n.Dial(t.Context(), "tcp", "127.0.0.1:80")
	is.NoErr(err)
	s, err := l.Accept()
	is.NoErr(err)
	is.NoErr(l.Close())
	_, err = s.Write([]byte("still here"))
	is.NoErr(err)
	is.NoErr(s.Close())
	got, err := io.ReadAll(c)
	is.NoErr(err)
	is.Equal(string(got), "still here")
}
