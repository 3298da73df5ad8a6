//go:build unix

package socket_test

import (
	"runtime"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/socket"
)

// pair returns two sockets that are connected with each other, and do not wait.
func pair(t *testing.T) (near, far uintptr) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		t.Cleanup(func() { syscall.Close(fd) })
		if err := syscall.SetNonblock(fd, true); err != nil {
			t.Fatal(err)
		}
	}
	return uintptr(fds[0]), uintptr(fds[1])
}

func TestReadTakesWhatIsThereAndPeekLeavesIt(t *testing.T) {
	is := is.New(t)
	near, far := pair(t)
	b := make([]byte, 10)
	for _, call := range []func(uintptr, []byte) (int, error){socket.Read, socket.Peek} {
		n, err := call(near, b)
		is.Equal(n, 0)
		is.Equal(err, syscall.EAGAIN) // nothing is there
	}
	n, err := socket.Write(far, []byte("hello"))
	is.NoErr(err)
	is.Equal(n, 5)
	for _, call := range []func(uintptr, []byte) (int, error){socket.Peek, socket.Read} {
		n, err := call(near, b)
		is.NoErr(err)
		is.Equal(string(b[:n]), "hello")
	}
	is.NoErr(syscall.Shutdown(int(far), syscall.SHUT_WR))
	n, err = socket.Read(near, b)
	is.NoErr(err)
	is.Equal(n, 0) // at the end
}

func TestWriteStopsWhereThereIsNoRoom(t *testing.T) {
	is := is.New(t)
	near, far := pair(t)
	written, b := 0, make([]byte, 64<<10)
	var err error
	for err == nil {
		var n int
		n, err = socket.Write(near, b)
		written += n
	}
	is.Equal(err, syscall.EAGAIN)
	is.True(written > 0)
	if runtime.GOOS == "linux" {
		is.True(socket.Unsent(near) > 0) // is on its way
	}
	for read := 0; read < written; {
		n, err := socket.Read(far, b)
		is.NoErr(err)
		read += n
	}
	is.Equal(socket.Unsent(near), 0)
}

func TestWriteToWhoHasLeftFails(t *testing.T) {
	is := is.New(t)
	near, far := pair(t)
	is.NoErr(syscall.Shutdown(int(far), syscall.SHUT_RDWR))
	n, err := socket.Write(near, []byte("hello"))
	is.Equal(n, 0)
	is.Equal(err, syscall.EPIPE)
}
