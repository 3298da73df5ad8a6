//go:build amd64 || arm64

package socket_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/socket"
)

func init() {
	waysToAccept["queue"] = func(l *net.TCPListener) (net.Conn, error) { return acceptOne(l) }
}

func acceptOne(l *net.TCPListener) (*socket.Accepted, error) {
	file, err := l.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	sys, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	return socket.NewQueue(sys, l.Addr().(*net.TCPAddr)).Accept()
}

// listenOn returns a listener.
func listenOn(t *testing.T, address string) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// dialAndAccept returns both ends of a connection to l.
func dialAndAccept(t *testing.T, l *net.TCPListener, network, address string) (client net.Conn, a *socket.Accepted) {
	t.Helper()
	client, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	a, err = acceptOne(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return client, a
}

// isPolled reports whether a poller of this process knows the descriptor of c.
func isPolled(t *testing.T, c *socket.Accepted) bool {
	t.Helper()
	raw, _ := c.SyscallConn()
	line := ""
	if err := raw.Control(func(fd uintptr) { line = fmt.Sprintf("tfd: %8d ", fd) }); err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), line) {
			return true
		}
	}
	return false
}

// awaitBytes returns when there is something to be read from c, of which no poller is told.
func awaitBytes(t *testing.T, c *socket.Accepted) {
	t.Helper()
	raw, _ := c.SyscallConn()
	for err := error(syscall.EAGAIN); err == syscall.EAGAIN; {
		failed := raw.Control(func(fd uintptr) { _, err = socket.Peek(fd, make([]byte, 1)) })
		if failed != nil {
			t.Fatal(failed)
		}
	}
}

func TestConnectionThatWaitsForNothingIsUnknownToThePoller(t *testing.T) {
	is := is.New(t)
	l := listenOn(t, "127.0.0.1:0")
	client, a := dialAndAccept(t, l, "tcp", l.Addr().String())
	conn := socket.NewConn(a, nil, nil)
	is.NoErr(conn.SetReadDeadline(time.Now().Add(time.Hour)))
	_, err := client.Write([]byte("hello"))
	is.NoErr(err)
	awaitBytes(t, a)
	p := make([]byte, 8)
	n, err := conn.Read(p)
	is.NoErr(err)
	is.Equal(string(p[:n]), "hello")
	_, err = conn.Write([]byte("world"))
	is.NoErr(err)
	is.True(!isPolled(t, a))
	ended := attempt(conn.Read, 8)
	_, err = client.Read(p)
	is.NoErr(err)
	for !isPolled(t, a) { // as soon as the Read waits
	}
	_, err = client.Write([]byte("more"))
	is.NoErr(err)
	is.NoErr(<-ended)
	is.NoErr(conn.Close())
	_, err = client.Read(p)
	is.Equal(err, io.EOF)
}

func TestAddressesAreThoseOfPackageNet(t *testing.T) {
	for name, tt := range map[string]struct{ listen, network, host string }{
		"IPv4":                   {"127.0.0.1:0", "tcp4", "127.0.0.1"},
		"IPv6":                   {"[::1]:0", "tcp6", "::1"},
		"IPv4, of all addresses": {":0", "tcp4", "127.0.0.2"},
		"IPv6, of all addresses": {":0", "tcp6", "::1"},
		"all of IPv4":            {"0.0.0.0:0", "tcp4", "127.0.0.3"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			l := listenOn(t, tt.listen)
			_, port, err := net.SplitHostPort(l.Addr().String())
			is.NoErr(err)
			client, a := dialAndAccept(t, l, tt.network, net.JoinHostPort(tt.host, port))
			is.Equal(a.RemoteAddr().String(), client.LocalAddr().String())
			is.Equal(a.LocalAddr().String(), client.RemoteAddr().String())
			is.Equal(a.RemoteAddr().Network(), "tcp")
			again, err := net.Dial(tt.network, net.JoinHostPort(tt.host, port))
			is.NoErr(err)
			defer again.Close()
			standard, err := l.Accept()
			is.NoErr(err)
			defer standard.Close()
			want := standard.RemoteAddr().(*net.TCPAddr)
			want.Port = a.RemoteAddr().(*net.TCPAddr).Port
			is.Equal(a.RemoteAddr(), want)
			is.Equal(a.LocalAddr().String(), standard.LocalAddr().String())
			is.Equal(a.LocalAddr().Network(), "tcp")
		})
	}
}

func TestLocalAddressIsAskedForBeforeItIsClosedOrIsThatOfTheListener(t *testing.T) {
	is := is.New(t)
	l := listenOn(t, ":0")
	want := l.Addr().(*net.TCPAddr)
	client, a := dialAndAccept(t, l, "tcp", l.Addr().String())
	is.Equal(a.LocalAddr().(*socket.LocalAddr).Port(), want.Port)
	is.Equal(a.LocalAddr().String(), client.RemoteAddr().String())
	is.NoErr(a.Close())
	is.Equal(a.LocalAddr().String(), client.RemoteAddr().String())
	_, b := dialAndAccept(t, l, "tcp", l.Addr().String())
	is.NoErr(b.Close())
	is.Equal(b.LocalAddr().String(), want.String())
	is.Equal(b.LocalAddr().(*socket.LocalAddr).Port(), want.Port)
}

func TestErrorTellsTheAddressThatTheClientHasConnectedTo(t *testing.T) {
	is := is.New(t)
	l := listenOn(t, ":0")
	client, a := dialAndAccept(t, l, "tcp", l.Addr().String())
	is.NoErr(a.SetReadDeadline(past))
	_, err := a.Read(make([]byte, 1))
	is.NoErr(a.Close())
	is.Equal(err.Error(), "read tcp "+client.RemoteAddr().String()+"->"+client.LocalAddr().String()+": i/o timeout")
}

func TestCloseEndsWhatGoesOnWithTheErrorOfPackageNet(t *testing.T) {
	for name, polled := range map[string]bool{"a connection that waits": true, "one that has not waited": false} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			l := listenOn(t, "127.0.0.1:0")
			_, a := dialAndAccept(t, l, "tcp", l.Addr().String())
			conn := socket.NewConn(a, nil, nil)
			ended := attempt(conn.Read, 2)
			for polled && !isPolled(t, a) {
			}
			is.NoErr(conn.Close())
			is.True(errors.Is(<-ended, net.ErrClosed))
			for _, err := range []error{conn.Close(), a.CloseWrite(), a.SetLinger(0), <-attempt(conn.Write, 1), <-attempt(a.Read, 1), <-attempt(a.Write, 1)} {
				is.True(errors.Is(err, net.ErrClosed))
			}
		})
	}
}

// The descriptor of a closed connection is somebody else's at once.
func TestClosedConnectionTouchesNobodyElses(t *testing.T) {
	l := listenOn(t, "127.0.0.1:0")
	var all sync.WaitGroup
	defer all.Wait()
	for range 300 {
		client, a := dialAndAccept(t, l, "tcp", l.Addr().String())
		conn := socket.NewConn(a, nil, nil)
		all.Go(func() { io.Copy(io.Discard, conn) })
		all.Go(func() { conn.SetReadDeadline(time.Now().Add(time.Minute)) })
		all.Go(func() { conn.Close() })
		other, b := dialAndAccept(t, l, "tcp", l.Addr().String())
		client.Close()
		want := []byte(other.LocalAddr().String())
		all.Go(func() {
			defer other.Close()
			other.Write(want)
		})
		if got, err := io.ReadAll(b); err != nil || string(got) != string(want) {
			t.Fatalf("%q, %v, want %q", got, err, want)
		}
		b.Close()
	}
}

func TestDescriptorIsClosedWhenNobodyUsesIt(t *testing.T) {
	is := is.New(t)
	l := listenOn(t, "127.0.0.1:0")
	_, a := dialAndAccept(t, l, "tcp", l.Addr().String())
	raw, _ := a.SyscallConn()
	closed := make(chan error, 1)
	is.NoErr(raw.Read(func(fd uintptr) bool {
		go func() { closed <- a.Close() }()
		select {
		case err := <-closed:
			t.Error("closed while it is used: ", err)
		case <-time.After(20 * time.Millisecond):
		}
		_, err := syscall.Getpeername(int(fd))
		is.NoErr(err)
		return true
	}))
	is.NoErr(<-closed)
}

// What arrives while the poller is being told is not lost.
func TestWhatArrivesWhileThePollerIsToldIsRead(t *testing.T) {
	l := listenOn(t, "127.0.0.1:0")
	for range 500 {
		client, a := dialAndAccept(t, l, "tcp", l.Addr().String())
		conn := socket.NewConn(a, nil, nil)
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		ended := attempt(conn.Read, 8)
		for range rand.IntN(2000) { // which passes some time
		}
		client.Write([]byte("x"))
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		client.Close()
		conn.Close()
	}
}

func TestDeadlineIsKeptUntilThePollerKnowsTheConnection(t *testing.T) {
	is := is.New(t)
	l := listenOn(t, "127.0.0.1:0")
	client, a := dialAndAccept(t, l, "tcp", l.Addr().String())
	is.NoErr(a.SetDeadline(soon()))
	_, err := a.Read(make([]byte, 1))
	is.True(errors.Is(err, os.ErrDeadlineExceeded))
	_, err = a.Write([]byte("x"))
	is.True(errors.Is(err, os.ErrDeadlineExceeded))
	is.NoErr(a.SetDeadline(time.Time{}))
	_, err = a.Write([]byte("x"))
	is.NoErr(err)
	_, b := dialAndAccept(t, l, "tcp", l.Addr().String())
	is.NoErr(b.SetDeadline(past))
	_, err = b.Write([]byte("x")) // for which there is room
	is.True(errors.Is(err, os.ErrDeadlineExceeded))
	client.Close()
}

// A Close may wait then.
func TestLingeringIsForConnectionsOfThePoller(t *testing.T) {
	is := is.New(t)
	l := listenOn(t, "127.0.0.1:0")
	_, a := dialAndAccept(t, l, "tcp", l.Addr().String())
	is.NoErr(a.SetLinger(0))
	is.True(!isPolled(t, a))
	is.NoErr(a.SetLinger(1))
	is.True(isPolled(t, a))
	raw, _ := a.SyscallConn()
	is.NoErr(raw.Control(func(fd uintptr) {
		on, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER)
		is.NoErr(err)
		is.Equal(on, 1)
	}))
}

func TestQueueReturnsTheErrorsOfItsSocket(t *testing.T) {
	is := is.New(t)
	l := listenOn(t, "127.0.0.1:0")
	file, err := l.File()
	is.NoErr(err)
	sys, err := file.SyscallConn()
	is.NoErr(err)
	q := socket.NewQueue(sys, l.Addr().(*net.TCPAddr))
	is.NoErr(file.SetDeadline(past))
	_, err = q.Accept()
	is.True(errors.Is(err, os.ErrDeadlineExceeded))
	is.NoErr(file.SetDeadline(time.Time{}))
	is.NoErr(sys.Control(func(fd uintptr) { syscall.Shutdown(int(fd), syscall.SHUT_RD) }))
	_, err = q.Accept()
	is.True(errors.Is(err, syscall.EINVAL)) // it listens no more
	is.NoErr(file.Close())
	_, err = q.Accept()
	is.True(err != nil)
}
