package control

import (
	"context"
	"net"
	"syscall"
)

// knowsPeers says whether peer can tell who is at the other end.
const knowsPeers = true

// peer returns the process and the user at the other end: who has connected,
// or who listens. The pid is 0 for a process that ours cannot see.
func peer(c *net.UnixConn) (pid, uid int, ok bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0, false
	}
	var cred *syscall.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err != nil || credErr != nil {
		return 0, 0, false
	}
	return int(cred.Pid), int(cred.Uid), true
}

// bindPrivate listens on a socket that has no more than mode 0600 from its
// first moment. Linux gives the file the mode of the socket before bind, less
// the umask; so the umask, which all threads share, need not be touched.
func bindPrivate(path string) (*net.UnixListener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var chmodErr error
		err := raw.Control(func(fd uintptr) { chmodErr = syscall.Fchmod(int(fd), 0o600) })
		if err != nil {
			return err
		}
		return chmodErr
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	return l.(*net.UnixListener), nil
}
