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
	spare           = 64 << 20
	lazyPercent     = 400
	ordinaryPercent = 100
)

// percentFor returns what the garbage collector is to be set to while that many
// bytes are live.
func percentFor(live uint64) int {
	if live == 0 {
		return lazyPercent
	}
	return int(min(max(spare*100/live, ordinaryPercent), lazyPercent))
}

// A Keeper keeps the memory of the process small where that costs little.
type Keeper struct {
	cycles chan struct{} // gets one after a cycle of the collector
	stop   chan struct{}
	done   chan struct{} // closed when run has returned; nil: there is none
	closed atomic.Bool
}

// Keep sets the collector, except where GOGC or GOMEMLIMIT say otherwise, and goes
// on doing so until Close is called: after each cycle it sets anew how much garbage
// there may be, and gives back what a burst has left when that is over.
//
// Where there is a [Limit], the collector aims to stay below three quarters of it:
// what it does not count (stacks of the kernel, pages of files) needs room too.
//
// A process has one Keeper at a time, for it has one collector.
func Keep(getenv func(string) string) *Keeper {
	if getenv("GOMEMLIMIT") == "" {
		if limit, ok := Limit(os.DirFS("/")); ok {
			debug.SetMemoryLimit(limit / 4 * 3)
		}
	}
	k := &Keeper{cycles: make(chan struct{}, 1), stop: make(chan struct{})}
	if getenv("GOGC") != "" {
		return k
	}
	debug.SetGCPercent(lazyPercent)
	k.done = make(chan struct{})
	k.awaitCycle()
	go k.run()
	return k
}

// Close leaves the collector as it is set then.
func (k *Keeper) Close() {
	if k.closed.Swap(true) || k.done == nil {
		return
	}
	close(k.stop)
	<-k.done
}

// awaitCycle has cycles told of the end of the next cycle, and of those after it:
// what nobody refers to is cleaned up by then. It is large enough not to be put
// together with anything else.
func (k *Keeper) awaitCycle() {
	runtime.AddCleanup(new([64]byte), (*Keeper).cycleEnded, k)
}

func (k *Keeper) cycleEnded() {
	if k.closed.Load() {
		return
	}
	select {
	case k.cycles <- struct{}{}:
	default:
	}
	k.awaitCycle()
}

// lookInterval is the pause between two looks at whether a burst is over.
const lookInterval = time.Second

func (k *Keeper) run() {
	defer close(k.done)
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	r, l, percent := newReader(), new(lull), lazyPercent
	for {
		select {
		case <-k.stop:
			return
		case <-k.cycles:
			// To set it stops the world, if only for a moment.
			if next := percentFor(r.read().live); differ(percent, next) {
				percent = next
				debug.SetGCPercent(percent)
			}
		case now := <-look.C:
			if l.over(now, r.read()) {
				giveBack()
				l.collected(now, r.read())
			}
		}
	}
}

// differ reports whether two percentages are far enough from each other to set
// another.
func differ(is, wanted int) bool {
	return wanted < is*7/8 || wanted > is*9/8 || is != wanted && (wanted == lazyPercent || wanted == ordinaryPercent)
}

// giveBack returns to the system what is not in use. What lies in a pool outlives
// one cycle.
func giveBack() {
	runtime.GC()
	debug.FreeOSMemory()
}

// A reading is what the runtime says of its memory.
type reading struct {
	live       uint64 // bytes that the last cycle found in use, or had to look at
	held       uint64 // bytes that the system has given and not got back
	allocated  uint64 // bytes, since the process began
	goroutines uint64
}

type reader []metrics.Sample

func newReader() reader {
	r := reader{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/sched/goroutines:goroutines"},
	}
	return r
}

func (r reader) read() reading {
	metrics.Read(r)
	return reading{
		live:       r[0].Value.Uint64() + r[1].Value.Uint64() + r[2].Value.Uint64(),
		held:       r[3].Value.Uint64() - r[4].Value.Uint64(),
		allocated:  r[5].Value.Uint64(),
		goroutines: r[6].Value.Uint64(),
	}
}

// A lull finds out when a burst is over whose memory nobody would collect.
type lull struct {
	last reading // the one before
	busy uint64  // the most goroutines since the last collection

	at   time.Time // of that
	of   reading   // after it
	more bool      // it won so much that another may win as well
}

// The conditions of a lull. The runtime itself collects every two minutes, and
// takes two cycles for what lies in a pool.
const (
	quietShare  = 16          // less than this part of what is held was allocated in between
	lullTimeout = time.Minute // or this has passed since the last collection
)

// over reports whether it is time to collect: much is held, little is allocated, so
// that the collector would not run by itself for long, and something may be won
// back. That is so where requests have ended since, as a quarter of the goroutines
// tells; where much was allocated; where the last collection has won a quarter, for
// what has a finalizer outlives one; and where nothing tells, now and then.
func (l *lull) over(now time.Time, is reading) bool {
	quiet := is.allocated-l.last.allocated < is.held/quietShare
	l.last = is
	l.busy = max(l.busy, is.goroutines)
	if !quiet || is.held < spare {
		return false
	}
	return l.more || is.goroutines < l.busy-l.busy/4 ||
		is.allocated-l.of.allocated >= spare ||
		now.Sub(l.at) >= lullTimeout
}

// collected says what is there after a collection.
func (l *lull) collected(now time.Time, is reading) {
	more := is.held < l.last.held-l.last.held/4
	*l = lull{last: is, busy: is.goroutines, at: now, of: is, more: more}
}
