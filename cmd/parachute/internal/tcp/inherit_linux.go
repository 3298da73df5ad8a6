package tcp

import (
	"net"
	"syscall"
)

// These are package net's own settings.
const (
	keepAliveIdle     = 15 // seconds
	keepAliveInterval = 15 // seconds
	keepAliveCount    = 9
)

// inheritOptions sets on the listener what package net would set on each of its
// connections by five system calls: they inherit it. Another process may have opened the
// socket, with other settings.
//
// What cannot be set is left as it is: a connection works without.
func inheritOptions(l *net.TCPListener) {
	raw, err := l.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		for _, o := range [...]struct{ level, option, value int }{
			{syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
			{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, keepAliveIdle},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, keepAliveInterval},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, keepAliveCount},
		} {
			_ = syscall.SetsockoptInt(int(fd), o.level, o.option, o.value)
		}
	})
}
