package health_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/health"
)

// isSettled reports whether something is known of the targets of t.
func isSettled(t *health.Tracker) bool {
	select {
	case <-t.Settled():
		return true
	default:
		return false
	}
}

func TestTargetsAreSettledWhenOneProbeHasPassed(t *testing.T) {
	is := is.New(t)
	tracker := health.NewTracker(3, false)
	tracker.Note(true, false)
	is.True(!isSettled(tracker))
	tracker.Note(false, true) // of the same target
	is.True(isSettled(tracker))
	tracker.Note(true, true) // and stay so
	is.True(isSettled(tracker))
}

func TestTargetsAreSettledWhenEachWasProbed(t *testing.T) {
	is := is.New(t)
	for _, thorough := range []bool{false, true} {
		tracker := health.NewTracker(2, thorough)
		tracker.Note(true, false)
		tracker.Note(false, false)
		is.True(!isSettled(tracker)) // of one nothing is known
		tracker.Note(true, false)
		is.True(isSettled(tracker))
	}
}

func TestThoroughTrackerWaitsForEachTarget(t *testing.T) {
	is := is.New(t)
	tracker := health.NewTracker(2, true)
	tracker.Note(true, true)
	tracker.Note(false, true)
	is.True(!isSettled(tracker))
	tracker.Note(true, false)
	is.True(isSettled(tracker))
}

func TestAwaitLooksWheneverAProbeHasEnded(t *testing.T) {
	for name, limit := range map[string]time.Duration{"with a limit": 2 * time.Second, "without": -1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				tracker := health.NewTracker(1, false)
				var isHealthy atomic.Bool
				looks := 0
				healthy := func() bool { looks++; return isHealthy.Load() }
				result := make(chan error, 1)
				go func() { result <- tracker.Await(t.Context(), limit, healthy) }()
				synctest.Wait()
				is.Equal(looks, 1)
				tracker.Note(true, false)
				synctest.Wait()
				is.Equal(looks, 2)
				isHealthy.Store(true)
				time.Sleep(time.Second)
				is.Equal(looks, 2) // nothing has ended
				tracker.Note(false, true)
				is.NoErr(<-result)
				is.Equal(looks, 3)
			})
		})
	}
}

func TestAwaitDoesNotMissWhatEndedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		tracker := health.NewTracker(1, false)
		is.NoErr(tracker.Await(t.Context(), 0, func() bool { return true })) // at once
		looks := 0
		tracker.Note(true, false)
		tracker.Note(false, true) // does not wait for who listens
		is.NoErr(tracker.Await(t.Context(), -1, func() bool { looks++; return looks == 2 }))
	})
}

func TestAwaitEndsAtItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		never := func() bool { return false }
		tracker := health.NewTracker(1, false)
		begin := time.Now()
		is.Equal(tracker.Await(t.Context(), 30*time.Second, never), health.ErrTimeout)
		is.Equal(time.Since(begin), 30*time.Second)
		is.Equal(tracker.Await(t.Context(), 0, never), health.ErrTimeout)
		is.Equal(time.Since(begin), 30*time.Second)

		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err := tracker.Await(ctx, -1, never)
		is.True(errors.Is(err, context.DeadlineExceeded))
		is.Equal(time.Since(begin), time.Hour+30*time.Second) // there was no other limit
	})
}
