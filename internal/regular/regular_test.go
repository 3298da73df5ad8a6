package regular_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/regular"
)

type reader = func(name string, most int) ([]byte, error)

var readers = map[string]reader{"ReadFile": regular.ReadFile, "ReadFileNoFollow": regular.ReadFileNoFollow}

// write returns the name of a new file that holds data.
func write(t *testing.T, data string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFileIsReadUpToItsLimit(t *testing.T) {
	for name, read := range readers {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			file := write(t, "hello")
			data, err := read(file, 5)
			is.NoErr(err)
			is.Equal(string(data), "hello")

			data, err = read(file, 4)
			is.True(errors.Is(err, regular.ErrTooLarge))
			is.Equal(err.Error(), "read "+file+": too large")
			is.Equal(data, nil) // not a part of it

			data, err = read(write(t, ""), 0)
			is.NoErr(err)
			is.Equal(len(data), 0)
		})
	}
}

// To open a pipe waits for its other end, and to read from one for what is written.
func TestWhatIsNoFileIsNotWaitedFor(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(proxytest.ShortDir(t), "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for kind, file := range map[string]string{"pipe": pipe, "socket": socket, "folder": t.TempDir(), "device": os.DevNull} {
		for name, read := range readers {
			t.Run(kind+", "+name, func(t *testing.T) {
				is := is.New(t)
				_, err := read(file, 5)
				is.True(errors.Is(err, regular.ErrNotRegular))
				at, ok := errors.AsType[*fs.PathError](err)
				is.True(ok)
				is.Equal(at.Path, file)
			})
		}
	}
}

func TestSystemSaysWhyThereIsNoFile(t *testing.T) {
	for name, read := range readers {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			_, err := read(filepath.Join(t.TempDir(), "file"), 5)
			is.True(errors.Is(err, fs.ErrNotExist))
		})
	}
}

func TestSymbolicLinkIsFollowedOnlyWhereItMayBe(t *testing.T) {
	is := is.New(t)
	file := write(t, "hello")
	link := filepath.Join(t.TempDir(), "link")
	is.NoErr(os.Symlink(file, link))
	data, err := regular.ReadFile(link, 5)
	is.NoErr(err)
	is.Equal(string(data), "hello")
	_, err = regular.ReadFileNoFollow(link, 5)
	is.True(errors.Is(err, regular.ErrSymlink))
	is.Equal(err.Error(), "open "+link+": a symbolic link")

	folder := filepath.Join(t.TempDir(), "folder")
	is.NoErr(os.Symlink(filepath.Dir(file), folder))
	data, err = regular.ReadFileNoFollow(filepath.Join(folder, "file"), 5) // on the way to it
	is.NoErr(err)
	is.Equal(string(data), "hello")

	loop := filepath.Join(t.TempDir(), "loop")
	is.NoErr(os.Symlink(loop, loop))
	_, err = regular.ReadFile(loop, 5)
	is.True(errors.Is(err, syscall.ELOOP)) // which is the system's to say
}
