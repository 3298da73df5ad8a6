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
	kept   atomic.Pointer[[slices]slice]
	routes atomic.Pointer[routes] // nil: nobody wants to know of them
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
	s.took[scale.Bucket(took)].Add(n)
	if failed {
		s.failed.Add(n)
	}
}

// Counts are numbers of requests.
type Counts struct {
	Requests, Failed uint64
	took             [buckets]uint64
}

func (t *Tally) slice(n uint64) (c Counts) {
	kept := t.kept.Load()
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

// Window returns what has ended in the ten minutes before at.
func (t *Tally) Window(at time.Duration) (c Counts) {
	newest := uint64(max(at, 0) / width)
	for n := newest - min(newest, uint64(slices)-1); n <= newest; n++ {
		c.add(t.slice(n))
	}
	return c
}

func (c *Counts) add(o Counts) {
	c.Requests, c.Failed = c.Requests+o.Requests, c.Failed+o.Failed
	for i, n := range o.took {
		c.took[i] += n
	}
}

func (c *Counts) sub(o Counts) {
	c.Requests, c.Failed = c.Requests-o.Requests, c.Failed-min(c.Failed, o.Failed)
	for i, n := range o.took {
		c.took[i] -= n
	}
}

// P99 returns the time that 99 in a hundred requests did not exceed, within 20 %; 0 if
// there were none.
func (c *Counts) P99() time.Duration {
	rank := (c.Requests*99 + 99) / 100
	for i, n := range c.took {
		if n >= rank && rank > 0 {
			_, most := scale.Bounds(i)
			return most
		}
		rank -= min(n, rank)
	}
	return 0
}

// above returns how many took longer than d for sure.
func (c *Counts) above(d time.Duration) (n uint64) {
	for i := scale.Bucket(d) + 1; i < buckets; i++ {
		n += c.took[i]
	}
	return n
}

// A reader returns what was counted since it was asked last.
type reader struct {
	tally *Tally
	slice uint64
	seen  Counts // of slice
}

// read returns what was counted since the last read, or since the beginning. It must be
// called at least once in ten minutes.
func (r *reader) read(at time.Duration) (c Counts) {
	for newest := uint64(max(at, 0) / width); ; r.slice, r.seen = r.slice+1, (Counts{}) {
		now := r.tally.slice(r.slice)
		fresh := now
		fresh.sub(r.seen)
		c.add(fresh)
		if r.slice >= newest {
			r.seen = now
			return c
		}
	}
}
