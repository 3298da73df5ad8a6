package socket

import (
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
)

// isOpen reports whether both ends of a pipe are.
func isOpen(p *pipe) bool {
	for _, fd := range []int{p.in, p.out} {
		if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0); errno != 0 {
			return false
		}
	}
	return true
}

func TestPipesAreUsedAgainUntilTheyHaveBeenIdleForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := NewPipes(3, nil)
		defer s.Close()
		a, b, c := s.get(), s.get(), s.get()
		is.True(a != nil && b != nil && c != nil)
		is.Equal(s.get(), nil) // there are as many as may be

		s.put(a, true)
		time.Sleep(pipeIdleTimeout / 2)
		s.put(b, true)
		time.Sleep(pipeIdleTimeout/2 + time.Millisecond)
		synctest.Wait()
		is.True(!isOpen(a)) // had been idle
		is.True(isOpen(b))
		is.True(isOpen(c)) // is in use
		is.Equal(s.get(), b)

		s.put(c, false)
		is.True(!isOpen(c)) // something was in it
		s.put(b, true)
		time.Sleep(pipeIdleTimeout)
		synctest.Wait()
		is.True(!isOpen(b))
		is.Equal(s.open, 0)
		is.Equal(s.sweep, nil) // nothing is left to be done
	})
}

func TestClosedPipesKeepNone(t *testing.T) {
	is := is.New(t)
	s := NewPipes(3, nil)
	used, idle := s.get(), s.get()
	s.put(idle, true)
	s.Close()
	is.True(!isOpen(idle))
	is.True(isOpen(used)) // a download goes on
	s.put(used, true)
	is.True(!isOpen(used))
	later := s.get()
	is.True(isOpen(later)) // for one that goes on
	s.put(later, true)
	is.True(!isOpen(later))
	is.Equal(s.open, 0)
	is.Equal(s.sweep, nil)
}

// A client that left in the middle has what is in the pipe thrown away, and a
// target that sends nothing has left none in it.
func TestSplicingGivesPipesBack(t *testing.T) {
	is := is.New(t)
	conn, client := pair(t)
	conn.pipes = NewPipes(1, nil)
	defer conn.pipes.Close()
	src, app := pair(t)
	for range 3 {
		_, err := io.WriteString(app, "hello")
		is.NoErr(err)
		n, err := conn.ReadFrom(io.LimitReader(src.nc, 5))
		is.NoErr(err)
		is.Equal(n, int64(5))
		is.Equal(len(conn.pipes.idle), 1) // which is the same again
	}
	_, err := io.WriteString(app, "hello")
	is.NoErr(err)
	is.NoErr(client.Close())
	is.NoErr(conn.nc.Close())
	_, err = conn.ReadFrom(io.LimitReader(src.nc, 5))
	is.True(err != nil)
	is.Equal(len(conn.pipes.idle), 0)
	is.Equal(conn.pipes.open, 0)
}
