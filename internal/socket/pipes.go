package socket

import (
	"sync"
	"time"
)

const (
	// pipesPerUser is how many pipes of pipeSize an unprivileged user may have.
	pipesPerUser = 64

	// pipeIdleTimeout is how long an unused pipe is kept. A pipe takes two
	// descriptors, and about 0.01 ms to create.
	pipeIdleTimeout = 2 * time.Second
)

// Pipes is a pool of pipes that Conns splice through. Each splice uses one pipe.
type Pipes struct {
	max        int                   // how many may be open
	isReserved func(fd uintptr) bool // whether a descriptor must not be used for a pipe

	mu     sync.Mutex // guards the fields below
	open   int
	idle   []*Pipe // the most recently used is last
	sweep  *time.Timer
	closed bool // idle pipes are not kept any more
}

// NewPipes returns a pool of at most limit pipes, and of no more than an unprivileged
// user may have. A pipe whose descriptors are reserved is not used; nil: none are.
func NewPipes(limit int, isReserved func(fd uintptr) bool) *Pipes {
	if isReserved == nil {
		isReserved = func(uintptr) bool { return false }
	}
	return &Pipes{max: min(limit, pipesPerUser), isReserved: isReserved}
}

// get returns an empty pipe, or nil if there is none. The caller must release it.
func (s *Pipes) get() *Pipe {
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
	p := newPipe(s.isReserved)
	if p == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
		return nil
	}
	p.pool = s
	return p
}

// Release gives p back to its pool. What is left in it is thrown away.
func (p *Pipe) Release() { p.pool.put(p) }

// put is Release.
func (s *Pipes) put(p *Pipe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.n > 0 || s.closed {
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

// closeExpired closes the pipes that have been idle for too long. It runs again
// later while any pipe is idle.
func (s *Pipes) closeExpired() {
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

// Close closes the idle pipes. The others are closed when they are put back.
func (s *Pipes) Close() {
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
