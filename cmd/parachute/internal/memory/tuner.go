// Package memory tunes the garbage collector for a proxy.
//
// The live heap of a proxy is small, a few MiB, and most allocations live no
// longer than a request. With Go's default, the collector runs whenever the heap
// has doubled, which in a busy proxy is many times a second, for little gain. But
// a burst can make the live heap large for a while, and then several times as
// much garbage would be too much. And after a burst nothing is allocated any
// more, so the collector would not run at all.
package memory

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

// While the live heap is small, garbage may be maxPercent of it. From there on,
// garbage may be maxGarbage, until the live heap is as large as that; then the
// percentage is minPercent, Go's default.
const (
	maxGarbage = 64 << 20
	maxPercent = 400
	minPercent = 100
)

// gcPercentFor returns the percentage for [debug.SetGCPercent] while that many
// bytes are live.
func gcPercentFor(live uint64) int {
	if live == 0 {
		return maxPercent
	}
	return int(min(max(maxGarbage*100/live, minPercent), maxPercent))
}

// A Tuner keeps adjusting the garbage collector.
type Tuner struct {
	cycles chan struct{} // receives an element after a cycle of the collector
	stop   chan struct{}
	done   chan struct{} // closed when run has returned; nil if it was not started
	closed atomic.Bool
}

// Start tunes the collector until Close is called: after each cycle it sets how
// much garbage there may be, and when a burst is over, it returns memory to the
// system. It does not override GOGC and GOMEMLIMIT.
//
// If there is a [Limit], Start sets the memory limit of the runtime to three
// quarters of it, because kernel stacks and file pages need room too.
//
// A process must have one Tuner at a time, because it has one collector.
func Start(getenv func(string) string) *Tuner {
	if getenv("GOMEMLIMIT") == "" {
		if limit, ok := Limit(os.DirFS("/")); ok {
			debug.SetMemoryLimit(limit / 4 * 3)
		}
	}
	k := &Tuner{cycles: make(chan struct{}, 1), stop: make(chan struct{})}
	if getenv("GOGC") != "" {
		return k
	}
	debug.SetGCPercent(maxPercent)
	k.done = make(chan struct{})
	k.notifyNextCycle()
	go k.run()
	return k
}

// Close stops tuning. The collector keeps its last settings.
func (k *Tuner) Close() {
	if k.closed.Swap(true) || k.done == nil {
		return
	}
	close(k.stop)
	<-k.done
}

// notifyNextCycle has cycleEnded called after the next cycle of the collector, as
// the cleanup of an unreachable object. The object is too large for the tiny
// allocator, which would combine it with others.
func (k *Tuner) notifyNextCycle() {
	runtime.AddCleanup(new([64]byte), (*Tuner).cycleEnded, k)
}

func (k *Tuner) cycleEnded() {
	if k.closed.Load() {
		return
	}
	select {
	case k.cycles <- struct{}{}:
	default:
	}
	k.notifyNextCycle()
}

// pollInterval is how often run checks whether a burst is over.
const pollInterval = time.Second

func (k *Tuner) run() {
	defer close(k.done)
	look := time.NewTicker(pollInterval)
	defer look.Stop()
	r, l, percent := newUsageReader(), new(idleDetector), maxPercent
	for {
		select {
		case <-k.stop:
			return
		case <-k.cycles:
			// SetGCPercent stops the world for a moment.
			if next := gcPercentFor(r.read().live); isWorthSetting(percent, next) {
				percent = next
				debug.SetGCPercent(percent)
			}
		case now := <-look.C:
			if l.shouldCollect(now, r.read()) {
				releaseMemory()
				l.recordCollection(now, r.read())
			}
		}
	}
}

// isWorthSetting reports whether the percentage that is wanted differs enough
// from the current one.
func isWorthSetting(is, wanted int) bool {
	return wanted < is*7/8 || wanted > is*9/8 || is != wanted && (wanted == maxPercent || wanted == minPercent)
}

// releaseMemory returns unused memory to the system. It runs two cycles, because
// objects in a sync.Pool survive the first.
func releaseMemory() {
	runtime.GC()
	debug.FreeOSMemory()
}

// A usage is the memory usage of the process.
type usage struct {
	live       uint64 // bytes that the last cycle found live, with stacks and globals
	mapped     uint64 // bytes obtained from the system and not returned
	allocated  uint64 // bytes allocated since the start of the process
	goroutines uint64
}

type usageReader []metrics.Sample

func newUsageReader() usageReader {
	r := usageReader{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/sched/goroutines:goroutines"},
	}
	return r
}

func (r usageReader) read() usage {
	metrics.Read(r)
	return usage{
		live:       r[0].Value.Uint64() + r[1].Value.Uint64() + r[2].Value.Uint64(),
		mapped:     r[3].Value.Uint64() - r[4].Value.Uint64(),
		allocated:  r[5].Value.Uint64(),
		goroutines: r[6].Value.Uint64(),
	}
}

// An idleDetector detects that a burst is over and that the collector would not
// run soon by itself.
type idleDetector struct {
	last          usage  // usage at the last check
	maxGoroutines uint64 // most goroutines since the last collection

	lastCollection  time.Time
	afterCollection usage // usage after the last collection
	collectAgain    bool  // the last collection freed so much that another may free more
}

// The conditions for a collection. The runtime itself collects every two minutes,
// and needs two cycles for objects in a sync.Pool.
const (
	quietFraction = 16          // idle means that less than 1/16 of mapped was allocated since the last check
	idleTimeout   = time.Minute // after this time, collect anyway
)

// shouldCollect reports whether it is time to collect: much memory is mapped,
// little is being allocated, so that the collector would not run soon by itself,
// and a collection may free something. The last is so if a quarter of the
// goroutines have ended, if much was allocated since the last collection, or if
// that one freed a quarter, because objects with finalizers survive it. Otherwise
// it collects once per idleTimeout.
func (l *idleDetector) shouldCollect(now time.Time, is usage) bool {
	quiet := is.allocated-l.last.allocated < is.mapped/quietFraction
	l.last = is
	l.maxGoroutines = max(l.maxGoroutines, is.goroutines)
	if !quiet || is.mapped < maxGarbage {
		return false
	}
	return l.collectAgain || is.goroutines < l.maxGoroutines-l.maxGoroutines/4 ||
		is.allocated-l.afterCollection.allocated >= maxGarbage ||
		now.Sub(l.lastCollection) >= idleTimeout
}

// recordCollection records the usage after a collection.
func (l *idleDetector) recordCollection(now time.Time, is usage) {
	more := is.mapped < l.last.mapped-l.last.mapped/4
	*l = idleDetector{last: is, maxGoroutines: is.goroutines, lastCollection: now, afterCollection: is, collectAgain: more}
}
