package lanes

import (
	"context"
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/gate"
)

// A Replaced is a set of lanes that are to be used no more.
type Replaced[T Target] struct {
	Lanes   Set[T]
	Streams time.Duration // how long streams may last, as in gate.Limits
}

// Empty calls replace, which puts new lanes in the place of all lanes and returns the
// old ones, and drains these. It repeats that until nobody is inside any lane. inside
// returns all lanes; whoever is inside one of them is inside one that replace returns
// next. Empty returns nil when nobody is inside and changed is closed, or ctx's error.
// It cuts off requests after limit. Where ctx has a deadline, the streams are closed in
// time before that, however long they may last and whatever requests are still there.
func Empty[T Target](ctx context.Context, changed <-chan struct{}, limit time.Duration, replace func() []Replaced[T], inside func() Set[T]) error {
	began := time.Now()
	unhurried, cancel := gate.Unhurried(ctx)
	defer cancel()
	for {
		done := unhurried.Done()
		if unhurried.Err() != nil {
			done = ctx.Done()
		}
		var draining sync.WaitGroup
		for _, r := range replace() {
			limits := gate.Limits{Requests: limit - time.Since(began), Streams: r.Streams}.Within(unhurried)
			draining.Go(func() { r.Lanes.Drain(limits, done) })
		}
		draining.Wait()
		select {
		case <-done:
		case <-changed:
			requests, streams := inside().Inside()
			if ctx.Err() == nil && requests+streams == 0 {
				return nil
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
