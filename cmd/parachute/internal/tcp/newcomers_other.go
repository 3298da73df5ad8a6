//go:build !linux

package tcp

import "net"

// ignoreNewcomers does nothing: clients that connect while l is closed may be reset.
func ignoreNewcomers(*net.TCPListener) {}
