// Package histogram tells how many things happened within the last minute, how
// many of them failed and how long they took, from a fixed amount of memory.
package histogram

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// The minute is kept in slices, the oldest of which is used again for each new
// one.
const (
	slices = 6
	width  = 10 * time.Second // of a slice
)

// Between the shortest and the longest time that are told apart each doubling
// has so many buckets of the same width.
const (
	shortest = 16 // the logarithm to the base 2, in nanoseconds: 66 µs
	longest  = 36 // likewise: 69 s
	parts    = 5
	buckets  = (longest-shortest)*parts + 2 // with one for what is below, and one for what is above
)

// A Histogram counts what has ended within the last minute. The zero value has
// counted nothing, and is small: what is needed to count is there from the first
// Observe on. It may be used by any number of goroutines at once, but must not be
// copied.
//
// The clock is the caller's: at is the time since a moment of their choice,
// which is the same for all calls. It need not grow from call to call, for
// goroutines overtake each other.
type Histogram struct {
	kept atomic.Pointer[minute] // nil: nothing has ended yet
}

type minute struct {
	first  time.Duration // when the first thing ever ended
	slices [slices]slice
}

type slice struct {
	took   [buckets]counter
	failed counter
}

// A counter counts within one slice of time at once: the number of the slice is
// in its upper half. So it needs nobody to reset it, and nothing that is counted
// while a slice begins is lost.
type counter struct{ v atomic.Uint64 }

func (c *counter) add(slice uint64) {
	for {
		v := c.v.Load()
		switch {
		case v>>32 == slice:
			c.v.Add(1)
			return
		case v>>32 > slice:
			return // who adds has slept for a minute
		case c.v.CompareAndSwap(v, slice<<32|1):
			return
		}
	}
}

func (c *counter) in(slice uint64) uint64 {
	if v := c.v.Load(); v>>32 == slice {
		return v & (1<<32 - 1)
	}
	return 0
}

// Observe counts what ended at that time. It takes no lock and, but for the first
// time, allocates nothing: it is one atomic addition, and a second one for what
// failed.
func (h *Histogram) Observe(at, took time.Duration, failed bool) {
	at = max(at, 0)
	kept := h.kept.Load()
	if kept == nil {
		kept = h.begin(at)
	}
	n := uint64(at / width)
	s := &kept.slices[n%slices]
	s.took[bucketOf(took)].add(n)
	if failed {
		s.failed.add(n)
	}
}

// begin returns what is kept from the first Observe on.
func (h *Histogram) begin(at time.Duration) *minute {
	h.kept.CompareAndSwap(nil, &minute{first: at})
	return h.kept.Load() // it may be somebody else's
}

// A Minute is what there was in the last minute.
type Minute struct {
	Count  uint64
	Failed uint64        // of Count
	Span   time.Duration // that they were counted in: 50 to 60 s, less where the first one ever was later, at least 1 s
	P50    time.Duration // half of Count took no longer
	P99    time.Duration // 99 % of Count took no longer
}

// Minute returns what there was in the minute before at. P50 and P99 are within
// 10 % of what they would be if every single time had been kept, where what took
// less than 66 µs counts as 66 µs, and what took more than 68.7 s as 68.7 s. Both
// are 0 where Count is.
func (h *Histogram) Minute(at time.Duration) Minute {
	at = max(at, 0)
	newest := uint64(at / width)
	oldest := newest - min(newest, slices-1)
	begin := time.Duration(oldest) * width
	kept := h.kept.Load()
	if kept == nil {
		return Minute{Span: max(at-begin, time.Second)}
	}
	var m Minute
	var sums [buckets]uint64
	for n := oldest; n <= newest; n++ {
		s := &kept.slices[n%slices]
		for i := range s.took {
			c := s.took[i].in(n)
			sums[i] += c
			m.Count += c
		}
		m.Failed += s.failed.in(n)
	}
	m.Span = max(at-max(begin, kept.first), time.Second)
	m.Failed = min(m.Failed, m.Count) // one may have been added in between
	if m.Count > 0 {
		m.P50, m.P99 = quantile(&sums, m.Count, 50), quantile(&sums, m.Count, 99)
	}
	return m
}

// quantile returns what so many per cent of count took at most.
func quantile(sums *[buckets]uint64, count, percent uint64) time.Duration {
	rank := (count*percent + 99) / 100
	last := 0
	for i, n := range sums {
		last = i
		if n >= rank {
			break
		}
		rank -= n
	}
	return timeOf(last)
}

// bucketOf returns the number of the bucket that counts d.
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

// timeOf returns the time that stands for all in a bucket: that which is as many
// per cent above the lowest as below the highest.
func timeOf(bucket int) time.Duration {
	switch bucket {
	case 0:
		return 1 << shortest
	case buckets - 1:
		return 1 << longest
	}
	doublings, part := (bucket-1)/parts+shortest, (bucket-1)%parts
	low := float64(uint64(1)<<doublings) * (1 + float64(part)/parts)
	high := float64(uint64(1)<<doublings) * (1 + float64(part+1)/parts)
	return time.Duration(2 * low * high / (low + high)).Round(time.Microsecond)
}

// A Total counts things from the first one on. The zero value has counted nothing, and
// is small until then. It may be used by any number of goroutines at once, but must not
// be copied.
type Total struct {
	kept atomic.Pointer[sums]
}

type sums struct {
	took   [buckets]atomic.Uint64
	failed atomic.Uint64
}

// Observe counts what took so long. It costs what Histogram.Observe does.
func (t *Total) Observe(took time.Duration, failed bool) {
	kept := t.kept.Load()
	if kept == nil {
		t.kept.CompareAndSwap(nil, new(sums))
		kept = t.kept.Load() // it may be somebody else's
	}
	kept.took[bucketOf(took)].Add(1)
	if failed {
		kept.failed.Add(1)
	}
}

// Sum returns what was counted by all of totals together. Its Span is 0.
func Sum(totals []*Total) Minute {
	var m Minute
	var all [buckets]uint64
	for _, t := range totals {
		kept := t.kept.Load()
		if kept == nil {
			continue
		}
		for i := range kept.took {
			n := kept.took[i].Load()
			all[i] += n
			m.Count += n
		}
		m.Failed += kept.failed.Load()
	}
	m.Failed = min(m.Failed, m.Count) // one may have been added in between
	if m.Count > 0 {
		m.P50, m.P99 = quantile(&all, m.Count, 50), quantile(&all, m.Count, 99)
	}
	return m
}
