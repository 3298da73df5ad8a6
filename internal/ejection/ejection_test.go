package ejection_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/ejection"
)

func always() bool { return true }

func TestRefusalsInARowAreCountedUntilAnAnswerOrAProbe(t *testing.T) {
	is := is.New(t)
	for _, forget := range []func(*ejection.State){(*ejection.State).Answered, func(s *ejection.State) { s.Passed() }} {
		var s ejection.State
		is.True(!s.Refused())
		is.True(!s.Refused())
		forget(&s)
		is.True(!s.Refused())
		is.True(!s.Refused())
		is.True(s.Refused())
		is.True(s.Refused()) // at least as many
	}
}

func TestWhoRefusesIsEjectedUntilTheNextProbePasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var s ejection.State
		began := time.Now()
		is.True(!s.IsEjected())
		is.True(s.Eject(false, always))
		time.Sleep(time.Minute)
		is.True(!s.Eject(true, always)) // it is ejected
		since, ok := s.Since()
		is.True(ok)
		is.Equal(since, began)
		is.True(s.Passed())
		is.True(!s.Passed()) // once
		is.True(!s.IsEjected())
		_, ok = s.Since()
		is.True(!ok)
	})
}

func TestEjectionOfWhomTheOthersCannotSpareIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var s ejection.State
		is.True(!s.Eject(true, func() bool {
			is.True(s.IsEjected()) // so that two cannot spare each other
			return false
		}))
		is.True(!s.IsEjected())
		is.True(s.Eject(true, always))
		time.Sleep(5*time.Second - 1)
		is.True(!s.Passed())
		time.Sleep(time.Nanosecond)
		is.True(s.Passed()) // it was the first one
	})
}

func TestOutlierIsEjectedForTwiceAsLongEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var s ejection.State
		for _, long := range []time.Duration{5, 10, 20, 40, 80, 160, 300, 300} {
			is.True(s.Eject(true, always))
			time.Sleep(long*time.Second - 1)
			is.True(!s.Passed()) // long
			time.Sleep(time.Nanosecond)
			is.True(s.Passed()) // long
		}
		time.Sleep(5*time.Minute + 1)
		is.True(s.Eject(true, always))
		time.Sleep(5 * time.Second)
		is.True(s.Passed()) // what is long ago does not count
	})
}
