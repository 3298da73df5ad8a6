package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// SocketOptions say who may connect to a control socket. The zero value is for
// the user of the process alone, and root.
type SocketOptions struct {
	Mode  fs.FileMode // permission bits of the socket; if 0, 0600, or 0660 with a Group
	Group string      // its group, by name or number; if empty, the process's own

	// Deployers are the users, by name or number, who may make changes, besides
	// root and the user of the process; others whom Mode and Group let in may only
	// read, and see no secrets and no log. If neither Mode nor Group is set,
	// others may not even read. If nil, whoever may connect may do everything.
	Deployers []string
}

// mode returns the permission bits of the socket.
func (o SocketOptions) mode() fs.FileMode {
	switch {
	case o.Group != "":
		return cmp.Or(o.Mode, 0o660)
	case o.Deployers != nil:
		return cmp.Or(o.Mode, 0o666) // others are refused, whatever they ask
	}
	return cmp.Or(o.Mode, 0o600)
}

// allowsOthers reports whether the mode or group of the socket lets other users
// connect.
func (o SocketOptions) allowsOthers() bool { return o.Mode&0o077 != 0 || o.Group != "" }

// Listen listens on the unix socket at path. At no moment can anybody connect
// whom o does not allow, whatever the umask. Unless o allows others, it accepts
// only connections from root and from the user of this process.
//
// If the folder of the socket is missing, Listen creates it for those who may connect. It
// returns an error with a pid if a process listens at path already, unless that is
// stopping. It replaces a socket of our user that nobody listens on; anything else at path
// is an error. Close removes the socket, unless it was replaced.
func Listen(path string, o SocketOptions) (*Listener, error) {
	l, err := listen(path, o)
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	return l, nil
}

func listen(path string, o SocketOptions) (*Listener, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	gid, err := groupID(o.Group)
	if err != nil {
		return nil, err
	}
	may, err := deployersOf(o.Deployers)
	if err != nil {
		return nil, err
	}
	mode := o.mode()
	dir := filepath.Dir(path)
	if err := makeFolder(path, mode, gid); err != nil {
		return nil, err
	}
	// Two processes that start at the same time must not both find a stale
	// socket, because the second would remove the socket of the first.
	lock := flock.New(dir, flock.SetFlag(os.O_RDONLY))
	ctx, cancel := context.WithTimeout(context.Background(), lockTimeout)
	defer cancel()
	if _, err := lock.TryLockContext(ctx, lockInterval); err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	defer lock.Unlock()

	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := bind(path, mode, gid)
	if err != nil {
		return nil, err
	}
	l.allowOthers, l.deployers = o.allowsOthers(), may
	return l, nil
}

// Adopt returns l, which is bound to path, as a listener like those of [Listen]. Its mode
// and group are left as they are; who else may connect is as o says. If kept, somebody
// else keeps the file of the socket, and Close does not remove it.
func Adopt(l *net.UnixListener, path string, o SocketOptions, kept bool) (*Listener, error) {
	may, err := deployersOf(o.Deployers)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("control socket %s: %w", path, err), l.Close())
	}
	l.SetUnlinkOnClose(false)
	adopted := &Listener{UnixListener: l, path: path, allowOthers: o.allowsOthers(), deployers: may}
	if !kept {
		if adopted.info, err = os.Lstat(path); err != nil {
			return nil, errors.Join(fmt.Errorf("control socket %s: %w", path, err), l.Close())
		}
	}
	return adopted, nil
}

const (
	lockTimeout  = 5 * time.Second
	lockInterval = 10 * time.Millisecond
)

// bind binds the socket, which nobody else can connect to before it has got its
// mode.
func bind(path string, mode fs.FileMode, gid int) (*Listener, error) {
	l, err := bindPrivate(address(path))
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	wrapped := &Listener{UnixListener: l, path: path}
	wrapped.info, err = os.Lstat(path)
	if err == nil && gid >= 0 {
		err = os.Lchown(path, -1, gid)
	}
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		return nil, errors.Join(err, wrapped.Close())
	}
	return wrapped, nil
}

// A Listener is the one of a control socket. Its connections are accepted by the Acceptor
// that was made last, or by Accept.
type Listener struct {
	*net.UnixListener
	path        string
	info        fs.FileInfo // of path, when it was bound
	allowOthers bool
	deployers   deployers // may connect in any case

	closing sync.Once
	err     error // of Close

	mu       sync.Mutex // guards the fields below
	acceptor *acceptor  // the one that was made last
	left     bool       // Leave was called
}

// Leave leaves the socket to another process that has it too: Close does not remove it.
func (l *Listener) Leave(left bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = left
}

// Acceptor returns a listener whose Close ends its Accept, but leaves the socket open:
// clients wait there for the next Acceptor, or for another process that has the socket.
func (l *Listener) Acceptor() net.Listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acceptor = &acceptor{Listener: l, closed: make(chan struct{})}
	_ = l.SetDeadline(time.Time{})
	return l.acceptor
}

type acceptor struct {
	*Listener
	closing sync.Once
	closed  chan struct{}
}

func (a *acceptor) Accept() (net.Conn, error) {
	select {
	case <-a.closed:
		return nil, net.ErrClosed
	default:
	}
	c, err := a.Listener.Accept()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = net.ErrClosed
	}
	return c, err
}

func (a *acceptor) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closing.Do(func() { close(a.closed) })
	if a.Listener.acceptor == a {
		_ = a.SetDeadline(time.Unix(1, 0))
	}
	return nil
}

// Accept returns the next connection of somebody who may connect: a guestConn, if he
// may make no changes. Others are hung up on.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if !knowsPeers || l.allowOthers && l.deployers == nil {
			return c, nil
		}
		_, uid, ok := peer(c)
		switch {
		case ok && l.deployers.include(uid):
			return c, nil
		case ok && l.deployers != nil:
			return &guestConn{c, guest{uid, l.allowOthers, l.deployers}}, nil
		}
		c.Close()
	}
}

// Close is called while the socket is still bound, so that no other can have
// got its inode: what path leads to is ours, or it is not the same file.
func (l *Listener) Close() error {
	l.closing.Do(func() {
		var removal error
		l.mu.Lock()
		left := l.left
		l.mu.Unlock()
		if left {
			l.err = l.UnixListener.Close()
			return
		}
		if info, err := os.Lstat(l.path); err == nil && l.info != nil && os.SameFile(info, l.info) {
			removal = os.Remove(l.path)
		}
		l.err = errors.Join(removal, l.UnixListener.Close())
	})
	return l.err
}

// removeStale removes a socket of our user at path that nobody listens on.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		return errors.New("there is a symbolic link in its place: remove it, or name another path with --socket")
	case info.Mode()&fs.ModeSocket == 0:
		return errors.New("there is a file in its place that is no socket: remove it, or name another path with --socket")
	}
	if uid, ok := ownerOf(info); ok && uid != os.Geteuid() {
		return fmt.Errorf("there is a socket of user %d in its place: name another path with --socket", uid)
	}
	c, err := net.DialTimeout("unix", address(path), dialTimeout)
	switch {
	case err == nil:
		defer c.Close()
		if askForSocket(path) {
			return os.Remove(path)
		}
		return fmt.Errorf("in use by %s: stop that one, or name another path with --socket", describeOwner(path, c.(*net.UnixConn)))
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	}
	return fmt.Errorf("the proxy cannot tell whether somebody listens there: %w", err)
}

// successionTimeout bounds how long a process may take to let another one have its socket.
const successionTimeout = time.Second

// askForSocket asks the process that listens at path to let this one have its socket, and
// reports whether it does. It does so while it is stopping.
func askForSocket(path string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), successionTimeout)
	defer cancel()
	return (&Client{Sockets: []string{path}}).call(ctx, http.MethodPost, "/v1/successor", nil) == nil
}

// describeOwner names the process at the other end of c. If the system does not
// know its pid, describeOwner asks the process.
func describeOwner(path string, c *net.UnixConn) string {
	if pid, _, ok := peer(c); ok && pid > 0 {
		return fmt.Sprintf("pid %d", pid)
	}
	v, err := (&Client{Sockets: []string{path}}).Version(context.Background())
	if err != nil {
		return "another process"
	}
	return fmt.Sprintf("pid %d", v.PID)
}

// makeFolder creates the folder of a socket, so that those who may connect to the
// socket can enter it. A folder that is there is left as it is, unless it is ours and
// closed to others, and has nothing in it but the socket of an earlier process.
func makeFolder(path string, mode fs.FileMode, gid int) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o700)
	switch {
	case errors.Is(err, fs.ErrExist) && !isForSocketAlone(path):
		return nil
	case err != nil && !errors.Is(err, fs.ErrExist):
		return err
	}
	folder := fs.FileMode(0o700)
	if mode&0o070 != 0 {
		folder |= 0o010
	}
	if mode&0o007 != 0 {
		folder |= 0o001
	}
	if gid >= 0 {
		if err := os.Lchown(dir, -1, gid); err != nil {
			return err
		}
	}
	return os.Chmod(dir, folder)
}

// isForSocketAlone reports whether the folder of path is as makeFolder makes it for
// ourselves, and has nothing in it but what is at path.
func isForSocketAlone(path string) bool {
	dir := filepath.Dir(path)
	info, err := os.Lstat(dir)
	if err != nil || info.Mode() != fs.ModeDir|0o700 {
		return false
	}
	uid, ok := ownerOf(info)
	entries, err := os.ReadDir(dir)
	isOther := func(e fs.DirEntry) bool { return e.Name() != filepath.Base(path) }
	return ok && uid == os.Geteuid() && err == nil && !slices.ContainsFunc(entries, isOther)
}

// groupID returns the number of a group, or -1 for none.
func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	if gid, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(gid), nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("--socket-group %s: %w", group, err)
	}
	return strconv.Atoi(g.Gid)
}

// checkPath reports what is wrong with the path of a socket.
func checkPath(path string) error {
	// The last byte is for the NUL.
	longest := len(syscall.RawSockaddrUnix{}.Path) - 1
	switch {
	case path == "":
		return errors.New("it has no name")
	case len(address(path)) > longest:
		return fmt.Errorf("the path has %d bytes, and no socket can have more than %d: choose a shorter one", len(path), longest)
	}
	return nil
}

// address returns path in such a way that the net package does not take it for
// a name without a file.
func address(path string) string {
	if strings.HasPrefix(path, "@") {
		return "./" + path
	}
	return path
}

// ownerOf returns the user that a file belongs to.
func ownerOf(info fs.FileInfo) (uid int, ok bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}
