package tcp_test

import (
	"net"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/tcp"
)

// A client that has gone without a word is noticed as soon as by package net, and what is
// written leaves as soon.
func TestConnectionsHaveTheOptionsOfPackageNet(t *testing.T) {
	standard, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer standard.Close()
	want := options(t, standard)
	for name, l := range map[string]*tcp.Listener{
		"of a socket of ours":                  listen(t, nil),
		"of a socket that another process had": tcp.NewListener(withoutKeepAlive(t), nil),
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			defer l.Close()
			is.Equal(options(t, tcpListener{l, l.NewAcceptor()}), want)
			is.Equal(want[:2], []int{1, 1}) // both on
		})
	}
}

// withoutKeepAlive returns a listener whose socket says nothing of keep-alives.
func withoutKeepAlive(t *testing.T) *net.TCPListener {
	t.Helper()
	config := net.ListenConfig{KeepAlive: -1}
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l.(*net.TCPListener)
}

// A tcpListener is a net.Listener.
type tcpListener struct {
	*tcp.Listener
	*tcp.Acceptor
}

func (l tcpListener) Addr() net.Addr { return l.Listener.Addr() }
func (l tcpListener) Close() error   { return l.Listener.Close() }

// options returns the options of a connection that l accepts.
func options(t *testing.T, l net.Listener) (values []int) {
	t.Helper()
	is := is.New(t)
	client, err := net.Dial("tcp", l.Addr().String())
	is.NoErr(err)
	defer client.Close()
	accepted, err := l.Accept()
	is.NoErr(err)
	defer accepted.Close()
	fd := descriptorOf(t, accepted)
	for _, option := range [...][2]int{
		{syscall.IPPROTO_TCP, syscall.TCP_NODELAY},
		{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT},
	} {
		value, err := syscall.GetsockoptInt(fd, option[0], option[1])
		is.NoErr(err)
		values = append(values, value)
	}
	return values
}

// descriptorOf returns the descriptor of a connection that this process has, by the
// address at its other end.
func descriptorOf(t *testing.T, c net.Conn) int {
	t.Helper()
	want := c.RemoteAddr().(*net.TCPAddr).Port
	for fd := 3; fd < 1024; fd++ {
		peer, err := syscall.Getpeername(fd)
		if err != nil {
			continue
		}
		if in, ok := peer.(*syscall.SockaddrInet4); ok && in.Port == want {
			return fd
		}
	}
	t.Fatal("nothing is connected to port ", want)
	return -1
}
