package trial_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/trial"
)

// An oven is a bake of a minute, and what has been told of it.
type oven struct {
	*scene
	trial.Bake
	stands bool
	err    error
	worse  string
	note   string
	looks  int
	told   []string
	script func(at time.Duration) // changes the oven before a look; nil: nothing does
	stop   chan struct{}
	few    int  // so many bakes end undecided
	over   bool // the drain was told so
}

func newOven() *oven {
	o, began := &oven{scene: newScene(), stop: make(chan struct{})}, time.Now()
	o.Bake = trial.Bake{
		Clock: trial.NewClock(time.Minute),
		Drain: func(over <-chan struct{}) { <-over; o.over = true },
		Runs: func() (bool, error) {
			if o.script != nil {
				o.script(time.Since(began))
			}
			return !o.stands, o.err
		},
		Judge: func() (worse, note string) { o.looks++; return o.worse, o.note },
		Tell:  func(elapsed time.Duration, note string) { o.told = append(o.told, fmt.Sprint(elapsed, " ", note)) },
		IsDecided: func() bool {
			o.few--
			return o.few < 0
		},
		Stop:    o.stop,
		Stopped: errStopped,
	}
	return o
}

var errStopped = errors.New("stopped")

func (o *oven) run() (takenBack bool, err error) { return o.Trial.Bake(o.Bake) }

func TestBakeTakesItsTimeAndTellsOfEachSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := newOven()
		o.note = "too little traffic"
		began := time.Now()
		takenBack, err := o.run()
		is.NoErr(err)
		is.True(!takenBack)
		is.Equal(time.Since(began), time.Minute)
		is.Equal(o.looks, 300)
		is.Equal(len(o.told), 60)
		is.Equal(o.told[0], "1s ")
		is.Equal(o.told[58], "59s ")
		is.Equal(o.told[59], "1m0s too little traffic")
		is.True(o.over)
		is.Equal(o.Clock.Left(), time.Duration(0))
	})
}

func TestWhatIsWorseIsTakenBackAtTheNextLook(t *testing.T) {
	for reason, fail := range map[string]func(*oven){
		"slow":                 func(o *oven) { o.worse = "slow" },
		"a is lost; b is lost": func(o *oven) { o.a.lost.Store(true); o.b.lost.Store(true); o.worse = "slow" },
	} {
		t.Run(reason, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				o := newOven()
				o.script = func(at time.Duration) {
					if at > 10*time.Second {
						fail(o)
					}
				}
				began := time.Now()
				takenBack, err := o.run()
				is.NoErr(err)
				is.True(takenBack)
				is.Equal(time.Since(began), 10200*time.Millisecond)
				is.Equal(o.reasons, []string{reason})
				is.True(o.over)
			})
		})
	}
}

func TestWhatIsWorseStaysWhereNothingIsBetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := newOven()
		o.old.down.Store(true)
		o.older.down.Store(true)
		o.worse, o.note = "slow", "it is overruled"
		takenBack, err := o.run()
		is.NoErr(err)
		is.True(!takenBack)
		is.Equal(o.told[58], "59s ")
		is.Equal(o.told[59], "1m0s not taken back, since what served before is not well: slow")
	})
}

func TestClockStandsWhileNothingCanBeJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := newOven()
		o.script = func(at time.Duration) {
			o.stands, o.worse = false, ""
			if at > 20*time.Second && at <= 10*time.Minute {
				o.stands, o.worse = true, "slow"
			}
		}
		began := time.Now()
		takenBack, err := o.run()
		is.NoErr(err)
		is.True(!takenBack)
		is.Equal(time.Since(began), 640*time.Second)
		is.Equal(o.looks, 5*640) // figures are taken in, whatever they are good for
		is.Equal(o.told[19:22], []string{"20s ", "20.2s ", "21.2s "})
		is.Equal(len(o.reasons), 0)
	})
}

func TestBakeEndsWithAnErrorWhereItMakesNoSense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := newOven()
		replaced := errors.New("replaced")
		o.script = func(at time.Duration) {
			if at > time.Second {
				o.err, o.worse = replaced, "slow"
			}
		}
		began := time.Now()
		takenBack, err := o.run()
		is.Equal(err, replaced)
		is.True(!takenBack)
		is.Equal(time.Since(began), 1200*time.Millisecond)
		is.Equal(len(o.reasons), 0)
		is.True(o.over)
	})
}

func TestBakeThatIsStoppedEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := newOven()
		time.AfterFunc(1050*time.Millisecond, func() { close(o.stop) })
		began := time.Now()
		takenBack, err := o.run()
		is.Equal(err, errStopped)
		is.True(!takenBack)
		is.Equal(time.Since(began), 1050*time.Millisecond)
		is.True(o.over)
	})
}

func TestClockGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			left, ago time.Duration
			ran       bool
			want      time.Duration
		}{
			{40 * time.Second, 25 * time.Second, true, 15 * time.Second},
			{40 * time.Second, 31 * time.Second, true, 10 * time.Second},
			{40 * time.Second, time.Hour, true, 10 * time.Second}, // somebody has to look
			{4 * time.Second, time.Hour, true, 4 * time.Second},
			{40 * time.Second, time.Hour, false, 40 * time.Second}, // it stood
		} {
			is := is.New(t)
			c := trial.ResumeClock(time.Minute, tt.left, time.Now().Add(-tt.ago), tt.ran)
			is.Equal(c.Left(), tt.want)
		}
	})
}

func TestResumedBakeTellsTheTimeInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		o := newOven()
		o.Clock = trial.ResumeClock(time.Minute, 20*time.Second, time.Now(), true)
		began := time.Now()
		_, err := o.run()
		is.NoErr(err)
		is.Equal(time.Since(began), 20*time.Second)
		is.Equal(o.told[0], "41s ")
		is.Equal(o.told[len(o.told)-1], "1m0s ")
	})
}
