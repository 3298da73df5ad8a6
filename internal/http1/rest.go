package http1

import (
	"errors"
	"time"

	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/poller"
)

// A connection that waits for a request rests: it has no goroutine, and so no stack, until a
// Poller says that there is something to be read. If the request comes soon, that costs more
// than to wait on a goroutine. So a connection that is lively does not rest. It is lively while
// it is new, and from when a request has ended its rest within livelyTime, until the server
// has seen it twice without a request in between.

var (
	// errRests says that a connection rests: it is somebody else's from then on.
	errRests = errors.New("the connection rests")

	// errStays says that a connection cannot rest: there is no Poller, or the server stops.
	errStays = errors.New("the connection cannot rest")
)

// livelyTime is how soon a request has to come that makes a connection lively.
const livelyTime = 100 * time.Millisecond

// rest has the connection, which is idle, rest. It reports false if that cannot be, for the
// system has no Poller, or is not to be, for the server stops.
func (c *conn) rest() bool {
	p := c.server.wakePoller()
	if p == nil || !c.beginRest() {
		return false
	}
	var err error
	id := c.id
	failed := c.sock.Control(func(fd uintptr) { err = p.Notify(fd, id) })
	if failed == nil && err == nil {
		return true
	}
	return !c.endRest()
}

func (c *conn) beginRest() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rests = c.idle && !c.stopping // stop does not find what does not rest yet
	return c.rests
}

// endRest reports whether the connection has rested. It is the caller's then.
func (c *conn) endRest() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	rested := c.rests
	c.rests = false
	return rested
}

// resume has the connection served if it rests.
func (c *conn) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rests {
		c.resumeLocked()
	}
}

// resumeLocked has the connection, which rests, served.
func (c *conn) resumeLocked() {
	c.rests, c.isResumed = false, true
	go c.server.work(c)
}

// lookAfterIdleLocked is called when the server sees the connection without a request, again
// if there was none since the last time. A connection whose time is over finds this out itself
// when it is woken.
func (c *conn) lookAfterIdleLocked(again bool) {
	switch {
	case !c.idle:
	case c.rests:
		if c.idleIsOver() {
			c.resumeLocked()
		}
	case c.isLively && (again || c.idleIsOver()):
		c.mustRest = true
		c.sock.SetReadDeadline(time.Unix(1, 0))
	}
}

// idleIsOver reports whether the connection, which is idle, has been without a request for as
// long as it may be.
func (c *conn) idleIsOver() bool {
	until := c.idleEnd()
	return !until.IsZero() && !time.Now().Before(until)
}

// wakePoller returns the Poller of connections that rest. It returns nil if the system has
// none, or its descriptor would be one that others need.
func (s *Server) wakePoller() *poller.Poller {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poller != nil || s.noPoller {
		return s.poller
	}
	p, err := poller.New()
	if err != nil {
		return nil
	}
	if descriptors.TakesReserve(p) {
		p.Close()
		return nil
	}
	s.poller = p
	go s.wakeRested(p)
	return p
}

// wakeRested serves the connections that p tells of, until the server stops and the last
// connection is closed, or p fails.
func (s *Server) wakeRested(p *poller.Poller) {
	for {
		ids, err := p.Wait()
		if err != nil {
			break
		}
		for _, id := range ids {
			if c := s.lookUp(id); c != nil && c.endRest() {
				c.isResumed = true
				s.start(c)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hasEndedLocked() {
		close(s.empty)
	} else {
		s.dropPollerLocked()
	}
}

// dropPollerLocked has all connections wait on goroutines from now on.
func (s *Server) dropPollerLocked() {
	s.poller.Close() // so that none rests any more that resume does not find
	s.poller, s.noPoller = nil, true
	for _, c := range s.conns {
		c.resume()
	}
}

// lookUp returns the connection that has that id, or nil if it is closed.
func (s *Server) lookUp(id uint64) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[id]
}
