package tcp

import (
	"cmp"
	"net"
	"syscall"
)

// These are package net's own settings.
const (
	keepAliveIdle     = 15 // seconds
	keepAliveInterval = 15 // seconds
	keepAliveCount    = 9
)

// inheritKeepAlive has keep-alives set on the listener, from which its connections
// inherit them. Package net would set them on each, by four system calls.
func inheritKeepAlive(config *net.ListenConfig) {
	config.KeepAlive = -1
	config.Control = func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = cmp.Or(
				syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1),
				syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, keepAliveIdle),
				syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, keepAliveInterval),
				syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, keepAliveCount),
			)
		})
		return cmp.Or(err, failed)
	}
}
