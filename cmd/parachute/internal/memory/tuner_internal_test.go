package memory

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"
)

func TestGarbageIsBoundedByWhatIsLive(t *testing.T) {
	for live, want := range map[uint64]int{
		0:              400,
		4 << 20:        400, // a proxy as it mostly is
		16 << 20:       400,
		32 << 20:       200,
		64 << 20:       100,
		500 << 20:      100, // by Go's default
		math.MaxUint64: 100,
	} {
		is := is.New(t)
		is.Equal(gcPercentFor(live), want)
	}
}

func TestSmallChangesOfTheHeapChangeNothing(t *testing.T) {
	is := is.New(t)
	is.True(!isWorthSetting(400, 400))
	is.True(!isWorthSetting(400, 360))
	is.True(!isWorthSetting(200, 210))
	is.True(isWorthSetting(400, 200))
	is.True(isWorthSetting(105, 100)) // it gets to its ends
	is.True(isWorthSetting(390, 400))
}

func TestLullIsWhenABurstIsOver(t *testing.T) {
	start := time.Unix(1e9, 0)
	for name, tt := range map[string]struct {
		after   time.Duration // since the last collection
		is      usage
		between uint64 // allocated in the last interval
		want    bool
	}{
		"as it was":              {time.Second, usage{mapped: 500 << 20, goroutines: 1000}, 0, false},
		"requests have ended":    {time.Second, usage{mapped: 500 << 20, goroutines: 740}, 0, true},
		"few have":               {time.Second, usage{mapped: 500 << 20, goroutines: 760}, 0, false},
		"much was allocated":     {time.Second, usage{mapped: 500 << 20, goroutines: 1000, allocated: 64 << 20}, 0, true},
		"and is being allocated": {time.Second, usage{mapped: 500 << 20, goroutines: 700, allocated: 64 << 20}, 32 << 20, false},
		"nothing tells":          {time.Minute, usage{mapped: 500 << 20, goroutines: 1000}, 0, true},
		"little is held":         {time.Hour, usage{mapped: 40 << 20, goroutines: 10, allocated: 1 << 40}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			l := new(idleDetector)
			l.recordCollection(start, usage{mapped: 500 << 20, goroutines: 1000})
			l.last.allocated = tt.is.allocated - tt.between
			is.Equal(l.shouldCollect(start.Add(tt.after), tt.is), tt.want)
		})
	}
}

func TestLullComparesWithTheBusiestTime(t *testing.T) {
	is := is.New(t)
	l, at := new(idleDetector), time.Unix(1e9, 0)
	l.recordCollection(at, usage{mapped: 100 << 20, goroutines: 10})
	is.True(!l.shouldCollect(at.Add(time.Second), usage{mapped: 100 << 20, goroutines: 2000}))
	is.True(l.shouldCollect(at.Add(2*time.Second), usage{mapped: 100 << 20, goroutines: 10}))
	l.recordCollection(at.Add(2*time.Second), usage{mapped: 100 << 20, goroutines: 10})
	is.True(!l.shouldCollect(at.Add(3*time.Second), usage{mapped: 100 << 20, goroutines: 10})) // once
}

func TestCollectionThatWonMuchIsFollowedByAnother(t *testing.T) {
	is := is.New(t)
	l, at := new(idleDetector), time.Unix(1e9, 0)
	l.recordCollection(at, usage{mapped: 1000 << 20, goroutines: 10})
	is.True(!l.shouldCollect(at.Add(time.Second), usage{mapped: 1000 << 20, goroutines: 10}))
	l.recordCollection(at.Add(time.Second), usage{mapped: 300 << 20, goroutines: 10})
	is.True(l.shouldCollect(at.Add(2*time.Second), usage{mapped: 300 << 20, goroutines: 10}))
	l.recordCollection(at.Add(2*time.Second), usage{mapped: 290 << 20, goroutines: 10})
	is.True(!l.shouldCollect(at.Add(3*time.Second), usage{mapped: 290 << 20, goroutines: 10})) // the rest is in use
}

func TestWhatLiesInAPoolIsGivenBackToo(t *testing.T) {
	is := is.New(t)
	const size, many = 1 << 20, 128
	var pool sync.Pool
	var all []*[]byte
	for range many {
		b := make([]byte, size)
		for i := 0; i < size; i += 4096 {
			b[i] = 1
		}
		all = append(all, &b)
	}
	for i, b := range all {
		pool.Put(b)
		all[i] = nil
	}
	r := newUsageReader()
	before := r.read()
	releaseMemory()
	after := r.read()
	is.True(before.mapped > size*many)
	is.True(after.mapped < before.mapped-size*many*3/4)
	runtime.KeepAlive(&pool)
}

func TestKeeperFollowsTheHeap(t *testing.T) {
	is := is.New(t)
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	k := Start(func(name string) string {
		if name == "GOMEMLIMIT" {
			return "off" // which is left as it is
		}
		return ""
	})
	defer k.Close()
	is.Equal(percent(), uint64(maxPercent))
	large := make([]byte, 2*maxGarbage)
	awaitPercent(t, minPercent)
	runtime.KeepAlive(large)
	awaitPercent(t, maxPercent)
	k.Close()
	k.Close() // is nothing
}

func TestKeeperLeavesTheCollectorToWhoSetIt(t *testing.T) {
	is := is.New(t)
	defer debug.SetGCPercent(debug.SetGCPercent(77))
	k := Start(func(string) string { return "77" })
	defer k.Close()
	is.Equal(percent(), uint64(77))
}

func percent() uint64 {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// awaitPercent returns when cycles of the collector have made it that.
func awaitPercent(t *testing.T, want uint64) {
	t.Helper()
	for end := time.Now().Add(time.Minute); percent() != want; {
		if time.Now().After(end) {
			t.Fatalf("it is %d", percent())
		}
		runtime.GC()
	}
}
