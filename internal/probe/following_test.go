package probe_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/probe"
)

// A patient is a Subject that notes when it was checked. Eager checks have the results
// -1, -2 and so on.
type patient struct {
	schedule schedule
	regular  counter
	listener
	interval time.Duration
	enough   int // how many eager checks are enough; 0: there is no such number
	pauses   []time.Duration

	mu    sync.Mutex // guards eager
	eager []time.Time
}

func (p *patient) run(context.Context) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.eager = append(p.eager, time.Now())
	return -len(p.eager)
}

func (p *patient) pause(pause time.Duration) (time.Duration, bool) {
	p.pauses = append(p.pauses, pause)
	return pause, len(p.pauses) != p.enough
}

func (p *patient) subject() probe.Subject[string, int] {
	return probe.Subject[string, int]{Key: "same", Share: p.regular.check, Report: p.hear, Run: p.run, Interval: p.interval, Pause: p.pause}
}

// since returns how long after begin each eager check was made.
func (p *patient) since(begin time.Time) (all []time.Duration) {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.eager {
		all = append(all, at.Sub(begin))
	}
	return all
}

func milliseconds(all ...int) (durations []time.Duration) {
	for _, ms := range all {
		durations = append(durations, time.Duration(ms)*time.Millisecond)
	}
	return durations
}

func TestPausesOfEagerChecksDoubleUntilTheyReachTheInterval(t *testing.T) {
	for interval, want := range map[time.Duration][]time.Duration{
		time.Second:            milliseconds(0, 50, 150, 350, 750, 1550),
		400 * time.Millisecond: milliseconds(0, 50, 150, 350),
		20 * time.Millisecond:  milliseconds(0),
	} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			p := patient{interval: interval}
			begin := time.Now()
			defer p.schedule.Follow(p.subject()).Stop()
			last := want[len(want)-1]
			time.Sleep(last)
			is.Equal(p.since(begin), want)
			time.Sleep(3 * time.Second) // the schedule's interval is one second
			is.Equal(p.since(begin), want)
			results := p.heard()
			is.Equal(results[len(want):], []int{1, 2, 3}) // those of the schedule follow
			is.Equal(results[len(want)-1], -len(want))
		})
	}
}

func TestEagerChecksEndWhenEnoughIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		p := patient{interval: time.Second, enough: 3}
		begin := time.Now()
		defer p.schedule.Follow(p.subject()).Stop()
		time.Sleep(1150 * time.Millisecond)
		is.Equal(p.since(begin), milliseconds(0, 50, 150))
		is.Equal(p.heard(), []int{-1, -2, -3, 1}) // a second after the last one
		is.Equal(p.pauses, milliseconds(50, 100, 200))
	})
}

func TestPauseMayBeShortened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		p := patient{interval: time.Second}
		s := p.subject()
		s.Pause = func(pause time.Duration) (time.Duration, bool) { return min(pause, 70*time.Millisecond), true }
		begin := time.Now()
		defer p.schedule.Follow(s).Stop()
		time.Sleep(time.Second)
		is.Equal(p.since(begin), milliseconds(0, 50, 120, 190, 260, 330)) // as many as without
	})
}

func TestCheckThatIsCutOffIsNotReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		p := patient{interval: time.Second}
		s := p.subject()
		var ended atomic.Bool
		s.Run = func(ctx context.Context) int {
			<-ctx.Done()
			ended.Store(true)
			return 0
		}
		f := p.schedule.Follow(s)
		time.Sleep(time.Hour)
		f.Stop()
		is.True(ended.Load()) // Stop has waited for it
		is.Equal(p.heard(), nil)
		f.Stop() // again is no harm
		time.Sleep(time.Hour)
		is.Equal(p.heard(), nil)
		is.Equal(p.regular.made.Load(), int64(0)) // it has not joined the schedule
	})
}

func TestStopEndsChecksWheneverItComes(t *testing.T) {
	for name, after := range map[string]time.Duration{"in a pause": 400 * time.Millisecond, "when they are regular": 5 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				p := patient{interval: time.Second}
				f := p.schedule.Follow(p.subject())
				time.Sleep(after)
				before := slices.Clone(p.heard())
				begin := time.Now()
				f.Stop()
				is.Equal(time.Since(begin), time.Duration(0))
				time.Sleep(time.Minute)
				is.Equal(p.heard(), before)
				is.Equal(p.regular.closed.Load() == 1, after > time.Second) // the check is over for all
			})
		})
	}
}

func TestEagerChecksAreNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var p, q patient
		p.interval, p.enough = time.Second, 1
		defer p.schedule.Follow(p.subject()).Stop()
		time.Sleep(1500 * time.Millisecond)
		s := p.subject()
		q.enough = 2
		s.Run, s.Report, s.Pause = q.run, q.hear, q.pause
		defer p.schedule.Follow(s).Stop()
		time.Sleep(time.Second)
		is.Equal(q.heard(), []int{-1, -2, 2}) // its own, and from then on those of all
		is.Equal(p.heard(), []int{-1, 1, 2})
	})
}
