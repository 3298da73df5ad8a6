//go:build !linux

package tcp

import "net"

// isConnecting reports whether there are clients that have begun to connect. The system does
// not tell.
func isConnecting(net.Addr) bool { return false }
