// Package gate counts what is in flight behind a door that can be closed.
package gate

import (
	"math"
	"sync"
	"sync/atomic"
)

// closed is added to the count when the gate closes, and makes it negative
// however many are inside.
const closed = math.MinInt64

// A Gate lets callers in until it is closed, and tells when the last of them
// has left. The zero value is open and empty. A Gate must not be copied.
type Gate struct {
	count   atomic.Int64 // inside; plus closed once it is
	closing sync.Once
	emptied sync.Once
	idle    chan struct{} // made before closed is added, so whoever sees that sees this
}

// Enter reports whether the caller is inside; then it must call Leave, once.
// It takes no lock and never waits. After Close it always reports false.
func (g *Gate) Enter() bool {
	if g.count.Add(1) > 0 {
		return true
	}
	// Undone by Leave and not by a bare add: the last one inside may have
	// left since, seen this entry still counted, and not reported.
	g.Leave()
	return false
}

// Leave undoes an Enter that reported true.
func (g *Gate) Leave() {
	if g.count.Add(-1) == closed {
		// A late Enter brings the count back here: only the first time counts.
		g.emptied.Do(g.closeIdle)
	}
}

// Close lets nobody in from now on, and returns a channel that is closed when
// the last one inside has left, which may be at once. Each call returns the
// same channel.
func (g *Gate) Close() <-chan struct{} {
	g.closing.Do(g.close)
	return g.idle
}

// Inside returns how many are inside: for showing and for choosing, as it may
// have changed by the time it is read.
func (g *Gate) Inside() int64 {
	n := g.count.Load()
	if n < 0 {
		n -= closed
	}
	return n
}

// IsDrained reports whether g is closed and nobody is inside, nor ever will be.
func (g *Gate) IsDrained() bool { return g.count.Load() == closed }

func (g *Gate) close() {
	g.idle = make(chan struct{})
	if g.count.Add(closed) == closed {
		g.emptied.Do(g.closeIdle)
	}
}

func (g *Gate) closeIdle() { close(g.idle) }
