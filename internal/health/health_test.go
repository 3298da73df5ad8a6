package health_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/ejection"
	"github.com/shahnk19/parachute/internal/health"
)

// A bed is a State whose probes are kept by name.
type bed struct {
	health.State[string]
}

func newBed(rise, fall int) *bed {
	b := new(bed)
	b.Init(rise, fall)
	return b
}

// probe records a probe that began now, and reports whether the health has changed.
func (b *bed) probe(passed bool) bool {
	_, changed := b.Record(health.Result{Began: time.Now(), Passed: passed}, "")
	return changed
}

// refuse has so many requests in a row find that the target takes no connections.
func (b *bed) refuse(n int) {
	for range n {
		b.Ejection.Refused()
	}
}

// eject ejects b's target.
func (b *bed) eject(outlier bool) { b.Ejection.Eject(outlier, func() bool { return true }) }

func TestHealthChangesAfterRiseAndFallProbesInARow(t *testing.T) {
	is := is.New(t)
	b := newBed(2, 3)
	is.Equal(b.Snapshot().Health, health.Unknown)
	for _, step := range []struct {
		passed, changed bool
		health          health.Health
	}{
		{true, false, health.Unknown},
		{false, false, health.Unknown}, // which breaks the row
		{true, false, health.Unknown},
		{true, true, health.Healthy},
		{true, false, health.Healthy},
		{false, false, health.Healthy},
		{false, false, health.Healthy},
		{true, false, health.Healthy},
		{false, false, health.Healthy},
		{false, false, health.Healthy},
		{false, true, health.Unhealthy},
		{false, false, health.Unhealthy},
		{true, false, health.Unhealthy},
		{true, true, health.Healthy},
	} {
		is.Equal(b.probe(step.passed), step.changed)
		is.Equal(b.Snapshot().Health, step.health)
		is.Equal(b.Passes(), step.health == health.Healthy)
		is.Equal(b.IsHealthy(), step.health == health.Healthy)
		is.Equal(b.IsUnhealthy(time.Time{}), step.health == health.Unhealthy)
	}
}

func TestTargetThatFailsFromTheBeginningBecomesUnhealthy(t *testing.T) {
	is := is.New(t)
	b := newBed(1, 2)
	is.Equal(b.probe(false), false)
	is.True(!b.IsUnhealthy(time.Time{})) // it is not known yet
	is.Equal(b.probe(false), true)
	is.True(b.IsUnhealthy(time.Time{}))
}

func TestProbesAreCountedAndTheLastOneIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(1, 1)
		begin := time.Now()
		is.Equal(b.Snapshot(), health.Snapshot[string]{Health: health.Unknown, Since: begin})
		time.Sleep(time.Second)
		n, changed := b.Record(health.Result{Began: time.Now(), Passed: true}, "first")
		is.True(n == 1 && changed)
		healthy := time.Now()
		is.Equal(b.Snapshot(), health.Snapshot[string]{Health: health.Healthy, Since: healthy, Probes: 1, Last: "first"})
		time.Sleep(time.Second)
		n, changed = b.Record(health.Result{Began: time.Now(), Passed: true}, "second")
		is.True(n == 2 && !changed)
		is.Equal(b.Snapshot(), health.Snapshot[string]{Health: health.Healthy, Since: healthy, Probes: 2, Last: "second"}) // since then
	})
}

func TestProbeThatCouldNotBeSentSaysNothing(t *testing.T) {
	is := is.New(t)
	void := health.Result{Void: true}
	b := newBed(1, 2)
	for _, name := range []string{"one", "two"} {
		_, changed := b.Record(void, name)
		is.True(!changed)
		is.Equal(b.Snapshot().Last, name) // there is nothing better to show
	}
	is.Equal(b.Snapshot().Health, health.Unknown)
	_, changed := b.Record(health.Result{}, "three")
	is.True(!changed) // the first of two that have to fail
	n, changed := b.Record(void, "four")
	is.True(n == 4 && !changed)
	is.Equal(b.Snapshot().Last, "three") // which said something
	n, changed = b.Record(health.Result{}, "five")
	is.True(n == 5 && changed) // the second one, for what lies between breaks no row
	b.Record(void, "six")
	is.Equal(b.Snapshot().Last, "five")
	is.Equal(b.Snapshot().Health, health.Unhealthy)
}

func TestFirstPassIsBelievedWhenAnotherOneFollowsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(1, 1)
		b.DemandProof(500 * time.Millisecond)
		is.True(b.probe(false))
		is.True(!b.probe(true))
		time.Sleep(499 * time.Millisecond)
		is.True(!b.probe(true))
		is.True(!b.Passes())
		time.Sleep(time.Millisecond)
		is.True(b.probe(true))

		is.True(b.probe(false))
		is.True(b.probe(true)) // it has been believed once
	})
}

func TestProofBeginsAnewAfterAProbeThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(1, 2)
		b.DemandProof(time.Second)
		b.probe(true)
		time.Sleep(900 * time.Millisecond)
		b.probe(false)
		b.probe(true)
		time.Sleep(900 * time.Millisecond)
		is.True(!b.probe(true))
		time.Sleep(100 * time.Millisecond)
		is.True(b.probe(true))
	})
}

func TestNextProbeComesWhenTheProofIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		pause := func(b *bed, pause time.Duration) time.Duration {
			shortened, more := b.Pause(pause)
			is.True(more)
			return shortened
		}
		b := newBed(1, 1)
		b.DemandProof(500 * time.Millisecond)
		is.Equal(pause(b, time.Second), time.Second) // nothing has passed
		b.probe(true)
		is.Equal(pause(b, 100*time.Millisecond), 100*time.Millisecond)
		is.Equal(pause(b, time.Second), 500*time.Millisecond)
		time.Sleep(200 * time.Millisecond)
		is.Equal(pause(b, time.Second), 300*time.Millisecond)
		b.probe(false)
		is.Equal(pause(b, time.Second), time.Second)
		b.probe(true)
		time.Sleep(500 * time.Millisecond)
		is.Equal(pause(b, time.Second), time.Second) // it is due already
		b.probe(true)
		_, more := b.Pause(time.Second)
		is.True(!more) // it passes
	})
}

func TestEjectedTargetIsUnhealthyUntilAProbePasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(1, 1)
		b.probe(true)
		time.Sleep(time.Second)
		ejected := time.Now()
		b.eject(false)
		time.Sleep(time.Second)
		is.True(b.Passes())
		is.True(!b.IsHealthy())
		now := b.Snapshot()
		is.Equal(now.Health, health.Unhealthy)
		is.Equal(now.Since, ejected)
		is.True(!b.IsUnhealthy(time.Time{})) // by its probes

		is.True(b.probe(true)) // a change, although it has passed all the time
		is.True(b.IsHealthy())
		now = b.Snapshot()
		is.Equal(now.Health, health.Healthy)
		is.Equal(now.Since, time.Now())
		is.True(!b.probe(true))
	})
}

func TestOutlierStaysEjectedWhileItsTimeIsNotUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(1, 1)
		b.probe(true)
		b.eject(true)
		time.Sleep(time.Second)
		is.True(!b.probe(true))
		is.True(!b.IsHealthy())
		time.Sleep(time.Minute)
		is.True(b.probe(true))
		is.True(b.IsHealthy())
	})
}

// Its probes have to pass again, and that is told when they have.
func TestEndOfAnEjectionIsNoChangeWhereProbesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(2, 1)
		b.probe(true)
		b.probe(true)
		b.eject(false)
		is.True(b.probe(false))
		failed := b.Snapshot().Since
		time.Sleep(time.Second)
		is.True(!b.probe(true)) // the ejection is over, but one of two is not enough
		is.True(!b.Ejection.IsEjected())
		is.True(!b.IsHealthy())
		is.True(b.Snapshot().Since.After(failed))
		is.True(b.probe(true))
		is.True(b.IsHealthy())
	})
}

func TestTargetIsLostAfterThreeFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		begin := time.Now()
		b := newBed(1, 1)
		b.probe(true)
		for range 2 {
			b.probe(false)
			is.True(!b.IsLost(begin))
			is.True(b.IsUnhealthy(begin)) // though not lost
		}
		b.probe(false)
		is.True(b.IsLost(begin))
		is.True(!b.IsLost(begin.Add(1))) // that was seen before
		b.probe(true)
		is.True(!b.IsLost(begin))
	})
}

func TestTargetThatRefusesAProbeIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(1, 3)
		b.probe(true)
		refused := health.Result{Began: time.Now(), Refused: true}
		b.Record(refused, "")
		is.True(b.IsLost(refused.Began))
		is.True(b.IsUnhealthy(refused.Began)) // although it has to fail three times
		is.True(!b.IsLost(refused.Began.Add(1)))
		is.True(!b.IsUnhealthy(refused.Began.Add(1)))
	})
}

func TestTargetThatRefusesRequestsIsLost(t *testing.T) {
	is := is.New(t)
	b := newBed(1, 1)
	b.probe(true)
	b.refuse(ejection.MaxRefusals - 1)
	is.True(!b.IsLost(time.Time{}))
	b.refuse(1)
	is.True(b.IsLost(time.Now())) // whatever its probes have seen
	b.probe(true)
	is.True(!b.IsLost(time.Time{}))
}

func TestTargetThatWasNeverHealthyIsNotLost(t *testing.T) {
	is := is.New(t)
	b := newBed(1, 1)
	b.refuse(ejection.MaxRefusals)
	b.Record(health.Result{Refused: true}, "")
	is.True(!b.IsLost(time.Time{}))
	is.True(b.IsUnhealthy(time.Time{}))
}

func TestTargetThatWasHealthyOnceHasBeen(t *testing.T) {
	is := is.New(t)
	b := newBed(2, 1)
	is.True(!b.HasBeenHealthy())
	b.probe(true)
	is.True(!b.HasBeenHealthy())
	b.probe(true)
	is.True(b.HasBeenHealthy())
	b.probe(false)
	is.True(b.HasBeenHealthy())
}
