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
func isOpen(p *Pipe) bool {
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

		a.Release()
		time.Sleep(pipeIdleTimeout / 2)
		b.Release()
		time.Sleep(pipeIdleTimeout/2 + time.Millisecond)
		synctest.Wait()
		is.True(!isOpen(a)) // had been idle
		is.True(isOpen(b))
		is.True(isOpen(c)) // is in use
		is.Equal(s.get(), b)

		c.n = 1
		c.Release()
		is.True(!isOpen(c)) // something was in it
		b.Release()
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
	idle.Release()
	s.Close()
	is.True(!isOpen(idle))
	is.True(isOpen(used)) // a download goes on
	used.Release()
	is.True(!isOpen(used))
	later := s.get()
	is.True(isOpen(later)) // for one that goes on
	later.Release()
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

// A client that sends its body little by little must not keep a pipe from others.
func TestReadPipeHasNoPipeWhileItWaits(t *testing.T) {
	is := is.New(t)
	conn, client := pair(t)
	lent := make(chan bool, 3)
	conn.pipes = NewPipes(1, func(uintptr) bool {
		lent <- true // a new one is
		return false
	})
	defer conn.pipes.Close()
	read := make(chan *Pipe)
	go func() {
		p, _ := conn.ReadPipe(5)
		read <- p
	}()
	<-lent
	for inUse := true; inUse; { // until it has found that there is nothing
		conn.pipes.mu.Lock()
		inUse = conn.pipes.open > len(conn.pipes.idle)
		conn.pipes.mu.Unlock()
	}
	other := conn.pipes.get()
	is.True(other != nil)
	other.Release()
	_, err := io.WriteString(client, "hello")
	is.NoErr(err)
	p := <-read
	is.Equal(p.Len(), 5)
	is.Equal(conn.pipes.get(), nil) // it has one now
	p.Release()
	is.True(!isOpen(p)) // something was in it
	is.Equal(conn.pipes.open, 0)
}
