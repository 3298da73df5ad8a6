// Package waiting has requests wait for what may be there soon: not for too long,
// and not too many of them.
package waiting

import (
	"context"
	"sync/atomic"
	"time"
)

// A Room counts those who wait. The zero Room is empty. Its methods may be called
// from any goroutine.
type Room struct{ inside atomic.Int64 }

// Enter reports whether one more may wait, of no more than most. Who may must call
// Leave.
func (r *Room) Enter(most int) bool {
	if r.inside.Add(1) > int64(most) {
		r.Leave()
		return false
	}
	return true
}

// Leave is the end of a wait that Enter has allowed.
func (r *Room) Leave() { r.inside.Add(-1) }

// Inside returns how many wait.
func (r *Room) Inside() int64 { return r.inside.Load() }

const (
	// firstPause is that of a Backoff, and doubles up to lastPause.
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
)

// A Backoff has one request pause between its tries. It begins with the first
// pause, and from then on all time counts that is not excluded. The zero Backoff
// has not begun.
type Backoff struct {
	began    time.Time // zero: it has not
	excluded time.Duration
	pause    time.Duration // the next one
}

// HasBegun reports whether there was a pause.
func (b *Backoff) HasBegun() bool { return !b.began.IsZero() }

// Exclude has d, which has just passed, not count.
func (b *Backoff) Exclude(d time.Duration) { b.excluded += d }

// Pause returns true after the next pause: 50 ms, 100 ms, 200 ms and so on up to
// 1 s, or what is left of limit, which is for all that counts. It returns false
// when ctx ends or done is closed before, and at once if nothing is left.
func (b *Backoff) Pause(ctx context.Context, limit time.Duration, done <-chan struct{}) bool {
	if !b.HasBegun() {
		*b = Backoff{began: time.Now(), pause: firstPause} // nothing was to count yet
	}
	left := limit - (time.Since(b.began) - b.excluded)
	if left <= 0 {
		return false
	}
	timer := time.NewTimer(min(b.pause, left))
	defer timer.Stop()
	b.pause = min(2*b.pause, lastPause)
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-done:
	}
	return false
}
