package probe_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/probe"
)

type (
	schedule = probe.Schedule[string, int]
	member   = probe.Subscriber[string, int]
)

// A counter is a check that counts how often it was made, which is its result.
type counter struct {
	made, closed atomic.Int64
	takes        time.Duration
}

// check returns the check as Join wants it.
func (c *counter) check() probe.Check[int] {
	return probe.Check[int]{Run: c.run, Interval: time.Second, Close: func() { c.closed.Add(1) }}
}

func (c *counter) run(ctx context.Context) int {
	select {
	case <-time.After(c.takes):
	case <-ctx.Done():
	}
	return int(c.made.Add(1))
}

// A listener keeps what is reported.
type listener struct {
	mu      sync.Mutex // guards results
	results []int
}

func (l *listener) hear(result int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.results = append(l.results, result)
}

// heard returns what was reported so far.
func (l *listener) heard() []int {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.results)
}

func TestCheckIsMadeOnceForAllWhoWantTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var s schedule
		var first, second, other counter
		var a, b, c listener
		for _, m := range []*member{
			s.Join("same", first.check, a.hear),
			s.Join("same", second.check, b.hear),
			s.Join("other", other.check, c.hear),
		} {
			defer m.Leave()
		}
		time.Sleep(3 * time.Second)
		for _, l := range []*listener{&a, &b, &c} {
			is.Equal(l.heard(), []int{1, 2, 3}) // one an interval, the first after one
		}
		is.Equal(second.made.Load(), int64(0)) // there was one already
		is.Equal(other.made.Load(), int64(3))
	})
}

func TestPauseBeginsWhenTheCheckHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var s schedule
		slow := counter{takes: 5 * time.Second}
		var a listener
		defer s.Join("same", slow.check, a.hear).Leave()
		time.Sleep(12 * time.Second)
		is.Equal(a.heard(), []int{1, 2})
	})
}

func TestCheckGoesOnForOthersWhenTheFirstOneLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var s schedule
		slow := counter{takes: 500 * time.Millisecond}
		var a, b listener
		one := s.Join("same", slow.check, a.hear)
		two := s.Join("same", slow.check, b.hear)
		time.Sleep(1200 * time.Millisecond) // a check is under way
		begin := time.Now()
		one.Leave()
		is.Equal(time.Since(begin), time.Duration(0)) // it is not waited for
		time.Sleep(time.Second)
		is.Equal(a.heard(), []int(nil))
		is.Equal(b.heard(), []int{1})
		time.Sleep(time.Second)
		is.Equal(b.heard(), []int{1, 2})
		is.Equal(slow.closed.Load(), int64(0))
		two.Leave()
		is.Equal(slow.closed.Load(), int64(1))
	})
}

func TestCheckUnderWayIsNothingToWhoJoinsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var s schedule
		slow := counter{takes: 500 * time.Millisecond}
		var a, b listener
		defer s.Join("same", slow.check, a.hear).Leave()
		time.Sleep(1200 * time.Millisecond)
		defer s.Join("same", slow.check, b.hear).Leave()
		time.Sleep(time.Second)
		is.Equal(a.heard(), []int{1})
		is.Equal(b.heard(), []int(nil)) // that began before
		time.Sleep(time.Second)
		is.Equal(b.heard(), []int{2})
	})
}

func TestLastOneToLeaveEndsTheCheck(t *testing.T) {
	for name, after := range map[string]time.Duration{"between two": 500 * time.Millisecond, "under way": 1500 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var s schedule
				endless := counter{takes: time.Hour}
				var a listener
				m := s.Join("same", endless.check, a.hear)
				time.Sleep(after)
				begin := time.Now()
				m.Leave()
				is.Equal(time.Since(begin), time.Duration(0)) // the check is cut
				is.Equal(endless.closed.Load(), int64(1))
				made := endless.made.Load()
				m.Leave() // again is no harm
				time.Sleep(time.Minute)
				is.Equal(endless.made.Load(), made)
				is.Equal(endless.closed.Load(), int64(1))
				is.Equal(a.heard(), []int(nil)) // of a check that was cut nothing comes

				var again counter
				defer s.Join("same", again.check, a.hear).Leave()
				time.Sleep(time.Second)
				is.Equal(a.heard(), []int{1}) // who comes now begins anew
			})
		})
	}
}

func TestLeaveWaitsForAReportThatIsBeingMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var s schedule
		var c counter
		var reported atomic.Bool
		m := s.Join("same", c.check, func(int) {
			time.Sleep(time.Second) // what a report does
			reported.Store(true)
		})
		time.Sleep(1500 * time.Millisecond)
		m.Leave()
		is.True(reported.Load())
	})
}

func TestEverybodyMayComeAndGoAtAnyTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var s schedule
		var c counter
		var opened atomic.Int64
		check := func() probe.Check[int] {
			opened.Add(1)
			return probe.Check[int]{Run: c.run, Interval: time.Millisecond, Close: func() { c.closed.Add(1) }}
		}
		var visitors sync.WaitGroup
		for i := range 50 {
			visitors.Go(func() {
				for j := range 20 {
					var left atomic.Bool
					m := s.Join(fmt.Sprint(i%3), check, func(int) {
						if left.Load() {
							t.Error("a report came after Leave")
						}
					})
					time.Sleep(time.Duration((i+j)%5) * time.Millisecond)
					m.Leave()
					left.Store(true)
				}
			})
		}
		visitors.Wait()
		is.True(opened.Load() > 0)
		is.Equal(c.closed.Load(), opened.Load()) // each has an end
	})
}
