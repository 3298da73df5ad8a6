// Package waiting bounds how many requests wait for something, and for how long. It
// repeats what is done while something is waited for, or until it succeeds.
package waiting

import (
	"context"
	"sync/atomic"
	"time"
)

// A Room counts the requests that wait. The zero Room is empty. Its methods may be
// called from any goroutine.
type Room struct{ inside atomic.Int64 }

// Enter reports whether one more request may wait without there being more than most.
// If it returns true, the caller must call Leave after the wait.
func (r *Room) Enter(most int) bool {
	if r.inside.Add(1) > int64(most) {
		r.Leave()
		return false
	}
	return true
}

// Leave ends a wait that Enter has allowed.
func (r *Room) Leave() { r.inside.Add(-1) }

// Inside returns how many requests wait.
func (r *Room) Inside() int64 { return r.inside.Load() }

const (
	// The pauses of a Backoff begin with firstPause and double up to lastPause.
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
)

// A Backoff makes the pauses between the attempts of one request. It begins with the
// first pause. All time from then on counts towards its limit, except what Exclude
// excludes. The zero Backoff has not begun.
type Backoff struct {
	began    time.Time // zero: it has not begun
	excluded time.Duration
	pause    time.Duration // the next one
}

// HasBegun reports whether Pause was called.
func (b *Backoff) HasBegun() bool { return !b.began.IsZero() }

// Exclude excludes d, which must have just passed, from the time that counts.
func (b *Backoff) Exclude(d time.Duration) { b.excluded += d }

// Pause waits for the next pause, and then returns true. The pauses take 50 ms,
// 100 ms, 200 ms and so on up to 1 s, but no longer than what is left of limit, the
// limit of the time that counts. Pause returns false if ctx ends or done is closed
// before, and at once if nothing is left of limit.
func (b *Backoff) Pause(ctx context.Context, limit time.Duration, done <-chan struct{}) bool {
	if !b.HasBegun() {
		*b = Backoff{began: time.Now(), pause: firstPause} // drops what was excluded before
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

// Every calls f after each pause, until stop is called. When stop returns, f has
// returned, and is not called again. The caller must call stop, once.
func Every(pause time.Duration, f func()) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go repeat(pause, f, done, ended)
	return func() {
		close(done)
		<-ended
	}
}

func repeat(pause time.Duration, f func(), done <-chan struct{}, ended chan<- struct{}) {
	defer close(ended)
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			f()
		}
	}
}

// Retry calls try, after each of ever longer pauses, until it returns true. The pauses
// begin with first and double up to last. When done is closed, try is called without a
// further pause, and that is the last time.
func Retry(first, last time.Duration, done <-chan struct{}, try func() bool) {
	for pause := first; ; pause = min(2*pause, last) {
		isLast := false
		select {
		case <-done:
			isLast = true
		case <-time.After(pause):
		}
		if try() || isLast {
			return
		}
	}
}

// A Settling is a time in which requests wait for something to be known. It ends when
// that is known, but it lasts no longer than its limit. The zero Settling is over.
type Settling struct {
	known <-chan struct{} // nil: it is over
	until time.Time
}

// Settle begins a Settling, which ends when known is closed, or after limit.
func Settle(known <-chan struct{}, limit time.Duration) Settling {
	return Settling{known, time.Now().Add(limit)}
}

// IsOver reports whether nothing has to be waited for.
func (s *Settling) IsOver() bool {
	if s.known == nil {
		return true
	}
	select {
	case <-s.known:
		return true
	default:
		return !time.Now().Before(s.until)
	}
}

// Await waits for the end, and reports false if ctx ended before.
func (s *Settling) Await(ctx context.Context) bool {
	limit := time.NewTimer(time.Until(s.until))
	defer limit.Stop()
	select {
	case <-s.known:
	case <-limit.C:
	case <-ctx.Done():
		return false
	}
	return true
}
