package probe

import (
	"context"
	"time"
)

// firstPause is the pause between the first two eager checks of a Subject.
const firstPause = 50 * time.Millisecond

// A Subject is what is checked first eagerly, by checks of its own, and then at an
// interval, by those of the Schedule, which it may share with others.
type Subject[K comparable, R any] struct {
	Key    K
	Share  func() Check[R] // returns the check for Key, as Join takes it
	Report func(R)         // is called with each result, one at a time

	// Run makes an eager check. It must return soon when ctx ends.
	Run func(ctx context.Context) R

	// Interval ends the eager checks when their pauses have become as long.
	Interval time.Duration

	// Pause is called after the Report of an eager check with the pause that would
	// follow, and may shorten it. If it returns false, that was the last eager check.
	Pause func(time.Duration) (time.Duration, bool)
}

// A Following is a Subject that is being checked.
type Following[K comparable, R any] struct {
	stop    context.CancelFunc // ends the eager checks
	settled chan struct{}      // closed when these have ended
	regular *Subscriber[K, R]  // nil: they were stopped. Valid once settled is closed
}

// Follow begins to check a Subject: at once, and then after pauses of 50, 100, 200 ms
// and so on. When its Pause says that this is enough, or the pauses reach its Interval,
// the Subject joins the Schedule. So it gets no result of a check that began before
// Follow was called. The caller must call Stop.
func (s *Schedule[K, R]) Follow(subject Subject[K, R]) *Following[K, R] {
	ctx, stop := context.WithCancel(context.Background())
	f := &Following[K, R]{stop: stop, settled: make(chan struct{})}
	go f.checkEagerly(ctx, s, subject) // which keeps none of them
	return f
}

func (f *Following[K, R]) checkEagerly(ctx context.Context, schedule *Schedule[K, R], s Subject[K, R]) {
	defer close(f.settled)
	for pause := firstPause; ; pause *= 2 {
		result := s.Run(ctx)
		if ctx.Err() != nil {
			return // the check was cut off, and says nothing
		}
		s.Report(result)
		wait, more := s.Pause(pause)
		if !more || pause >= s.Interval {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
	f.regular = schedule.Join(s.Key, s.Share, s.Report)
}

// Stop ends the checks. After it returns, none of the Subject's funcs runs, but for a
// check that others share. It must not be called by the Subject's Report. It may be
// called more than once.
func (f *Following[K, R]) Stop() {
	f.stop()
	<-f.settled
	if f.regular != nil {
		f.regular.Leave()
	}
}
