// Package histogram tells how many things happened within the last minute, how
// many of them failed and how long they took, from a fixed amount of memory.
package histogram

import (
	"sync/atomic"
	"time"
)

// The minute is kept in slices, the oldest of which is used again for each new
// one.
const (
	slices = 6
	width  = 10 * time.Second // of a slice
)

// Each time is told within 10 %.
const (
	scale   Scale = 5
	buckets       = Doublings*int(scale) + 2
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
	took   [buckets]Counter
	failed Counter
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
	s.took[scale.Bucket(took)].Add(n, 1)
	if failed {
		s.failed.Add(n, 1)
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

// Rate returns how many there were a second.
func (m Minute) Rate() float64 { return float64(m.Count) / m.Span.Seconds() }

// ErrorRate returns how much of them have failed: 0 to 1; 0 where there were none.
func (m Minute) ErrorRate() float64 {
	if m.Count == 0 {
		return 0
	}
	return float64(m.Failed) / float64(m.Count)
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
			c := s.took[i].In(n)
			sums[i] += c
			m.Count += c
		}
		m.Failed += s.failed.In(n)
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

// timeOf returns the time that stands for all in a bucket: that which is as many
// per cent above the lowest as below the highest.
func timeOf(bucket int) time.Duration {
	low, high := scale.Bounds(bucket)
	if low == high {
		return low
	}
	return time.Duration(2 * float64(low) * float64(high) / float64(low+high)).Round(time.Microsecond)
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
	kept.took[scale.Bucket(took)].Add(1)
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
