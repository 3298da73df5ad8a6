package poller_test

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/poller"
)

func newPoller(t *testing.T) *poller.Poller {
	t.Helper()
	p, err := poller.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// pair returns two sockets that are connected.
func pair(t *testing.T) (here, there int) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Close(fds[0])
		syscall.Close(fds[1])
	})
	return fds[0], fds[1]
}

func send(t *testing.T, fd int) {
	t.Helper()
	if _, err := syscall.Write(fd, []byte("x")); err != nil {
		t.Fatal(err)
	}
}

// key is of more than 32 bits, and of each of them another.
const key = uint64(0xfedcba98_76543210)

func TestPollerTellsOnceOfWhatIsThere(t *testing.T) {
	is := is.New(t)
	p := newPoller(t)
	here, there := pair(t)
	send(t, there)
	is.NoErr(p.Notify(uintptr(here), key))
	keys, err := p.Wait()
	is.NoErr(err)
	is.Equal(keys, []uint64{key})

	other, friend := pair(t)
	send(t, there) // is not told of: nobody has asked again
	is.NoErr(p.Notify(uintptr(other), 2))
	send(t, friend)
	keys, err = p.Wait()
	is.NoErr(err)
	is.Equal(keys, []uint64{2})

	is.NoErr(p.Notify(uintptr(here), 3)) // once more, with another key
	keys, err = p.Wait()
	is.NoErr(err)
	is.Equal(keys, []uint64{3})
}

func TestPollerTellsOfWhatComesLater(t *testing.T) {
	is := is.New(t)
	p := newPoller(t)
	const sockets = 200 // more than are told of at once
	told := make(chan []uint64)
	ended := make(chan error, 1)
	go func() {
		for {
			keys, err := p.Wait()
			if err != nil {
				ended <- err
				return
			}
			told <- append([]uint64(nil), keys...)
		}
	}()
	theirs := make([]int, sockets)
	for i := range theirs {
		var here int
		here, theirs[i] = pair(t)
		is.NoErr(p.Notify(uintptr(here), uint64(i)))
	}
	for _, fd := range theirs {
		send(t, fd)
	}
	seen := make(map[uint64]int)
	for len(seen) < sockets {
		for _, key := range <-told {
			seen[key]++
		}
	}
	for i := range theirs {
		is.Equal(seen[uint64(i)], 1)
	}
	is.NoErr(p.Close())
	is.True(errors.Is(<-ended, net.ErrClosed))
}

func TestPollerTellsOfTheEnd(t *testing.T) {
	is := is.New(t)
	p := newPoller(t)
	here, there := pair(t)
	is.NoErr(p.Notify(uintptr(here), key))
	is.NoErr(syscall.Shutdown(there, syscall.SHUT_WR))
	keys, err := p.Wait()
	is.NoErr(err)
	is.Equal(keys, []uint64{key})
}

func TestPollerRefusesWhatIsNoSocket(t *testing.T) {
	is := is.New(t)
	p := newPoller(t)
	file, err := os.Open(os.DevNull)
	is.NoErr(err)
	defer file.Close()
	is.True(errors.Is(p.Notify(file.Fd(), key), syscall.EPERM))
	is.NoErr(p.Close())
	here, _ := pair(t)
	is.Equal(p.Notify(uintptr(here), key), net.ErrClosed)
}
