package control_test

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

func listen(t *testing.T, path string, o control.SocketOptions) net.Listener {
	t.Helper()
	l, err := control.Listen(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestSocketIsForItsOwnerWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077, 0o777} {
		t.Run(fmt.Sprintf("%03o", umask), func(t *testing.T) {
			is := is.New(t)
			path := filepath.Join(filepath.Dir(socketPath(t)), "new", "c.sock")
			before := syscall.Umask(umask)
			l, err := control.Listen(path, control.SocketOptions{})
			syscall.Umask(before)
			is.NoErr(err)
			defer l.Close()
			is.Equal(modeOf(t, path), fs.FileMode(0o600))               // the socket
			is.Equal(modeOf(t, filepath.Dir(path)), fs.FileMode(0o700)) // and the folder that was made for it
		})
	}
}

func TestSocketIsNeverWiderThanAtTheEnd(t *testing.T) {
	is := is.New(t)
	path := socketPath(t)
	before := syscall.Umask(0)
	l, err := control.BindPrivate(path)
	after := syscall.Umask(before)
	is.NoErr(err)
	defer l.Close()
	is.Equal(after, 0)                            // the umask is as it was
	is.Equal(modeOf(t, path), fs.FileMode(0o600)) // without a chmod
}

func TestSocketIsAsWideAsWasAskedFor(t *testing.T) {
	for _, test := range []struct{ mode, folder fs.FileMode }{
		{0o600, 0o700}, {0o660, 0o710}, {0o666, 0o711}, {0o606, 0o701},
	} {
		t.Run(test.mode.String(), func(t *testing.T) {
			is := is.New(t)
			path := filepath.Join(filepath.Dir(socketPath(t)), "new", "c.sock")
			group := fmt.Sprint(os.Getgid())
			listen(t, path, control.SocketOptions{Mode: test.mode, Group: group})
			is.Equal(modeOf(t, path), test.mode)
			is.Equal(modeOf(t, filepath.Dir(path)), test.folder) // whoever may connect gets there
		})
	}
}

func TestFolderThatIsThereIsLeftAsItIs(t *testing.T) {
	is := is.New(t)
	path := socketPath(t)
	is.NoErr(os.Chmod(filepath.Dir(path), 0o755))
	listen(t, path, control.SocketOptions{})
	is.Equal(modeOf(t, filepath.Dir(path)), fs.FileMode(0o755))
}

func TestGroupThatIsNoneIsRefused(t *testing.T) {
	is := is.New(t)
	_, err := control.Listen(socketPath(t), control.SocketOptions{Group: "no such group"})
	is.True(err != nil)
	is.True(saysAll(err.Error(), "no such group"))
}

func TestSocketInUseIsRefusedWithItsPID(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	_, err := control.Listen(p.socket, control.SocketOptions{})
	is.True(err != nil)
	is.True(saysAll(err.Error(), p.socket, fmt.Sprintf("in use by pid %d", os.Getpid()), "--socket"))
	_, err = p.client.Version(t.Context())
	is.NoErr(err) // it still answers there
}

func TestDeadSocketIsReplaced(t *testing.T) {
	is := is.New(t)
	path := deadSocket(t)
	l := listen(t, path, control.SocketOptions{})
	is.NoErr(l.Close())
	_, err := os.Lstat(path)
	is.True(os.IsNotExist(err)) // Close has removed it
	is.NoErr(l.Close())         // which may be called again
}

func TestOnlyOneOfManyGetsADeadSocket(t *testing.T) {
	is := is.New(t)
	path := deadSocket(t)
	listeners := make([]*control.Listener, 8)
	var wg sync.WaitGroup
	for i := range listeners {
		wg.Go(func() { listeners[i], _ = control.Listen(path, control.SocketOptions{}) })
	}
	wg.Wait()
	var got []net.Listener
	for _, l := range listeners {
		if l != nil {
			got = append(got, l)
		}
	}
	is.Equal(len(got), 1)
	c, err := net.Dial("unix", path)
	is.NoErr(err) // and it is the one that is there
	is.NoErr(c.Close())
	is.NoErr(got[0].Close())
}

func TestWhatIsNoSocketIsLeftAlone(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"a file":                    func(path string) error { return os.WriteFile(path, []byte("kept"), 0o600) },
		"a folder":                  func(path string) error { return os.Mkdir(path, 0o700) },
		"a symlink to nothing":      func(path string) error { return os.Symlink(path+".x", path) },
		"a symlink to a dead one":   func(path string) error { return os.Symlink(deadSocket(t), path) },
		"a symlink to a living one": func(path string) error { return os.Symlink(newPlane(t, parachute.Options{}).socket, path) },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			path := socketPath(t)
			is.NoErr(make(path))
			before, err := os.Lstat(path)
			is.NoErr(err)
			_, err = control.Listen(path, control.SocketOptions{})
			is.True(err != nil)
			is.True(saysAll(err.Error(), path, "--socket"))
			after, err := os.Lstat(path)
			is.NoErr(err)
			is.True(os.SameFile(before, after)) // it is still there
		})
	}
}

func TestPathThatNoSocketCanHaveIsRefused(t *testing.T) {
	is := is.New(t)
	dir := filepath.Dir(socketPath(t))
	longest := filepath.Join(dir, strings.Repeat("x", len(syscall.RawSockaddrUnix{}.Path)-1-len(dir)-1))
	listen(t, longest, control.SocketOptions{})
	_, err := control.Listen(longest+"x", control.SocketOptions{})
	is.True(err != nil)
	is.True(saysAll(err.Error(), fmt.Sprintf("%d bytes", len(longest)+1), "shorter"))
	_, err = control.Listen("", control.SocketOptions{})
	is.True(err != nil)
}

func TestPathWithAnAtSignIsAFile(t *testing.T) {
	is := is.New(t)
	t.Chdir(filepath.Dir(socketPath(t)))
	l := listen(t, "@c.sock", control.SocketOptions{})
	is.Equal(modeOf(t, "@c.sock"), fs.FileMode(0o600)) // and no name that everybody may connect to
	_, err := control.Listen("@c.sock", control.SocketOptions{})
	is.True(err != nil) // it is in use
	is.NoErr(l.Close())
}

func TestCloseLeavesTheSocketOfAnother(t *testing.T) {
	is := is.New(t)
	path := socketPath(t)
	first := listen(t, path, control.SocketOptions{})
	is.NoErr(os.Remove(path))
	second := listen(t, path, control.SocketOptions{})
	is.NoErr(first.Close())
	c, err := net.Dial("unix", path)
	is.NoErr(err) // it is there
	is.NoErr(c.Close())
	is.NoErr(second.Close())
}

func TestAcceptEndsWithClose(t *testing.T) {
	is := is.New(t)
	l := listen(t, socketPath(t), control.SocketOptions{})
	ended := make(chan error)
	go accept(l, ended)
	is.NoErr(l.Close())
	is.True(<-ended != nil)
	is.True(context.Cause(t.Context()) == nil)
}

func accept(l net.Listener, ended chan<- error) {
	_, err := l.Accept()
	ended <- err
}
