package trial_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/trial"
)

// A fakeTarget is lost, and answers, as the test says.
type fakeTarget struct {
	name   string
	lost   atomic.Bool   // it is known to be
	down   atomic.Bool   // it refuses connections
	unwell atomic.Bool   // it does not pass
	takes  time.Duration // to answer
	asked  atomic.Int64

	since time.Time // of the last call of Lost
}

func (f *fakeTarget) Lost(since time.Time) string {
	if f.since = since; f.lost.Load() {
		return f.name + " is lost"
	}
	return ""
}

func (f *fakeTarget) IsUnhealthy(since time.Time) bool {
	f.since = since
	return f.unwell.Load()
}

func (f *fakeTarget) Ask(ctx context.Context) (passes bool, lost string) {
	f.asked.Add(1)
	select {
	case <-ctx.Done():
		return false, ""
	case <-time.After(f.takes):
	}
	if f.down.Load() {
		return false, f.name + " is down"
	}
	return !f.unwell.Load(), ""
}

// A scene is a trial of two targets, after two others.
type scene struct {
	trial.Trial[*fakeTarget]
	a, b, old, older fakeTarget
	isHalted         atomic.Bool
	since            time.Time
	reasons          []string // why it was taken back
	cannot           int      // how many calls of TakeBack cannot do it
	done             chan struct{}
}

func newScene() *scene {
	s := &scene{since: time.Now().Add(-time.Hour), done: make(chan struct{})}
	s.a.name, s.b.name = "a", "b"
	s.Trial = trial.Trial[*fakeTarget]{
		Brought:  []*fakeTarget{&s.a, &s.b},
		Gone:     []*fakeTarget{&s.old, &s.older},
		IsJudged: func() (time.Time, bool) { return s.since, !s.isHalted.Load() },
		TakeBack: func(reason string) bool {
			s.reasons = append(s.reasons, reason)
			return len(s.reasons) > s.cannot
		},
		Done: s.done,
	}
	return s
}

// drain returns a drain that lasts for d, unless it is ended before.
func drain(d time.Duration, ask bool) func(<-chan struct{}) bool {
	return func(ending <-chan struct{}) bool {
		select {
		case <-time.After(d):
		case <-ending:
		}
		return ask
	}
}

func TestSwitchIsTakenBackOnceAllTargetsAreLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene()
		s.old.unwell.Store(true) // the older one is enough
		s.a.lost.Store(true)
		time.AfterFunc(2*time.Second, func() { s.b.lost.Store(true) })
		began := time.Now()
		takenBack, failing := s.Watch(drain(time.Hour, true))
		is.True(takenBack)
		is.Equal(len(failing), 0)
		is.Equal(s.reasons, []string{"a is lost; b is lost"})
		is.True(s.a.since.Equal(s.since))
		is.True(time.Since(began) <= 2100*time.Millisecond) // the drain was ended, and did not take an hour
		is.Equal(s.a.asked.Load(), int64(0))                // what is known is enough
	})
}

func TestReasonIsGivenOnceForATargetThatIsThereTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene()
		s.b.name = "a"
		s.a.lost.Store(true)
		s.b.lost.Store(true)
		s.Watch(drain(time.Second, false))
		is.Equal(s.reasons, []string{"a is lost"})
	})
}

func TestNothingIsReturnedToUnlessItIsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene()
		for _, f := range []*fakeTarget{&s.old, &s.older} {
			f.unwell.Store(true)
		}
		s.a.lost.Store(true)
		s.b.lost.Store(true)
		takenBack, _ := s.Watch(drain(time.Second, false))
		is.True(!takenBack)
		is.Equal(len(s.reasons), 0)
		is.True(s.older.asked.Load() >= 9) // at each look
	})
}

func TestNothingIsTakenBackThatIsNotJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene()
		s.isHalted.Store(true)
		for _, f := range []*fakeTarget{&s.a, &s.b} {
			f.lost.Store(true)
			f.down.Store(true)
		}
		takenBack, failing := s.Watch(drain(time.Second, true))
		is.True(!takenBack)
		is.Equal(len(s.reasons), 0)
		is.Equal(failing, s.Brought) // it is told all the same
	})
}

func TestTakeBackIsTriedAgainAtTheNextLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene()
		s.cannot = 2
		s.a.lost.Store(true)
		s.b.lost.Store(true)
		began := time.Now()
		takenBack, _ := s.Watch(drain(time.Hour, false))
		is.True(takenBack)
		is.Equal(len(s.reasons), 3)
		is.Equal(time.Since(began), 300*time.Millisecond)
	})
}

func TestLastLookIsAfterTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene()
		takenBack, _ := s.Watch(func(<-chan struct{}) bool {
			s.a.lost.Store(true)
			s.b.lost.Store(true)
			return false
		})
		is.True(takenBack)
		is.Equal(s.a.asked.Load(), int64(0))
	})
}

func TestLastLookAsksWhatNoProbeHasShownYet(t *testing.T) {
	for _, tt := range []struct {
		name             string
		aDown, bDown     bool
		bUnwell, oldWell bool
		reasons          []string
		failing          []string
	}{
		{name: "all are well", oldWell: true},
		{name: "one is down", bDown: true, oldWell: true, failing: []string{"b"}},
		{name: "one is down, and one does not pass", aDown: true, bUnwell: true, oldWell: true, failing: []string{"a", "b"}},
		{name: "all are down", aDown: true, bDown: true, oldWell: true, reasons: []string{"a is down; b is down"}},
		{name: "both sides are down", aDown: true, bDown: true, failing: []string{"a", "b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				s := newScene()
				s.b.takes = time.Second
				takenBack, failing := s.Watch(func(<-chan struct{}) bool {
					s.a.down.Store(tt.aDown)
					s.b.down.Store(tt.bDown)
					s.b.unwell.Store(tt.bUnwell)
					s.old.down.Store(!tt.oldWell)
					s.older.down.Store(!tt.oldWell)
					return true
				})
				is.Equal(takenBack, tt.reasons != nil)
				is.Equal(s.reasons, tt.reasons)
				var names []string
				if !takenBack {
					for _, f := range failing {
						names = append(names, f.name)
					}
				}
				is.Equal(names, tt.failing)
			})
		})
	}
}

func TestNobodyIsAskedUnlessTheDrainSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene()
		s.a.down.Store(true)
		takenBack, failing := s.Watch(drain(time.Second, false))
		is.True(!takenBack)
		is.Equal(len(failing), 0)
		is.Equal(s.a.asked.Load(), int64(0))
	})
}

func TestDoneEndsTheDrainAndDecidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene()
		time.AfterFunc(50*time.Millisecond, func() { close(s.done) })
		began := time.Now()
		takenBack, _ := s.Watch(drain(time.Hour, false))
		is.True(!takenBack)
		is.Equal(time.Since(began), 50*time.Millisecond)
	})
}

func TestDoneEndsTheAsking(t *testing.T) {
	for name, lost := range map[string]bool{"whether they are well": true, "those that are new": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				s := newScene()
				for _, f := range []*fakeTarget{&s.a, &s.b} {
					f.lost.Store(lost)
					f.takes = time.Hour
				}
				s.a.takes = 0
				s.a.down.Store(true)
				s.old.takes, s.older.takes = time.Hour, time.Hour
				time.AfterFunc(2*time.Second, func() { close(s.done) })
				began := time.Now()
				takenBack, failing := s.Watch(drain(time.Second, true))
				is.True(!takenBack)
				is.Equal(len(failing), 0) // half of the answers is none
				is.Equal(time.Since(began), 2*time.Second)
			})
		})
	}
}

func TestFirstThatIsWellIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene()
		s.old.takes = time.Hour
		s.a.lost.Store(true)
		s.b.lost.Store(true)
		began := time.Now()
		takenBack, _ := s.Watch(drain(time.Minute, false))
		is.True(takenBack)
		is.Equal(time.Since(began), 100*time.Millisecond)
	})
}

func TestFailingAreThoseThatDoNotPassWhenTheyAreAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		well, ill, down := &fakeTarget{takes: time.Second}, &fakeTarget{takes: time.Minute}, &fakeTarget{}
		ill.unwell.Store(true)
		down.down.Store(true)
		all := []*fakeTarget{ill, well, down}
		is.Equal(trial.Failing(all, nil), []*fakeTarget{ill, down})
		is.Equal(len(trial.Failing([]*fakeTarget{well}, nil)), 0)
		is.Equal(len(trial.Failing[*fakeTarget](nil, nil)), 0)
		done := make(chan struct{})
		time.AfterFunc(2*time.Second, func() { close(done) })
		is.Equal(len(trial.Failing(all, done)), 0) // half of the answers is none
	})
}
