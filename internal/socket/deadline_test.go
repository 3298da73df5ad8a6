package socket_test

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/socket"
)

// A connection has a deadline of its own.
type connection struct {
	deadline time.Time
	times    int // that it was set
	err      error
}

func (c *connection) set(t time.Time) error {
	c.deadline = t
	c.times++
	return c.err
}

func TestEarlierDeadlineOfAConnectionIsLeftUntilItPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var c connection
		d := socket.Deadline{Apply: c.set}
		start := time.Now()
		is.NoErr(d.Set(time.Time{}))
		is.Equal(c.times, 0) // there was none
		is.NoErr(d.Set(start.Add(time.Minute)))
		is.Equal(c.deadline, start.Add(time.Minute))
		is.NoErr(d.Set(start.Add(time.Minute)))
		is.NoErr(d.Set(start.Add(time.Hour)))
		is.NoErr(d.Set(time.Time{}))
		is.NoErr(d.Set(start.Add(2 * time.Minute)))
		is.Equal(c.times, 1) // since the first is early enough
		is.NoErr(d.Set(start.Add(30 * time.Second)))
		is.Equal(c.deadline, start.Add(30*time.Second)) // an earlier one counts at once

		is.NoErr(d.Set(start.Add(2 * time.Minute)))
		time.Sleep(30 * time.Second)
		is.True(!d.HasPassed())
		until, again := d.Renew(time.Time{})
		is.True(again)
		is.Equal(until, start.Add(2*time.Minute))
		is.Equal(c.deadline, until)
		time.Sleep(90*time.Second - time.Nanosecond)
		is.True(!d.HasPassed())
		time.Sleep(time.Nanosecond)
		is.True(d.HasPassed())
		_, again = d.Renew(time.Time{})
		is.True(!again)

		is.NoErr(d.Set(time.Time{}))
		is.True(!d.HasPassed())
		until, again = d.Renew(time.Time{})
		is.True(again && until.IsZero() && c.deadline.IsZero()) // for ever
	})
}

func TestSetNowLeavesNoOtherDeadline(t *testing.T) {
	is := is.New(t)
	var c connection
	d := socket.Deadline{Apply: c.set}
	start := time.Now()
	is.NoErr(d.SetNow(start.Add(time.Minute)))
	is.NoErr(d.SetNow(start.Add(time.Hour)))
	is.Equal(c.deadline, start.Add(time.Hour))
	is.NoErr(d.SetNow(start.Add(time.Hour)))
	is.Equal(c.times, 2) // it was that already
	is.NoErr(d.SetNow(time.Time{}))
	is.True(c.deadline.IsZero())
}

func TestDeadlineThatExtendsIsPutOffForWhoTakesSomething(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var c connection
		d := socket.Deadline{Apply: c.set, Extends: true}
		start := time.Now()
		is.NoErr(d.Set(start.Add(time.Minute)))
		time.Sleep(time.Minute)
		since := start.Add(50 * time.Second)
		until, again := d.Renew(since)
		is.True(again)
		is.Equal(until, since.Add(time.Minute))                     // a minute after that
		is.Equal(c.deadline, start.Add(time.Minute+15*time.Second)) // when it is looked at again
		time.Sleep(50 * time.Second)
		_, again = d.Renew(since)
		is.True(!again)
		is.NoErr(d.Set(time.Now().Add(-time.Second)))
		_, again = d.Renew(time.Now())
		is.True(!again) // one in the past is for whoever is to be ended
		is.NoErr(d.Set(time.Time{}))
		until, again = d.Renew(since)
		is.True(again && until.IsZero())

		fixed := socket.Deadline{Apply: c.set}
		is.NoErr(fixed.Set(time.Now().Add(time.Minute)))
		time.Sleep(time.Minute)
		_, again = fixed.Renew(time.Now())
		is.True(!again)
	})
}

func TestInterruptedOperationMayGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var c connection
		d := socket.Deadline{Apply: c.set}
		due := time.Now().Add(time.Minute)
		is.NoErr(d.Set(due))
		is.NoErr(d.Wake(time.Unix(1, 0), time.Now()))
		is.True(c.deadline.Before(time.Now()))
		is.True(!d.HasPassed())
		_, again := d.Renew(time.Time{})
		is.True(again)
		is.Equal(c.deadline, due)
	})
}

func TestWakeComesNoLaterThanTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var c connection
		d := socket.Deadline{Apply: c.set}
		now := time.Now()
		is.NoErr(d.Wake(time.Time{}, now))
		is.Equal(c.times, 0)
		is.True(!d.IsApplied())
		is.NoErr(d.Wake(now.Add(time.Second), now))
		is.True(d.IsApplied())
		is.Equal(c.deadline, now.Add(time.Second))
		is.NoErr(d.Wake(now.Add(time.Second), now))
		is.NoErr(d.Wake(now.Add(2*time.Second), now))
		is.Equal(c.times, 1) // it will be woken before that
		is.NoErr(d.Wake(now.Add(time.Second/2), now))
		is.Equal(c.deadline, now.Add(time.Second/2))

		now = now.Add(time.Second / 2) // that has passed
		is.NoErr(d.Wake(now.Add(2*time.Second), now))
		is.Equal(c.deadline, now.Add(2*time.Second))
		is.NoErr(d.Set(now.Add(time.Second)))
		is.NoErr(d.Wake(now.Add(time.Hour), now))
		is.Equal(c.deadline, now.Add(time.Second))
		now = now.Add(time.Second / 4)
		is.NoErr(d.Wake(time.Unix(1, 0), now))
		is.NoErr(d.Wake(time.Time{}, now))
		is.Equal(c.deadline, now.Add(3*time.Second/4)) // the deadline
		is.NoErr(d.Set(time.Time{}))
		is.NoErr(d.Wake(time.Time{}, now))
		is.True(c.deadline.IsZero()) // none
	})
}

func TestClosedConnectionIsNotTriedAgain(t *testing.T) {
	is := is.New(t)
	c := connection{err: net.ErrClosed}
	d := socket.Deadline{Apply: c.set}
	is.Equal(d.Set(time.Now().Add(time.Minute)), net.ErrClosed)
	_, again := d.Renew(time.Time{})
	is.True(!again)
}
