package bake

import (
	"sync"
	"time"
)

// Add adds what others have counted of the version since they were asked last. At is now.
func (t *Tally) Add(at time.Duration, c Counts) {
	if c.Requests == 0 {
		return
	}
	if t.elsewhere.Load() == nil {
		t.elsewhere.CompareAndSwap(nil, new([slices]slice))
	}
	put(t.elsewhere.Load(), at, c)
}

// Replace has c be all that others have counted of the version: in the ten minutes before at,
// which is now.
func (t *Tally) Replace(at time.Duration, c Counts) {
	all := new([slices]slice)
	put(all, at, c)
	t.elsewhere.Store(all)
}

// maxPut is the most that is added at once to what one Counter counts, which has 32 bits for
// each slice: once a second is not too much.
const maxPut = 1 << 26

func put(into *[slices]slice, at time.Duration, c Counts) {
	n := uint64(max(at, 0) / width)
	s := &into[n%uint64(slices)]
	for i, more := range c.took {
		if more > 0 {
			s.took[i].Add(n, min(more, maxPut))
		}
	}
	if c.Failed > 0 {
		s.failed.Add(n, min(c.Failed, maxPut))
	}
}

// A sum is what Own has added up.
type sum struct {
	mu  sync.Mutex // guards what follows
	own reader
	all Counts
}

// Own returns what was counted here and not elsewhere: in the ten minutes before at, which is
// now; and since the version has served, or since ten minutes before the first call. For
// that it must be called at least once in ten minutes.
func (t *Tally) Own(at time.Duration) (recent, all Counts) {
	s := t.sum.Load()
	if s == nil {
		t.sum.CompareAndSwap(nil, &sum{own: reader{tally: t, own: true, slice: oldest(uint64(max(at, 0) / width))}})
		s = t.sum.Load()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.add(s.own.read(at))
	return t.window(at, false), s.all
}
