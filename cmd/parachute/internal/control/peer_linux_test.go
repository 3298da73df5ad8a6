package control_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
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
	return runAndWait(stranger, stranger, f)
}

// runAndWait runs f as that user and group.
func runAndWait(uid, gid int, f func() error) error {
	result := make(chan error)
	go runAs(uid, gid, f, result)
	return <-result
}

// runAs never gives its thread back, whose user has changed.
func runAs(uid, gid int, f func() error, result chan<- error) {
	runtime.LockOSThread()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)); errno != 0 {
		result <- errno
		return
	}
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

// As root, a client is one of a user that the proxy does not know of, behind a path
// where anybody may put a socket. Otherwise it is our own.
func TestSocketOfAStrangerIsSpokenToOnlyWhereNobodyElseCanHavePutOne(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	careless := &control.Client{Sockets: []string{p.socket}}
	careful := &control.Client{Sockets: []string{p.socket}, OwnOnly: []string{p.socket}}
	_, err := careful.Version(t.Context())
	is.NoErr(err) // it is ours
	if os.Geteuid() != 0 {
		return
	}
	is.NoErr(os.Chmod(filepath.Dir(p.socket), 0o711))
	is.NoErr(os.Chown(p.socket, stranger+1, -1))
	_, err = careful.Version(t.Context())
	is.NoErr(err) // root has nothing to fear from others
	is.NoErr(os.Chmod(p.socket, 0o666))
	ask := func(c *control.Client) error {
		return asStranger(t, func() error {
			_, err := c.Version(t.Context())
			return err
		})
	}
	err = ask(careful)
	is.True(errors.Is(err, control.ErrNoProxy))
	is.True(errors.Is(err, fs.ErrPermission))
	is.True(saysAll(err.Error(), "it belongs to user 54322, who is neither root nor you"))
	is.True(!saysAll(ask(careless).Error(), "it belongs to")) // the proxy hangs up on it, for it is not let in
	is.NoErr(os.Chown(p.socket, 0, 0))
	is.True(!saysAll(ask(careful).Error(), "it belongs to")) // root's is anybody's
}

func TestStrangerBehindASocketThatLooksLikeOnesOwnIsNotSpokenTo(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(filepath.Dir(socketPath(t)), "new", "c.sock")
	l := listen(t, path, control.SocketOptions{})
	defer l.Close()
	accepted := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = c.Close()
		}
		accepted <- err
	}()
	client := &control.Client{Sockets: []string{path}, OwnOnly: []string{path}}
	if os.Geteuid() != 0 {
		_, err := client.Version(t.Context())
		is.True(!errors.Is(err, control.ErrNoProxy)) // it is spoken to
		is.NoErr(<-accepted)
		return
	}
	// The process is root's, and the file that of whoever asks: both are well. A
	// process of somebody else behind the file of whoever asks is not.
	other := socketPath(t)
	is.NoErr(os.Chmod(filepath.Dir(other), 0o777))
	var theirs net.Listener
	is.NoErr(asStranger(t, func() (err error) {
		theirs, err = net.Listen("unix", other)
		return err
	}))
	defer theirs.Close()
	is.NoErr(os.Chown(other, stranger+1, -1))
	err := runAndWait(stranger+1, stranger+1, func() error {
		_, err := (&control.Client{Sockets: []string{other}, OwnOnly: []string{other}}).Version(t.Context())
		return err
	})
	is.True(errors.Is(err, control.ErrNoProxy))
	is.True(saysAll(err.Error(), "it belongs to user 54321"))
	is.NoErr(l.Close())
	is.True(<-accepted != nil)
}

// The group is all that is asked for: neither a mode, nor that the folder is made anew.
func TestGroupOfTheSocketIsEnoughForItsMembers(t *testing.T) {
	for _, name := range []string{"a new folder", "the folder of an earlier process"} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			const deployers = 54399
			gid := deployers
			if os.Geteuid() != 0 {
				gid = os.Getgid()
			}
			path := filepath.Join(filepath.Dir(socketPath(t)), "new", "c.sock")
			is.NoErr(os.Chmod(filepath.Dir(filepath.Dir(path)), 0o711))
			if name != "a new folder" {
				is.NoErr(listen(t, path, control.SocketOptions{}).Close())
				is.Equal(modeOf(t, filepath.Dir(path)), fs.FileMode(0o700))
			}
			l := listen(t, path, control.SocketOptions{Group: strconv.Itoa(gid)})
			is.Equal(modeOf(t, path), fs.FileMode(0o660))
			is.Equal(modeOf(t, filepath.Dir(path)), fs.FileMode(0o710))
			if os.Geteuid() != 0 {
				return
			}
			connect := func() error {
				c, err := net.Dial("unix", path)
				if err != nil {
					return err
				}
				return c.Close()
			}
			is.NoErr(runAndWait(stranger, deployers, connect))
			c, err := l.Accept()
			is.NoErr(err) // the member's
			is.NoErr(c.Close())
			is.True(errors.Is(runAndWait(stranger, stranger, connect), fs.ErrPermission)) // who is not one
		})
	}
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

func TestUsersMayDoWhatTheSocketsOptionsSay(t *testing.T) {
	is := is.New(t)
	const deployer = stranger + 1
	other := newPlane(t, parachute.Options{})
	_, err := other.client.Deploy(t.Context(), deployment("web"), nil)
	is.NoErr(err) // the owner's
	if os.Geteuid() != 0 {
		return
	}
	const nothing, reads, all = "nothing", "reads", "all"
	for _, tt := range []struct {
		name               string
		who                control.SocketOptions
		deployer, stranger string
	}{
		{"as ever", control.SocketOptions{}, nothing, nothing},
		{"a wide socket", control.SocketOptions{Mode: 0o666}, all, all},
		{"a deployer", control.SocketOptions{Deployers: []string{"54322"}}, all, nothing},
		{"a deployer of a wide socket", control.SocketOptions{Mode: 0o666, Deployers: []string{"1", "54322"}}, all, reads},
		{"nobody but root", control.SocketOptions{Mode: 0o666, Deployers: []string{"root"}}, reads, reads},
		{"a deployer who is not in the group", control.SocketOptions{Group: "54321", Deployers: []string{"54322"}}, nothing, reads},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			p := newPlaneFor(t, parachute.Options{}, tt.who)
			is.NoErr(os.Chmod(filepath.Dir(p.socket), 0o711))
			as := func(uid int) string {
				_, readErr := runFor(uid, func() ([]parachute.Status, error) { return p.client.Services(t.Context()) })
				_, deployErr := runFor(uid, func() (control.Result, error) { return p.client.Deploy(t.Context(), deployment("web"), nil) })
				_, logErr := runFor(uid, func() (any, error) {
					return nil, p.client.Logs(t.Context(), control.LogQuery{}, func([]byte) error { return nil })
				})
				switch {
				case readErr == nil && deployErr == nil && logErr == nil:
					return all
				case readErr == nil && errors.Is(deployErr, control.ErrForbidden) && errors.Is(logErr, control.ErrForbidden):
					is.True(saysAll(deployErr.Error(), "parachute: deploy web: user ", "may neither make changes nor see the log", "root"))
					return reads
				case readErr != nil && deployErr != nil && logErr != nil:
					isTold := tt.who.Deployers != nil && tt.who.Group == "" // who may, and need not find out
					is.Equal(errors.Is(readErr, control.ErrForbidden) && errors.Is(deployErr, control.ErrForbidden), isTold)
					return nothing
				}
				return fmt.Sprint(readErr, deployErr, logErr)
			}
			is.Equal(as(deployer), tt.deployer)
			is.Equal(as(stranger), tt.stranger)
			is.Equal(as(0), all)
		})
	}
}

// runFor returns what f returns as that user.
func runFor[T any](uid int, f func() (T, error)) (v T, err error) {
	err = runAndWait(uid, uid, func() (err error) {
		v, err = f()
		return err
	})
	return v, err
}
