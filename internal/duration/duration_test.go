package duration_test

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/duration"
)

type limits struct {
	Name  string
	Drain time.Duration
	Count int64
	Hold  time.Duration
}

func TestNumberThatWasToBeSecondsIsFound(t *testing.T) {
	for want, l := range map[string]limits{
		"": {Name: "a", Drain: time.Millisecond, Count: 5, Hold: -1},
		"limits.Drain: 5 is 5 ns: want 5 * time.Second":          {Drain: 5},
		"limits.Hold: 999 is 999 ns: want 999 * time.Second":     {Drain: time.Second, Hold: 999},
		"limits.Hold: 1µs is too short: want at least 1ms":       {Hold: time.Microsecond},
		"limits.Hold: 999.999µs is too short: want at least 1ms": {Hold: time.Millisecond - 1},
	} {
		t.Run(want, func(t *testing.T) {
			is := is.New(t)
			err := duration.Check(l)
			if want == "" {
				is.NoErr(err)
				return
			}
			is.True(err != nil)
			is.Equal(err.Error(), want)
		})
	}
}

func TestWhatIsTooShortIsRaised(t *testing.T) {
	is := is.New(t)
	l := limits{"a", 5, 5, -5}
	duration.Raise(&l)
	is.Equal(l, limits{"a", time.Millisecond, 5, -5})
	l = limits{Hold: time.Millisecond + 1}
	duration.Raise(&l)
	is.Equal(l, limits{Hold: time.Millisecond + 1})
}

func TestWhatIsLeftOpenIsFilledIn(t *testing.T) {
	is := is.New(t)
	l := limits{Drain: -1}
	duration.Fill(&l, limits{"b", time.Second, 7, time.Minute})
	is.Equal(l, limits{Drain: -1, Hold: time.Minute}) // the durations alone
}
