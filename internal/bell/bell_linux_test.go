package bell_test

import (
	"errors"
	"os"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/bell"
)

func newBell(t *testing.T) *bell.Bell {
	t.Helper()
	b, err := bell.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestWaitReturnsWhenTheBellHasRungBefore(t *testing.T) {
	is := is.New(t)
	b := newBell(t)
	b.Ring()
	b.Ring() // which is once, to who comes later
	is.NoErr(b.Wait())
	closed := make(chan error, 1)
	go func() { closed <- b.Close() }()
	is.True(errors.Is(b.Wait(), os.ErrClosed)) // it has not rung again
	is.NoErr(<-closed)
}

// The goroutines take turns, so that each ring meets one that waits, or is about to. The
// race detector sees whether the number is handed over in good order.
func TestEachRingWakesWhoeverWaits(t *testing.T) {
	is := is.New(t)
	there, back := newBell(t), newBell(t)
	var number int
	ended := make(chan error, 1)
	go func() {
		for {
			if err := there.Wait(); err != nil {
				ended <- err
				return
			}
			number++
			back.Ring()
		}
	}()
	for i := range 10_000 {
		there.Ring()
		is.NoErr(back.Wait())
		is.Equal(number, i+1)
	}
	is.NoErr(there.Close())
	is.True(errors.Is(<-ended, os.ErrClosed))
	there.Ring() // wakes nobody
}

func TestBellHasADescriptor(t *testing.T) {
	is := is.New(t)
	sys, err := newBell(t).SyscallConn()
	is.NoErr(err)
	var descriptor uintptr
	is.NoErr(sys.Control(func(fd uintptr) { descriptor = fd }))
	is.True(descriptor > 2)
}
