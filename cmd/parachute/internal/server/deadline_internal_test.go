package server

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
)

func TestDeadlineIsOnlyEverBroughtForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		began := time.Now()
		d := newDeadline(time.Hour)
		d.bringForward(time.Minute)
		d.bringForward(2 * time.Minute)
		is.Equal(d.at().Sub(began), time.Minute)
		is.True(!d.hasPassed())
		<-d.passed
		is.Equal(time.Since(began), time.Minute)
		is.True(d.hasPassed())
		d.bringForward(0) // it has passed
	})
}

func TestContextOfADeadlineEndsWithItAndNotBeforeItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		began := time.Now()
		d := newDeadline(time.Hour)
		soon, cancelSoon := d.context()
		defer cancelSoon()
		later, cancelLater := d.contextOf(2 * time.Minute)
		defer cancelLater()
		unused, cancelUnused := d.context()
		cancelUnused()
		is.True(unused.Err() != nil)
		d.bringForward(time.Minute)
		<-soon.Done()
		is.Equal(time.Since(began), time.Minute)
		<-later.Done()
		is.Equal(time.Since(began), 2*time.Minute)
	})
}

func TestWhatADeadlineBoundsIsCalledAgainWhenThatIsBroughtForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		began := time.Now()
		d := newDeadline(time.Hour)
		time.AfterFunc(time.Minute, func() { d.bringForward(10 * time.Second) })
		var deadlines, ends []time.Duration
		err := d.bound(func(ctx context.Context) error {
			at, _ := ctx.Deadline()
			deadlines = append(deadlines, at.Sub(began))
			<-ctx.Done()
			ends = append(ends, time.Since(began))
			return ctx.Err()
		})
		is.Equal(err, context.DeadlineExceeded)
		is.Equal(deadlines, []time.Duration{time.Hour, 70 * time.Second})
		is.Equal(ends, []time.Duration{time.Minute, 70 * time.Second})
	})
}

func TestWhatADeadlineBoundsIsCalledOnceIfThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		d, calls, broken := newDeadline(time.Hour), 0, errors.New("broken")
		is.Equal(d.bound(func(context.Context) error { calls++; return broken }), broken)
		is.NoErr(d.bound(func(context.Context) error { d.bringForward(time.Minute); calls++; return nil }))
		is.Equal(calls, 2)
		<-d.passed
	})
}
