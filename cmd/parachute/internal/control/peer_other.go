//go:build !linux

package control

import (
	"net"
	"syscall"
)

// knowsPeers says whether peer can tell who is at the other end. Here it
// cannot: the modes of the socket and its folder are all there is.
const knowsPeers = false

func peer(*net.UnixConn) (pid, uid int, ok bool) { return 0, 0, false }

// bindPrivate listens on a socket that has no more than mode 0600 from its
// first moment. What other threads make meanwhile gets a narrower mode too.
func bindPrivate(path string) (*net.UnixListener, error) {
	umask := syscall.Umask(0o177)
	defer syscall.Umask(umask)
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}
