package health

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// A Tracker is told of the probes of several targets, for those who wait until the
// targets are healthy, or until something is known of them. Its methods may be called
// from any goroutine, but Await only by one at a time.
type Tracker struct {
	ended chan struct{} // with a buffer of one: a probe has ended since the last receive

	thorough bool
	unprobed atomic.Int64 // targets of which no probe has ended
	settling sync.Once
	settled  chan struct{}
}

// NewTracker returns a Tracker of so many targets. If thorough is set, it must be known
// of each whether it passes before Settled is closed.
func NewTracker(targets int, thorough bool) *Tracker {
	t := &Tracker{ended: make(chan struct{}, 1), thorough: thorough, settled: make(chan struct{})}
	t.unprobed.Store(int64(targets))
	return t
}

// Note notes that a probe has ended, which is the first of its target or a later one.
func (t *Tracker) Note(first, passed bool) {
	if first && t.unprobed.Add(-1) == 0 || passed && !t.thorough {
		t.settling.Do(func() { close(t.settled) })
	}
	select {
	case t.ended <- struct{}{}:
	default:
	}
}

// Settled returns a channel that is closed when a probe of each target has ended or,
// unless the Tracker is thorough, when one has passed.
func (t *Tracker) Settled() <-chan struct{} { return t.settled }

// ErrTimeout is the error of an Await whose limit has passed.
var ErrTimeout = errors.New("the targets did not become healthy in time")

// Await waits until healthy, which it calls at once and whenever a probe has ended,
// reports true. It returns ErrTimeout after limit, where a negative limit is none, and
// ctx's error when that ends.
func (t *Tracker) Await(ctx context.Context, limit time.Duration, healthy func() bool) error {
	var timeout <-chan time.Time
	if limit >= 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		timeout = timer.C
	}
	for !healthy() {
		select {
		case <-t.ended:
		case <-timeout:
			return ErrTimeout
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
