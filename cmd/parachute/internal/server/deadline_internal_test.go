package server

import (
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
