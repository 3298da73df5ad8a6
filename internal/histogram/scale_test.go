package histogram_test

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/histogram"
)

func TestEveryTimeIsWithinTheBoundsOfItsBucket(t *testing.T) {
	for _, s := range []histogram.Scale{1, 2, 5} {
		is := is.New(t)
		buckets := histogram.Doublings*int(s) + 2
		last := 0
		for took := 66 * time.Microsecond; took < 68*time.Second; took += took / 50 {
			i := s.Bucket(took)
			low, high := s.Bounds(i)
			if took < low || took >= high || i < last || i <= 0 || i >= buckets-1 {
				t.Fatalf("%v is in bucket %d of %d, from %v to %v", took, i, buckets, low, high)
			}
			last = i
		}
		for i := 1; i < buckets-2; i++ {
			_, high := s.Bounds(i)
			low, _ := s.Bounds(i + 1)
			is.Equal(low, high) // there is no gap
			is.Equal(s.Bucket(high), i+1)
			is.Equal(s.Bucket(high-1), i)
		}
	}
}

func TestWhatIsBeyondTheScaleIsInABucketOfItsOwn(t *testing.T) {
	is := is.New(t)
	const s, shortest, longest = histogram.Scale(5), 1 << 16, 1 << 36
	for took, want := range map[time.Duration]int{
		-time.Second: 0, 0: 0, shortest - 1: 0, shortest: 1,
		longest - 1: 100, longest: 101, 1<<63 - 1: 101,
	} {
		is.Equal(s.Bucket(took), want)
	}
	for bucket, want := range map[int]time.Duration{0: shortest, 101: longest} {
		low, high := s.Bounds(bucket)
		is.Equal(low, want)
		is.Equal(high, want)
	}
}

func TestCounterCountsWithinTheNewestSlice(t *testing.T) {
	is := is.New(t)
	var c histogram.Counter
	is.Equal(c.In(0), uint64(0))
	c.Add(7, 1)
	c.Add(7, 1)
	is.Equal(c.In(7), uint64(2))
	is.Equal(c.In(6), uint64(0))
	c.Add(6, 1) // too late
	is.Equal(c.In(7), uint64(2))
	c.Add(8, 1)
	is.Equal(c.In(8), uint64(1))
	is.Equal(c.In(7), uint64(0))
}
