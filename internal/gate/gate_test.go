package gate_test

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/gate"
)

func TestOpenGateLetsInAndCounts(t *testing.T) {
	is := is.New(t)
	var g gate.Gate
	is.Equal(g.Inside(), int64(0))
	is.True(g.Enter()) // the zero Gate is open
	is.True(g.Enter())
	is.Equal(g.Inside(), int64(2))
	g.Leave()
	is.Equal(g.Inside(), int64(1))
}

func TestClosingAnEmptyGateReportsIdleAtOnce(t *testing.T) {
	is := is.New(t)
	var g gate.Gate
	is.True(isClosed(g.Close()))
	is.True(!g.Enter()) // a closed gate lets nobody in
	is.Equal(g.Inside(), int64(0))
}

func TestClosedGateWaitsForThoseInside(t *testing.T) {
	is := is.New(t)
	var g gate.Gate
	g.Enter()
	g.Enter()
	idle := g.Close()
	is.True(!g.Enter())
	is.Equal(g.Inside(), int64(2)) // the refused one is not counted
	g.Leave()
	is.True(!isClosed(idle)) // one is still inside
	g.Leave()
	is.True(isClosed(idle))
}

func TestIdleIsReportedOnceHoweverOftenTheCountComesBackToZero(t *testing.T) {
	is := is.New(t)
	var g gate.Gate
	g.Enter()
	idle := g.Close()
	g.Leave()
	for range 3 {
		is.True(!g.Enter()) // would panic on a second report
	}
	is.Equal(g.Close(), idle) // closing again gives the same channel
}

// The last one inside may leave between the two adds of an Enter that comes
// too late; then it is that Enter which must report.
func TestIdleIsReportedWhateverTheRace(t *testing.T) {
	for range 2000 {
		synctest.Test(t, func(t *testing.T) {
			var g gate.Gate
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for g.Enter() {
						g.Leave()
					}
				})
			}
			<-g.Close() // a lost report is a deadlock, which the bubble tells
			wg.Wait()
			if n := g.Inside(); n != 0 {
				t.Fatalf("%d inside a gate that everybody has left", n)
			}
		})
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func BenchmarkEnterLeave(b *testing.B) {
	var g gate.Gate
	b.ReportAllocs()
	for b.Loop() {
		if g.Enter() {
			g.Leave()
		}
	}
}

func BenchmarkEnterLeaveParallel(b *testing.B) {
	var g gate.Gate
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if g.Enter() {
				g.Leave()
			}
		}
	})
}
