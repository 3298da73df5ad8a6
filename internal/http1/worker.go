package http1

// A worker is a goroutine that serves one connection after another, which it gets
// through the channel. The stack of a new goroutine has to grow, from copy to copy, as
// far as a request needs it; that of a worker has done so.
type worker chan *conn

// maxSpare is how many workers may wait for a connection.
const maxSpare = 64

// start has c served by a worker.
func (s *Server) start(c *conn) {
	if w := s.takeWorker(); w != nil {
		w <- c
		return
	}
	w := make(worker, 1)
	w <- c
	go s.work(w)
}

// work serves what it gets through w, until that is closed or there are enough others.
func (s *Server) work(w worker) {
	for c := range w {
		c.serve()
		if !s.keepWorker(w) {
			return
		}
	}
}

// takeWorker returns a worker that waits, the one that has waited for the shortest
// time, or nil.
func (s *Server) takeWorker() worker {
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

// keepWorker reports whether w is to wait for another connection.
func (s *Server) keepWorker(w worker) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping || len(s.spare) == maxSpare {
		return false
	}
	s.spare = append(s.spare, w)
	return true
}
