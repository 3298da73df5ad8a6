package trial

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"
)

// A Bake is a trial that takes its time, in which more is judged than whether the targets
// are lost.
type Bake struct {
	Clock *Clock // ends the Bake

	// Drain waits for what is left on Gone, but no longer than until over is closed. If
	// nil, nothing is waited for.
	Drain func(over <-chan struct{})

	// Runs reports whether the clock runs. While it does not, nothing is taken back. An
	// error ends the Bake.
	Runs func() (bool, error)

	// Judge returns why Brought are worse than Gone, or "" as long as that is not
	// certain, and what is to be told of them if the Bake ended now. It is called at
	// each look, also while the clock stands.
	Judge func() (worse, note string)

	// IsDecided reports whether Judge has seen enough for what it returns to mean
	// something. A Canary alone asks for that.
	IsDecided func() bool

	// Tell is called each second in which the clock runs, with the time that it has run
	// for. The last call, at the end of the Bake, has the whole time, and a note where
	// there is something to be said.
	Tell func(elapsed time.Duration, note string)

	// When Stop is closed, the Bake ends at once, with the error Stopped.
	Stop    <-chan struct{}
	Stopped error
}

const (
	bakeInterval = 200 * time.Millisecond // between two looks
	tellInterval = time.Second
)

// Bake looks at the targets until the clock of b has run down. When Brought turn out to be
// worse, or all of them are lost, and one of Gone is well, it calls TakeBack. Bake reports
// whether that has succeeded. Otherwise err is nil at the end of b, what b.Runs has
// returned, or b.Stopped. It returns when b.Drain has.
func (t *Trial[T]) Bake(b Bake) (takenBack bool, err error) {
	over := make(chan struct{})
	var draining sync.WaitGroup
	defer draining.Wait()
	defer close(over)
	if b.Drain != nil {
		draining.Go(func() { b.Drain(over) })
	}
	tick := time.NewTicker(bakeInterval)
	defer tick.Stop()
	told := time.Now()
	for last := told; ; {
		select {
		case <-b.Stop:
			return false, b.Stopped
		case <-tick.C:
		}
		runs, err := b.Runs()
		if err != nil {
			return false, err
		}
		now := time.Now()
		spent := now.Sub(last)
		last = now
		worse, note := b.Judge()
		if !runs {
			continue
		}
		if reason := cmp.Or(t.lost(), worse); reason != "" {
			if t.isTakenBack(reason) {
				return true, nil
			}
			note = "not taken back, since what served before is not well: " + reason
		}
		if b.Clock.spend(spent) {
			b.Tell(b.Clock.total, note)
			return false, nil
		}
		if now.Sub(told) >= tellInterval {
			told = now
			b.Tell(b.Clock.total-b.Clock.Left(), "")
		}
	}
}

// A Clock says how much of a Bake is left. Make one with NewClock or ResumeClock. Its
// methods may be called from any goroutine.
type Clock struct {
	total time.Duration
	left  atomic.Int64
}

// NewClock returns the Clock of a Bake that is about to begin, and takes so long.
func NewClock(total time.Duration) *Clock {
	c := &Clock{total: total}
	c.left.Store(int64(total))
	return c
}

// leastResumed is how much of a Bake that is resumed is left at least, if there was as
// much.
const leastResumed = 10 * time.Second

// ResumeClock returns the Clock of a Bake that takes so long in all, and of which a part
// was left at the time since. If it has run since then, the time until now has passed, of
// which nobody knows in how much there was somebody to look; so 10 s are left at least,
// or all that was left.
func ResumeClock(total, left time.Duration, since time.Time, ran bool) *Clock {
	if ran {
		left = max(left-time.Since(since), min(left, leastResumed))
	}
	c := NewClock(total)
	c.left.Store(int64(left))
	return c
}

// Left returns how much is left. It may be less than 0.
func (c *Clock) Left() time.Duration { return time.Duration(c.left.Load()) }

// spend takes d off, and reports whether nothing is left.
func (c *Clock) spend(d time.Duration) (isOver bool) { return c.left.Add(-int64(d)) <= 0 }
