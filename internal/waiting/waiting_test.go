package waiting_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/waiting"
)

func TestRoomHasPlacesForNoMoreThanMayWait(t *testing.T) {
	is := is.New(t)
	var r waiting.Room
	is.True(r.Enter(2))
	is.True(r.Enter(2))
	is.True(!r.Enter(2))
	is.Equal(r.Inside(), int64(2)) // who may not wait does not count
	r.Leave()
	is.True(r.Enter(2))
	is.True(r.Enter(3))
	is.Equal(r.Inside(), int64(3))
	is.True(!new(waiting.Room).Enter(0))
	is.True(!new(waiting.Room).Enter(-1))
}

// pauses returns those of b until there are no more.
func pauses(t *testing.T, b *waiting.Backoff, limit time.Duration) []time.Duration {
	var all []time.Duration
	for {
		began := time.Now()
		more := b.Pause(t.Context(), limit, nil)
		if !more {
			if took := time.Since(began); took > 0 {
				t.Errorf("that there is no time left is said after %v", took)
			}
			return all
		}
		all = append(all, time.Since(began))
	}
}

func TestPausesDoubleUpToASecondAndFillTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		const ms = time.Millisecond
		is.Equal(pauses(t, new(waiting.Backoff), 3*time.Second), []time.Duration{50 * ms, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1000 * ms, 450 * ms})
		is.Equal(pauses(t, new(waiting.Backoff), 50*ms), []time.Duration{50 * ms})
		is.Equal(pauses(t, new(waiting.Backoff), 1), []time.Duration{1})
		is.Equal(len(pauses(t, new(waiting.Backoff), 0)), 0)
		is.Equal(len(pauses(t, new(waiting.Backoff), -1)), 0)
	})
}

func TestTimeBetweenPausesCountsUnlessItIsExcluded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var b waiting.Backoff
		is.True(!b.HasBegun())
		time.Sleep(time.Hour) // it has not begun
		b.Exclude(time.Hour)  // and that does not add to it
		is.True(b.Pause(t.Context(), time.Second, nil))
		is.True(b.HasBegun())
		time.Sleep(time.Minute)
		b.Exclude(time.Minute)
		time.Sleep(2 * time.Minute)
		b.Exclude(2 * time.Minute)
		is.True(b.Pause(t.Context(), time.Second, nil)) // 850 ms are left
		time.Sleep(850*time.Millisecond - 1)
		began := time.Now()
		is.True(b.Pause(t.Context(), time.Second, nil))
		is.Equal(time.Since(began), time.Duration(1))
		is.True(!b.Pause(t.Context(), time.Second, nil))
	})
}

func TestPauseEndsWithItsRequestAndWithWhatItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		is.True(!new(waiting.Backoff).Pause(ctx, time.Second, nil))
		is.Equal(time.Since(began), time.Millisecond)

		done := make(chan struct{})
		time.AfterFunc(time.Millisecond, func() { close(done) })
		is.True(!new(waiting.Backoff).Pause(t.Context(), time.Second, done))
		is.Equal(time.Since(began), 2*time.Millisecond)
	})
}

func TestEveryRepeatsUntilStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var at []time.Duration
		began := time.Now()
		stop := waiting.Every(time.Second, func() { at = append(at, time.Since(began)) })
		time.Sleep(3500 * time.Millisecond)
		stop()
		time.Sleep(time.Minute)
		is.Equal(at, []time.Duration{time.Second, 2 * time.Second, 3 * time.Second})
	})
}

func TestStopWaitsForTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		returned := false
		stop := waiting.Every(time.Second, func() {
			time.Sleep(time.Minute)
			returned = true
		})
		time.Sleep(1500 * time.Millisecond)
		stop()
		is.True(returned) // before stop did
	})
}

func TestSettlingEndsWhenItIsKnownOrAtItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var over waiting.Settling
		is.True(over.IsOver()) // the zero one

		known := make(chan struct{})
		s := waiting.Settle(known, time.Second)
		is.True(!s.IsOver())
		time.AfterFunc(300*time.Millisecond, func() { close(known) })
		began := time.Now()
		is.True(s.Await(t.Context()))
		is.Equal(time.Since(began), 300*time.Millisecond) // not the limit
		is.True(s.IsOver())

		s = waiting.Settle(make(chan struct{}), time.Second)
		began = time.Now()
		is.True(s.Await(t.Context()))
		is.Equal(time.Since(began), time.Second) // the limit
		is.True(s.IsOver())
	})
}

func TestWhoeverLeavesWaitsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s := waiting.Settle(make(chan struct{}), time.Second)
		is.True(!s.Await(ctx))
		is.True(!s.IsOver()) // for others
	})
}

func TestRetryPausesLongerEachTimeUntilItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		began := time.Now()
		var at []time.Duration
		waiting.Retry(time.Second, 5*time.Second, nil, func() bool {
			at = append(at, time.Since(began))
			return len(at) == 6
		})
		const s = time.Second
		is.Equal(at, []time.Duration{1 * s, 3 * s, 7 * s, 12 * s, 17 * s, 22 * s})
	})
}

func TestRetryTriesForALastTimeWhenItIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		done := make(chan struct{})
		time.AfterFunc(1500*time.Millisecond, func() { close(done) })
		began := time.Now()
		var at []time.Duration
		waiting.Retry(time.Second, 30*time.Second, done, func() bool {
			at = append(at, time.Since(began))
			return false
		})
		is.Equal(at, []time.Duration{time.Second, 1500 * time.Millisecond}) // and then no more
	})
}
