// Package bake judges a new version by its requests, against those of the version
// before.
package bake

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// A Tally keeps ten minutes in slices, and the one that has begun.
const (
	window = 10 * time.Minute
	width  = time.Minute // of a slice
	slices = int(window/width) + 1
)

// Between the shortest and the longest time that are told apart, each doubling has so
// many buckets of the same width.
const (
	shortest = 16 // the logarithm to the base 2, in nanoseconds: 66 µs
	longest  = 36 // likewise: 69 s
	parts    = 2
	buckets  = (longest-shortest)*parts + 2
)

// A Tally counts the requests of one version. The zero Tally is empty, and is small
// until the first request. Its methods may be called from any goroutine; at is the time
// since a moment of the caller's choice.
type Tally struct {
	kept   atomic.Pointer[[slices]slice]
	routes atomic.Pointer[routes] // nil: nobody wants to know of them
}

type slice struct {
	took   [buckets]counter
	failed counter
}

// A counter counts within one slice of time, whose number is in its upper half.
type counter struct{ v atomic.Uint64 }

func (c *counter) add(n uint64) {
	for {
		v := c.v.Load()
		switch {
		case v>>32 == n:
			c.v.Add(1)
			return
		case v>>32 > n:
			return // who adds has slept for ten minutes
		case c.v.CompareAndSwap(v, n<<32|1):
			return
		}
	}
}

func (c *counter) in(n uint64) uint64 {
	if v := c.v.Load(); v>>32 == n {
		return v & (1<<32 - 1)
	}
	return 0
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
	s.took[bucketOf(took)].add(n)
	if failed {
		s.failed.add(n)
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
		c.took[i] = s.took[i].in(n)
		c.Requests += c.took[i]
	}
	c.Failed = min(s.failed.in(n), c.Requests)
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
			return upperEnd(i)
		}
		rank -= min(n, rank)
	}
	return 0
}

// above returns how many took longer than d for sure.
func (c *Counts) above(d time.Duration) (n uint64) {
	for i := bucketOf(d) + 1; i < buckets; i++ {
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

func bucketOf(d time.Duration) int {
	if d < 1<<shortest {
		return 0
	}
	doublings := bits.Len64(uint64(d)) - 1
	if doublings >= longest {
		return buckets - 1
	}
	part := (uint64(d) - 1<<doublings) * parts >> doublings
	return 1 + (doublings-shortest)*parts + int(part)
}

// upperEnd returns the longest time that a bucket counts.
func upperEnd(bucket int) time.Duration {
	switch bucket {
	case 0:
		return 1 << shortest
	case buckets - 1:
		return 1 << longest
	}
	doublings, part := (bucket-1)/parts+shortest, (bucket-1)%parts
	return time.Duration(1<<doublings) + time.Duration(part+1)*time.Duration(1<<doublings)/parts
}
