package histogram

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// A Scale tells times apart. It is the number of buckets, all of the same width, that
// each doubling between 66 µs and 69 s has. So s has Doublings*s+2 buckets in all, with
// one for what is below, and one for what is above.
type Scale int

// Doublings is how often a time that a Scale tells apart can double.
const Doublings = longest - shortest

// The shortest and the longest time that are told apart, as logarithms to the base 2, in
// nanoseconds.
const (
	shortest = 16 // 66 µs
	longest  = 36 // 69 s
)

// Bucket returns the number of the bucket that counts d, from 0 on.
func (s Scale) Bucket(d time.Duration) int {
	if d < 1<<shortest {
		return 0
	}
	doublings := bits.Len64(uint64(d)) - 1
	if doublings >= longest {
		return Doublings*int(s) + 1
	}
	part := (uint64(d) - 1<<doublings) * uint64(s) >> doublings
	return 1 + (doublings-shortest)*int(s) + int(part)
}

// Bounds returns the shortest time in a bucket, and the shortest in the next one. They
// are the same for the first and for the last bucket.
func (s Scale) Bounds(bucket int) (low, high time.Duration) {
	switch bucket {
	case 0:
		return 1 << shortest, 1 << shortest
	case Doublings*int(s) + 1:
		return 1 << longest, 1 << longest
	}
	doublings, part := (bucket-1)/int(s)+shortest, (bucket-1)%int(s)
	begin, parts := time.Duration(1)<<doublings, time.Duration(s)
	roundUp := parts - 1
	return begin + (begin*time.Duration(part)+roundUp)/parts, begin + (begin*time.Duration(part+1)+roundUp)/parts
}

// A Counter counts within one slice of time at once, of those that are numbered: the
// number of the slice is in its upper half. So it needs nobody to reset it, and nothing
// that is counted while a slice begins is lost. The zero Counter has counted nothing. Its
// methods may be called from any goroutine.
type Counter struct{ v atomic.Uint64 }

// Add counts n more in a slice. What comes after a later slice has begun is not counted.
func (c *Counter) Add(slice, n uint64) {
	for {
		v := c.v.Load()
		switch {
		case v>>32 == slice:
			c.v.Add(n)
			return
		case v>>32 > slice:
			return // who adds has slept for long
		case c.v.CompareAndSwap(v, slice<<32|n):
			return
		}
	}
}

// In returns what was counted in a slice, or 0 if a later one has begun.
func (c *Counter) In(slice uint64) uint64 {
	if v := c.v.Load(); v>>32 == slice {
		return v & (1<<32 - 1)
	}
	return 0
}
