package control_test

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// stranger is a user who is neither root nor whoever runs the tests.
const stranger = 54321

// asStranger runs f as that user, which only root can arrange for.
func asStranger(t *testing.T, f func() error) error {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	result := make(chan error)
	go runAs(stranger, f, result)
	return <-result
}

// runAs never gives its thread back, whose user has changed.
func runAs(uid int, f func() error, result chan<- error) {
	runtime.LockOSThread()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
		result <- errno
		return
	}
	result <- f()
}

func TestStrangersAreHungUpOn(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	is.NoErr(os.Chmod(filepath.Dir(p.socket), 0o711))
	is.NoErr(os.Chmod(p.socket, 0o666)) // somebody has made a mistake
	err := asStranger(t, func() error { return readVersion(p.socket) })
	is.True(errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE))
	is.NoErr(readVersion(p.socket)) // we are not
}

// readVersion asks for the version without looking at whose the socket is.
func readVersion(socket string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /v1/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, len("HTTP/1.1 200 OK")))
	return err
}

func TestStrangersAreServedWhereTheSocketIsWide(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(filepath.Dir(socketPath(t)), "new", "c.sock")
	is.NoErr(os.Chmod(filepath.Dir(filepath.Dir(path)), 0o711))
	l := listen(t, path, control.SocketOptions{Mode: 0o666})
	err := asStranger(t, func() error {
		c, err := net.Dial("unix", path)
		if err != nil {
			return err
		}
		return c.Close()
	})
	is.NoErr(err)
	c, err := l.Accept()
	is.NoErr(err) // the stranger's
	is.NoErr(c.Close())
}

func TestSocketOfAStrangerIsNotSpokenTo(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	if err := os.Chown(p.socket, stranger, -1); err != nil {
		t.Skip("only root can give files away")
	}
	_, err := p.client.Version(t.Context())
	is.True(errors.Is(err, control.ErrNoProxy))
	is.True(errors.Is(err, fs.ErrPermission))
	is.True(saysAll(err.Error(), "it belongs to user 54321"))
}

func TestStrangerBehindASocketOfOursIsNotSpokenTo(t *testing.T) {
	is := is.New(t)
	path := socketPath(t)
	is.NoErr(os.Chmod(filepath.Dir(path), 0o777))
	var l net.Listener
	is.NoErr(asStranger(t, func() (err error) {
		l, err = net.Listen("unix", path)
		return err
	}))
	defer l.Close()
	is.NoErr(os.Chown(path, 0, 0)) // it looks like root's
	_, err := (&control.Client{Sockets: []string{path}}).Version(t.Context())
	is.True(errors.Is(err, control.ErrNoProxy))
	is.True(saysAll(err.Error(), "it belongs to user 54321"))
}

func TestSocketOfAStrangerIsLeftAlone(t *testing.T) {
	is := is.New(t)
	path := deadSocket(t)
	if err := os.Chown(path, stranger, -1); err != nil {
		t.Skip("only root can give files away")
	}
	_, err := control.Listen(path, control.SocketOptions{})
	is.True(err != nil)
	is.True(saysAll(err.Error(), path, "user 54321", "--socket"))
	_, err = os.Lstat(path)
	is.NoErr(err) // it is still there
}

func TestSocketThatIsOutOfReachIsToldSo(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	err := asStranger(t, func() error {
		_, err := p.client.Version(t.Context())
		return err
	})
	is.True(errors.Is(err, control.ErrNoProxy))
	is.True(errors.Is(err, fs.ErrPermission))
	is.True(saysAll(err.Error(), p.socket+": permission denied"))

	is.NoErr(os.Chmod(filepath.Dir(p.socket), 0o711))
	err = asStranger(t, func() error {
		_, err := p.client.Version(t.Context())
		return err
	})
	is.True(errors.Is(err, control.ErrNoProxy))
	is.True(saysAll(err.Error(), p.socket+": permission denied: it belongs to user 0")) // whose it is can be seen
}
