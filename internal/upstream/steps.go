package upstream

import (
	"errors"
	"io"
	"syscall"

	"github.com/shahnk19/parachute/internal/nowait"
)

var errStale = errors.New("the target has closed the connection, or sent on it what nobody asked for")

// steps are what a conn does with its socket within a RawConn.Read, which calls
// one of them again whenever there may be something to be read, until it reports
// that it is done. They are bound once, and share their variables, lest each
// call makes objects.
type steps struct {
	asker  func(fd uintptr) bool
	reader func(fd uintptr) bool
	taker  func(fd uintptr) bool
	looker func(fd uintptr) bool

	asking []byte // what ask is to write; nil: it has tried
	reused bool   // it is of no use unless the connection is quiet
	wait   bool   // for an answer
	into   []byte // what read fills

	n      int   // how much was read or written
	failed error // what ended that
	found  error // what look found
	one    [1]byte
}

func (s *steps) bind() {
	s.asker, s.reader, s.taker, s.looker = s.ask, s.readNow, s.take, s.look
}

// begin makes the next calls of asker write wire, which is not empty, and wait.
func (s *steps) begin(wire []byte, reused, wait bool) {
	s.asking, s.reused, s.wait = wire, reused, wait
}

// ask is a look, a write, and a wait for what there is to be read. A RawConn.Read
// begins by forgetting that there was something, and what comes in from then on
// ends the wait: so it is the look that must find what has come before. Between
// the three there is nothing else that a request of one piece has to pay for; a
// Write and a Read are a system call more, for a Read tries before it waits, too
// early as a rule.
func (s *steps) ask(fd uintptr) bool {
	wire := s.asking
	if wire == nil {
		return true
	}
	s.asking, s.n = nil, 0
	s.look(fd)
	if s.found != syscall.EAGAIN && s.reused {
		s.failed = errStale
		return true
	}
	if s.found != syscall.EAGAIN && s.found != nil {
		s.failed = s.found
		return true
	}
	s.n, s.failed = nowait.Write(fd, wire)
	return !s.wait || s.n < len(wire) || s.found == nil
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
	s.n, s.failed = nowait.Read(fd, s.into)
	return s.failed != syscall.EAGAIN
}

func (s *steps) take(fd uintptr) bool {
	s.readNow(fd)
	return true
}

// look finds what a read would: nil (bytes), io.EOF, EAGAIN (nothing), or what
// broke the connection.
func (s *steps) look(fd uintptr) bool {
	n, err := nowait.Peek(fd, s.one[:])
	if err == nil && n == 0 {
		err = io.EOF
	}
	s.found = err
	return true
}
