// Package gate counts the exchanges in flight, and waits for them to end once no new
// ones may begin.
package gate

import (
	"math"
	"sync"
	"sync/atomic"
)

// closed is added to the count when a Gate is closed. It makes the count negative.
const closed = math.MinInt64

// A Gate lets callers in until it is closed, and reports when the last of them has
// left. The zero value is open and empty. A Gate must not be copied.
type Gate struct {
	count   atomic.Int64 // callers inside; closed is added once the Gate is closed
	closing sync.Once
	emptied sync.Once
	idle    chan struct{} // made before closed is added to count
}

// Enter reports whether the caller was let in. If so, it must call Leave once. Enter
// takes no lock and never waits. After Close it always reports false.
func (g *Gate) Enter() bool {
	if g.count.Add(1) > 0 {
		return true
	}
	// The count is decremented by Leave: the last caller inside may have left in
	// between, while this one was counted, and so not have closed idle.
	g.Leave()
	return false
}

// Leave undoes an Enter that reported true.
func (g *Gate) Leave() {
	if g.count.Add(-1) == closed {
		// An Enter after Close brings the count back to closed: hence the Once.
		g.emptied.Do(g.closeIdle)
	}
}

// Close closes the Gate, and returns a channel that is closed when the last caller
// inside has left, or at once if there is none. Each call returns the same channel.
func (g *Gate) Close() <-chan struct{} {
	g.closing.Do(g.close)
	return g.idle
}

// Inside returns how many callers are inside, which may have changed by the time the
// result is read.
func (g *Gate) Inside() int64 {
	n := g.count.Load()
	if n < 0 {
		n -= closed
	}
	return n
}

// IsDrained reports whether g is closed and nobody is inside any more.
func (g *Gate) IsDrained() bool { return g.count.Load() == closed }

func (g *Gate) close() {
	g.idle = make(chan struct{})
	if g.count.Add(closed) == closed {
		g.emptied.Do(g.closeIdle)
	}
}

func (g *Gate) closeIdle() { close(g.idle) }
