package tcp

import (
	"sync"
	"time"
)

const (
	// pipesPerUser is how many pipes of pipeSize an unprivileged user can have.
	pipesPerUser = 64

	// pipeIdleTimeout is how long a pipe is kept that nobody uses. It costs two
	// descriptors, and 0.01 ms to make another.
	pipeIdleTimeout = 2 * time.Second
)

// pipes are what the connections of a listener splice through: each has one for
// as long as a call lasts.
type pipes struct {
	max int // that there are at once

	mu     sync.Mutex // guards what follows
	open   int
	idle   []*pipe // the one used last at the end
	sweep  *time.Timer
	closed bool // none is kept any more
}

// get returns a pipe that is empty, for giveBack, or nil if none is to be had.
func (s *pipes) get() *pipe {
	s.mu.Lock()
	if last := len(s.idle) - 1; last >= 0 {
		p := s.idle[last]
		s.idle[last] = nil
		s.idle = s.idle[:last]
		s.mu.Unlock()
		return p
	}
	if s.open >= s.max {
		s.mu.Unlock()
		return nil
	}
	s.open++
	s.mu.Unlock()
	p := newPipe()
	if p == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
	}
	return p
}

// put takes back a pipe, which is reusable if it is empty.
func (s *pipes) put(p *pipe, reusable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !reusable || s.closed {
		p.close()
		s.open--
		return
	}
	p.since = time.Now()
	s.idle = append(s.idle, p)
	if s.sweep == nil {
		s.sweep = time.AfterFunc(pipeIdleTimeout, s.closeExpired)
	}
}

// closeExpired closes what has been idle for too long, and is called again while
// anything is idle.
func (s *pipes) closeExpired() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep = nil
	expired := 0
	for expired < len(s.idle) && time.Since(s.idle[expired].since) >= pipeIdleTimeout {
		s.idle[expired].close()
		expired++
	}
	s.open -= expired
	s.idle = append(s.idle[:0], s.idle[expired:]...)
	clear(s.idle[len(s.idle) : len(s.idle)+expired])
	if len(s.idle) > 0 {
		s.sweep = time.AfterFunc(pipeIdleTimeout-time.Since(s.idle[0].since), s.closeExpired)
	}
}

// close closes what is idle. What is in use is closed when it is given back, and
// so is what is taken later.
func (s *pipes) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.sweep != nil {
		s.sweep.Stop()
		s.sweep = nil
	}
	for _, p := range s.idle {
		p.close()
	}
	s.open -= len(s.idle)
	s.idle = nil
}
