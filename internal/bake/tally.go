// Package bake judges a new version by its requests, against those of the version
// before.
package bake

import (
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/histogram"
)

// A Tally keeps ten minutes in slices, and the one that has begun.
const (
	window = 10 * time.Minute
	width  = time.Minute // of a slice
	slices = int(window/width) + 1
)

// Each time is told within 20 %.
const (
	scale   histogram.Scale = 2
	buckets                 = histogram.Doublings*int(scale) + 2
)

// A Tally counts the requests of one version. The zero Tally is empty, and is small
// until the first request. Its methods may be called from any goroutine; at is the time
// since a moment of the caller's choice.
type Tally struct {
	kept      atomic.Pointer[[slices]slice] // of requests here
	elsewhere atomic.Pointer[[slices]slice] // of what others have counted; nil: nobody has
	routes    atomic.Pointer[routes]        // nil: nobody wants to know of them
	sum       atomic.Pointer[sum]           // nil: Sum was not called
}

type slice struct {
	took   [buckets]histogram.Counter
	failed histogram.Counter
}

// Observe counts a request that ended at a time and took so long. It takes no lock and,
// but for the first request, allocates nothing.
func (t *Tally) Observe(at, took time.Duration, failed bool) {
	kept := t.kept.Load()
	if kept == nil {
		t.kept.CompareAndSwap(nil, new([slices]slice))
		kept = t.kept.Load()
	}
	n := uint64(max(at, 0) / width)
	s := &kept[n%uint64(slices)]
	s.took[scale.Bucket(took)].Add(n, 1)
	if failed {
		s.failed.Add(n, 1)
	}
}

// slice returns what was counted in a slice, here and, if elsewhere is true, elsewhere.
func (t *Tally) slice(n uint64, elsewhere bool) Counts {
	c := countsIn(t.kept.Load(), n)
	if elsewhere {
		c.add(countsIn(t.elsewhere.Load(), n))
	}
	return c
}

func countsIn(kept *[slices]slice, n uint64) (c Counts) {
	if kept == nil {
		return c
	}
	s := &kept[n%uint64(slices)]
	for i := range s.took {
		c.took[i] = s.took[i].In(n)
		c.Requests += c.took[i]
	}
	c.Failed = min(s.failed.In(n), c.Requests)
	return c
}

// Window returns what has ended in the ten minutes before at, here and elsewhere.
func (t *Tally) Window(at time.Duration) Counts { return t.window(at, true) }

func (t *Tally) window(at time.Duration, elsewhere bool) (c Counts) {
	newest := uint64(max(at, 0) / width)
	for n := oldest(newest); n <= newest; n++ {
		c.add(t.slice(n, elsewhere))
	}
	return c
}

// oldest returns the first slice of the window that ends with newest.
func oldest(newest uint64) uint64 { return newest - min(newest, uint64(slices)-1) }

// A reader returns what was counted since it was asked last.
type reader struct {
	tally *Tally
	own   bool // what others have counted is left out
	slice uint64
	seen  Counts // of slice
}

// read returns what was counted since the last read, or since the beginning. It must be
// called at least once in ten minutes.
func (r *reader) read(at time.Duration) (c Counts) {
	for newest := uint64(max(at, 0) / width); ; r.slice, r.seen = r.slice+1, (Counts{}) {
		now := r.tally.slice(r.slice, !r.own)
		fresh := now
		fresh.sub(r.seen)
		c.add(fresh)
		if r.slice >= newest {
			r.seen = now
			return c
		}
	}
}
