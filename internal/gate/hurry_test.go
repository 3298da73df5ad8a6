package gate_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/gate"
)

func TestStreamsAreClosedASecondBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		unhurried, stop := gate.Unhurried(ctx)
		defer stop()
		limits := gate.Limits{Requests: time.Minute, Streams: time.Hour}
		is.Equal(limits.Within(unhurried), gate.Limits{Requests: time.Minute, Streams: 9 * time.Second})
		limits.Streams = time.Second
		is.Equal(limits.Within(unhurried), limits) // they end before that
		<-unhurried.Done()
		is.NoErr(ctx.Err())
		is.Equal(limits.Within(unhurried), gate.Limits{Requests: time.Minute, Streams: -1}) // at once
	})
}

func TestStreamsHaveTheirTimeWhereThereIsNoDeadline(t *testing.T) {
	is := is.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	unhurried, stop := gate.Unhurried(ctx)
	defer stop()
	limits := gate.Limits{Requests: time.Minute, Streams: time.Hour}
	is.Equal(limits.Within(unhurried), limits)
	cancel()
	is.Equal(limits.Within(unhurried).Streams, time.Duration(-1))
}
