package http1

import (
	"github.com/shahnk19/parachute/internal/bell"
	"github.com/shahnk19/parachute/internal/descriptors"
)

// A worker is a goroutine that serves one connection after another. The stack of a new
// goroutine has to grow, from copy to copy, as far as a request needs it; that of a worker
// has done so. It is told of the next connection by a bell, and not by a channel, since
// whoever accepts connections is about to wait for the next one.
type worker struct {
	bell *bell.Bell
	next *conn // when the bell has rung; nil: there is none any more
}

const (
	// maxSpare is how many workers may wait for a connection.
	maxSpare = 64

	// descriptorsPerSpare is how many descriptors there must be for each of them, which
	// has one.
	descriptorsPerSpare = 64
)

// start has c served by a worker.
func (s *Server) start(c *conn) {
	if w := s.takeWorker(); w != nil {
		w.next = c
		w.bell.Ring()
		return
	}
	go s.work(c)
}

// work serves c, and what it gets then, until there are enough others.
func (s *Server) work(c *conn) {
	c.serve()
	if !c.sock.IsSocket() || !s.wantsWorker() {
		return
	}
	w := newWorker()
	if w == nil {
		return
	}
	defer w.bell.Close()
	for s.keepWorker(w) && w.bell.Wait() == nil && w.next != nil {
		w.next.serve()
		w.next = nil
	}
}

// newWorker returns a worker, or nil if it would have a descriptor that others need, or the
// system has no bells.
func newWorker() *worker {
	b, err := bell.New()
	if err != nil {
		return nil
	}
	if descriptors.TakesReserve(b) {
		b.Close()
		return nil
	}
	return &worker{bell: b}
}

// takeWorker returns a worker that waits, the one that has waited for the shortest
// time, or nil.
func (s *Server) takeWorker() *worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.spare) - 1
	if last < 0 {
		return nil
	}
	w := s.spare[last]
	s.spare = s.spare[:last]
	return w
}

// wantsWorker reports whether another worker may wait for a connection.
func (s *Server) wantsWorker() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hasRoomLocked()
}

func (s *Server) hasRoomLocked() bool { return !s.stopping && len(s.spare) < s.maxSpare }

// keepWorker reports whether w is to wait for another connection.
func (s *Server) keepWorker(w *worker) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hasRoomLocked() {
		return false
	}
	s.spare = append(s.spare, w)
	return true
}
