package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ErrNoProxy is wrapped by every NoProxyError.
var ErrNoProxy = errors.New("no proxy answers")

// A NoProxyError says that no proxy could be reached on any socket. It wraps
// ErrNoProxy and the error of each attempt.
type NoProxyError struct {
	Tried []Attempt
}

// An Attempt is a failed attempt to connect to a socket.
type Attempt struct {
	Socket string
	Err    error
}

func (e *NoProxyError) Error() string {
	if len(e.Tried) == 0 {
		return ErrNoProxy.Error() + ": there is no socket to try"
	}
	var reasons []string
	for _, a := range e.Tried {
		reasons = append(reasons, fmt.Sprintf("%s: %v", a.Socket, a.Err))
	}
	return ErrNoProxy.Error() + ": " + strings.Join(reasons, "; ")
}

func (e *NoProxyError) Unwrap() []error {
	causes := []error{ErrNoProxy}
	for _, a := range e.Tried {
		causes = append(causes, a.Err)
	}
	return causes
}

// dialTimeout bounds the wait for a proxy whose listen backlog is full.
const dialTimeout = 5 * time.Second

// dialFirst returns a connection to the first of the sockets on which a process
// listens that c speaks to.
func (c *Client) dialFirst(ctx context.Context) (*proxyConn, error) {
	none := new(NoProxyError)
	for _, socket := range c.Sockets {
		c, err := dial(ctx, socket, c.speaksTo(socket))
		if err == nil {
			return &proxyConn{UnixConn: c, socket: socket}, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		none.Tried = append(none.Tried, Attempt{socket, err})
	}
	return nil, none
}

// speaksTo returns a func that reports whether c speaks to a user at that socket.
func (c *Client) speaksTo(socket string) func(uid int) bool {
	if os.Geteuid() == 0 || !slices.Contains(c.OwnOnly, socket) {
		return func(int) bool { return true }
	}
	return isTrusted
}

// dial connects to a socket. mayOwn reports whether the socket, and the process that
// listens on it, may belong to a user.
func dial(ctx context.Context, socket string, mayOwn func(uid int) bool) (*net.UnixConn, error) {
	if err := checkPath(socket); err != nil {
		return nil, err
	}
	info, err := os.Stat(socket)
	if err != nil {
		return nil, explainDialError(err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return nil, errors.New("it is a file, but no socket")
	}
	uid, ok := ownerOf(info)
	if ok && !mayOwn(uid) {
		return nil, foreignOwnerError(uid)
	}
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(ctx, "unix", address(socket))
	switch {
	case ok && errors.Is(err, fs.ErrPermission):
		return nil, &textError{fmt.Sprintf("permission denied: it belongs to user %d", uid), err}
	case err != nil:
		return nil, explainDialError(err)
	}
	unix := c.(*net.UnixConn)
	if _, uid, ok := peer(unix); ok && !mayOwn(uid) {
		unix.Close()
		return nil, foreignOwnerError(uid)
	}
	return unix, nil
}

// explainDialError returns err with a plainer text.
func explainDialError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &textError{"it is not there", err}
	case errors.Is(err, fs.ErrPermission):
		return &textError{"permission denied", err}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &textError{"it is there, but nobody listens on it any more", err}
	}
	return err
}

// isTrusted reports whether a user is root or our own.
func isTrusted(uid int) bool { return uid == 0 || uid == os.Geteuid() }

func foreignOwnerError(uid int) error {
	return &textError{fmt.Sprintf("it belongs to user %d, who is neither root nor you", uid), fs.ErrPermission}
}
