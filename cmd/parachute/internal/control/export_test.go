package control

import "net"

// BindPrivate is how a socket is bound, before it is widened.
func BindPrivate(path string) (*net.UnixListener, error) { return bindPrivate(path) }
