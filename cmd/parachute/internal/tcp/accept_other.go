//go:build !linux || (!amd64 && !arm64)

package tcp

import "net"

// openQueue returns the socket of l, and how it is accepted from.
func openQueue(l *net.TCPListener) (listening, func() (accepted, error)) { return l, acceptFrom(l) }
