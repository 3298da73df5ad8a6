package trial_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/trial"
)

// An edition is a version of a service.
type edition struct {
	main, rollout []*fakeTarget
	isHalted      bool
	since         time.Time
	fallback      *edition
}

func (e *edition) Has(t *fakeTarget, ofRollout bool) bool {
	all := e.main
	if ofRollout {
		all = e.rollout
	}
	for _, mine := range all {
		if mine == t {
			return true
		}
	}
	return false
}

func (e *edition) IsHalted() bool     { return e.isHalted }
func (e *edition) Since() time.Time   { return e.since }
func (e *edition) Fallback() *edition { return e.fallback }

// A verdict is a judge who says what the test says.
type verdict struct {
	worse  string
	few    bool
	last   time.Duration // that of the last look
	looks  int
	script func(at time.Duration) // is called at each look; nil: nothing is
}

func (v *verdict) Evaluate(at time.Duration) string {
	if v.last, v.looks = at, v.looks+1; v.script != nil {
		v.script(at)
	}
	return v.worse
}
func (v *verdict) Note() string    { return "noted" }
func (v *verdict) IsDecided() bool { return !v.few }

// A change is the trial of what serves, after what has served before.
type change struct {
	*trial.Change[*fakeTarget, *edition]
	a, b, old            fakeTarget
	served               *edition
	isClosed, isChanging bool
	stop, done           chan struct{}
	reasons              []string
}

var ends = trial.Ends{Superseded: errors.New("superseded"), HandedOver: errors.New("handed over"), Stopped: errStopped}

func newChange(kind trial.Kind) *change {
	c := &change{stop: make(chan struct{}), done: make(chan struct{})}
	c.a.name, c.b.name = "a", "b"
	before := &edition{main: []*fakeTarget{&c.old}}
	brought := []*fakeTarget{&c.a, &c.b}
	c.served = &edition{main: brought, fallback: before}
	if kind != trial.OfMain {
		c.served = &edition{main: before.main, rollout: brought}
	}
	of := trial.Service[*edition]{
		Current:    func() *edition { return c.served },
		IsOpen:     func() bool { return !c.isClosed },
		IsChanging: func() bool { return c.isChanging },
		Stop:       c.stop,
	}
	takeBack := func(reason string) bool {
		c.reasons = append(c.reasons, reason)
		return true
	}
	c.Change = trial.NewChange(kind, of, before, brought, before.main, takeBack, c.done)
	return c
}

// bake has j judge c for a minute.
func (c *change) bake(j trial.Judge) (takenBack bool, notes []string, err error) {
	b := c.JudgedBy(j, time.Now(), ends)
	b.Clock = trial.NewClock(time.Minute)
	b.Tell = func(_ time.Duration, note string) { notes = append(notes, note) }
	takenBack, err = c.Bake(b)
	return takenBack, notes, err
}

func TestChangeIsOfTheVersionThatHasWhatWasBrought(t *testing.T) {
	is := is.New(t)
	for _, kind := range []trial.Kind{trial.OfMain, trial.OfRollout, trial.OfCanary} {
		c := newChange(kind)
		is.True(c.IsOf(c.served))
		is.True(!c.IsOf(nil))
		other := &edition{main: c.served.rollout, rollout: c.served.main} // where it is not on trial
		is.True(!c.IsOf(other))
	}
}

func TestWhatIsHaltedOrReplacedIsNotJudged(t *testing.T) {
	for name, replace := range map[string]func(*change){
		"halted":   func(c *change) { c.served.isHalted = true },
		"replaced": func(c *change) { c.served = &edition{main: []*fakeTarget{&c.old}} },
		"removed":  func(c *change) { c.served = nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				c := newChange(trial.OfMain)
				c.a.lost.Store(true)
				c.b.lost.Store(true)
				replace(c)
				takenBack, _ := c.Watch(drain(time.Second, false))
				is.True(!takenBack)
				is.Equal(len(c.reasons), 0)
			})
		})
	}
}

func TestWhatWasSeenBeforeAChangeServedIsNotJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		c := newChange(trial.OfRollout)
		c.served.since = time.Now().Add(-time.Minute)
		c.Watch(drain(time.Second, false))
		is.Equal(c.a.since, c.served.since)
	})
}

func TestUnhealthyAreThoseThatFailOrDoNotPass(t *testing.T) {
	is := is.New(t)
	c := newChange(trial.OfMain)
	is.Equal(len(c.Unhealthy(nil)), 0)
	is.Equal(c.Unhealthy([]*fakeTarget{&c.b}), []*fakeTarget{&c.b})
	c.a.unwell.Store(true)
	is.Equal(c.Unhealthy(nil), []*fakeTarget{&c.a})
	is.Equal(c.Unhealthy([]*fakeTarget{&c.b}), c.Brought)
	c.served = &edition{main: []*fakeTarget{&c.old}}
	is.Equal(len(c.Unhealthy(nil)), 0) // nobody wants to know any more
}

func TestJudgeIsAskedWithTheTimeThatItCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		c, j := newChange(trial.OfMain), new(verdict)
		takenBack, notes, err := c.bake(j)
		is.NoErr(err)
		is.True(!takenBack)
		is.Equal(j.last, time.Minute)
		is.Equal(notes[len(notes)-1], "noted")

		j = &verdict{worse: "slow"}
		takenBack, _, err = newChange(trial.OfMain).bake(j)
		is.NoErr(err)
		is.True(takenBack)
		is.Equal(j.looks, 1)
	})
}

func TestClockOfABakeStandsWhileTheServiceChangesOrIsHalted(t *testing.T) {
	for name, tt := range map[string]struct {
		kind  trial.Kind
		spoil func(*change)
		want  time.Duration
	}{
		"a bake, halted":     {trial.OfMain, func(c *change) { c.served.isHalted = true }, 2 * time.Minute},
		"a bake, changing":   {trial.OfMain, func(c *change) { c.isChanging = true }, 2 * time.Minute},
		"a canary, halted":   {trial.OfCanary, func(c *change) { c.served.isHalted = true }, 2 * time.Minute},
		"a canary, changing": {trial.OfCanary, func(c *change) { c.isChanging = true }, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				c, began := newChange(tt.kind), time.Now()
				tt.spoil(c)
				_, _, err := c.bake(&verdict{script: func(at time.Duration) {
					if at == time.Minute {
						c.served.isHalted, c.isChanging = false, false
					}
				}})
				is.NoErr(err)
				is.Equal(time.Since(began), tt.want)
			})
		})
	}
}

func TestBakeEndsWithoutAJudgement(t *testing.T) {
	for name, tt := range map[string]struct {
		kind trial.Kind
		end  func(*change)
		want error
	}{
		"when what was brought is replaced": {trial.OfMain, func(c *change) { c.served = &edition{main: []*fakeTarget{&c.old}} }, ends.Superseded},
		"when it returns to nothing":        {trial.OfMain, func(c *change) { c.served = &edition{main: c.Brought} }, ends.Superseded},
		"when it returns to another one":    {trial.OfMain, func(c *change) { c.served = &edition{main: c.Brought, fallback: new(edition)} }, ends.Superseded},
		"when the service is removed":       {trial.OfMain, func(c *change) { c.served = nil }, ends.Superseded},
		"when a canary is ended":            {trial.OfCanary, func(c *change) { c.served = &edition{main: c.Gone} }, ends.Superseded},
		"when a canary is beside another":   {trial.OfCanary, func(c *change) { c.served = &edition{main: []*fakeTarget{new(fakeTarget)}, rollout: c.Brought} }, ends.Superseded},
		"when it goes on elsewhere":         {trial.OfMain, func(c *change) { c.isClosed = true }, ends.HandedOver},
		"when it is stopped":                {trial.OfMain, func(c *change) { close(c.stop) }, ends.Stopped},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				c, began := newChange(tt.kind), time.Now()
				takenBack, _, err := c.bake(&verdict{script: func(at time.Duration) {
					if at == 10*time.Second {
						tt.end(c)
					}
				}})
				is.Equal(err, tt.want)
				is.True(!takenBack)
				is.True(time.Since(began) <= 10200*time.Millisecond) // at the next look
			})
		})
	}
}

func TestStepOfACanaryIsRepeatedWhileItsJudgeHasSeenTooLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		c, j, began := newChange(trial.OfCanary), &verdict{few: true}, time.Now()
		takenBack, err := c.TryOut(trial.Canary{Steps: []int{5}, Step: time.Second, Begin: func(int) (trial.Bake, error) {
			b := c.JudgedBy(j, began, ends)
			b.Tell = func(time.Duration, string) { j.few = time.Since(began) < 3*time.Second }
			return b, nil
		}})
		is.NoErr(err)
		is.True(!takenBack)
		is.Equal(time.Since(began), 3*time.Second)
	})
}
