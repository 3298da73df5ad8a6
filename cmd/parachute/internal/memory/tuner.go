// Package memory sets the garbage collector to what suits a proxy.
//
// What a proxy keeps is small, a few MiB, and what it allocates lives no longer
// than a request. With Go's default the heap may only double before it is
// collected, so that a busy proxy would do so many times a second to win back
// next to nothing. But a burst can make it large for a while, and garbage that
// is a multiple of that is no small thing; and when everybody has left, nothing is
// allocated any more, so that nothing would be collected.
package memory

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

// While what is live needs little, garbage may be lazyPercent of that, as long as
// it stays below spare. From there on it is spare, and where as much is live,
// what it is by Go's default.
const (
	maxGarbage = 64 << 20
	maxPercent = 400
	minPercent = 100
)

// gcPercentFor returns what the garbage collector is to be set to while that many
// bytes are live.
func gcPercentFor(live uint64) int {
	if live == 0 {
		return maxPercent
	}
	return int(min(max(maxGarbage*100/live, minPercent), maxPercent))
}

// A Tuner keeps the memory of the process small where that costs little.
type Tuner struct {
	cycles chan struct{} // gets one after a cycle of the collector
	stop   chan struct{}
	done   chan struct{} // closed when run has returned; nil: there is none
	closed atomic.Bool
}

// Start sets the collector, except where GOGC or GOMEMLIMIT say otherwise, and goes
// on doing so until Close is called: after each cycle it sets anew how much garbage
// there may be, and gives back what a burst has left when that is over.
//
// Where there is a [Limit], the collector aims to stay below three quarters of it:
// what it does not count (stacks of the kernel, pages of files) needs room too.
//
// A process has one Keeper at a time, for it has one collector.
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

// Close leaves the collector as it is set then.
func (k *Tuner) Close() {
	if k.closed.Swap(true) || k.done == nil {
		return
	}
	close(k.stop)
	<-k.done
}

// notifyNextCycle has cycles told of the end of the next cycle, and of those after it:
// what nobody refers to is cleaned up by then. It is large enough not to be put
// together with anything else.
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

// pollInterval is the pause between two looks at whether a burst is over.
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
			// To set it stops the world, if only for a moment.
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

// isWorthSetting reports whether two percentages are far enough from each other to set
// another.
func isWorthSetting(is, wanted int) bool {
	return wanted < is*7/8 || wanted > is*9/8 || is != wanted && (wanted == maxPercent || wanted == minPercent)
}

// releaseMemory returns to the system what is not in use. What lies in a pool outlives
// one cycle.
func releaseMemory() {
	runtime.GC()
	debug.FreeOSMemory()
}

// An usage is what the runtime says of its memory.
type usage struct {
	live       uint64 // bytes that the last cycle found in use, or had to look at
	mapped     uint64 // bytes that the system has given and not got back
	allocated  uint64 // bytes, since the process began
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

// An idleDetector finds out when a burst is over whose memory nobody would collect.
type idleDetector struct {
	last          usage  // the one before
	maxGoroutines uint64 // the most goroutines since the last collection

	lastCollection  time.Time // of that
	afterCollection usage     // after it
	collectAgain    bool      // it won so much that another may win as well
}

// The conditions of a lull. The runtime itself collects every two minutes, and
// takes two cycles for what lies in a pool.
const (
	quietFraction = 16          // less than this part of what is held was allocated in between
	idleTimeout   = time.Minute // or this has passed since the last collection
)

// shouldCollect reports whether it is time to collect: much is held, little is allocated, so
// that the collector would not run by itself for long, and something may be won
// back. That is so where requests have ended since, as a quarter of the goroutines
// tells; where much was allocated; where the last collection has won a quarter, for
// what has a finalizer outlives one; and where nothing tells, now and then.
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

// recordCollection says what is there after a collection.
func (l *idleDetector) recordCollection(now time.Time, is usage) {
	more := is.mapped < l.last.mapped-l.last.mapped/4
	*l = idleDetector{last: is, maxGoroutines: is.goroutines, lastCollection: now, afterCollection: is, collectAgain: more}
}
