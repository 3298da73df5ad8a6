package tcp

import (
	"net"
	"syscall"
	"testing"

	"github.com/matryer/is"
)

// A client that has gone without a word is noticed as soon as by package net.
func TestConnectionsAreKeptAliveAsThoseOfPackageNet(t *testing.T) {
	is := is.New(t)
	var config net.ListenConfig
	inheritKeepAlive(&config)
	ours, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	is.NoErr(err)
	defer ours.Close()
	standard, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)
	defer standard.Close()
	got, want := keepAlive(t, ours), keepAlive(t, standard)
	is.Equal(got, want)
	is.Equal(got[0], 1) // on
}

// keepAlive returns the settings of a connection that l accepts.
func keepAlive(t *testing.T, l net.Listener) (settings [4]int) {
	t.Helper()
	is := is.New(t)
	client, err := net.Dial("tcp", l.Addr().String())
	is.NoErr(err)
	defer client.Close()
	accepted, err := l.Accept()
	is.NoErr(err)
	defer accepted.Close()
	raw, err := accepted.(syscall.Conn).SyscallConn()
	is.NoErr(err)
	is.NoErr(raw.Control(func(fd uintptr) {
		for i, option := range [4][2]int{
			{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT},
		} {
			settings[i], err = syscall.GetsockoptInt(int(fd), option[0], option[1])
			is.NoErr(err)
		}
	}))
	return settings
}
