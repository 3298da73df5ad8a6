package upstream

import (
	"errors"
	"io"
	"syscall"

	"github.com/shahnk19/parachute/internal/socket"
)

var errStale = errors.New("the target has closed the connection, or sent on it what nobody asked for")

// steps are what a targetConn does with its socket within a RawConn.Read, which calls
// one of them again whenever there may be something to be read, until it reports
// that it is done. They are bound once, and share their variables, lest each
// call makes objects.
type steps struct {
	asker  func(fd uintptr) bool
	reader func(fd uintptr) bool
	taker  func(fd uintptr) bool
	peeker func(fd uintptr) bool

	ask  ask
	into []byte // what read fills

	n      int   // how much was read or written
	failed error // what ended that
	found  error // what peek found
	one    [1]byte
}

func (s *steps) bind() {
	s.asker, s.reader, s.taker, s.peeker = s.writeOnce, s.readNow, s.take, s.peek
}

// An ask is the state of a writeAndWait. As local variables, with the func that captures
// them, it would be five objects more for each request.
type ask struct {
	wire   []byte
	reused bool // nothing is written unless the connection is quiet
	wait   bool // for something to be read

	tried  bool
	n      int   // how much was written
	failed error // why not all of it
	found  error // what a read would have found before
}

// writeOnce is a look, a write, and a wait for what there is to be read. A
// RawConn.Read begins by forgetting that there was something, and what comes in from
// then on ends the wait: so it is the look that must find what has come before.
// A request of one piece costs these three and no more. A Write and a Read would cost
// another system call, for a Read tries before it waits, as a rule too early.
func (s *steps) writeOnce(fd uintptr) bool {
	a := &s.ask
	if a.tried {
		return true // the wait is over
	}
	a.tried = true
	s.peek(fd)
	a.found = s.found
	switch quiet := a.found == syscall.EAGAIN; {
	case !quiet && a.reused:
		a.failed = errStale
		return true
	case !quiet && a.found != nil:
		a.failed = a.found
		return true
	}
	a.n, a.failed = socket.Write(fd, a.wire)
	return !a.wait || a.n != len(a.wire) || a.found == nil
}

// read is a Read of a socket by one of the steps: reader, which waits, or taker,
// which returns EAGAIN where it would have to.
func (s *steps) read(sys syscall.RawConn, step func(fd uintptr) bool, p []byte) (int, error) {
	s.into = p
	err := sys.Read(step)
	s.into = nil
	switch {
	case err != nil:
		return 0, err
	case s.failed != nil:
		return 0, s.failed
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}

func (s *steps) readNow(fd uintptr) bool {
	s.n, s.failed = socket.Read(fd, s.into)
	return s.failed != syscall.EAGAIN
}

func (s *steps) take(fd uintptr) bool {
	s.readNow(fd)
	return true
}

// peek finds what a read would: nil (bytes), io.EOF, EAGAIN (nothing), or what
// broke the connection.
func (s *steps) peek(fd uintptr) bool {
	n, err := socket.Peek(fd, s.one[:])
	if err == nil && n == 0 {
		err = io.EOF
	}
	s.found = err
	return true
}
