package page

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/reason"
)

const (
	// stepTime is how long the requests are counted that a point of a chart stands for.
	stepTime = 15 * time.Second

	// steps is how many of these are kept: an hour.
	steps = int(time.Hour / stepTime)

	// recent is how many whole steps the figures of the present are of, beside the one
	// that has not ended: about a minute.
	recent = 3
)

// The classes of answers.
const (
	class2xx = iota // and 1xx, of which 101 alone is the last answer
	class3xx
	class4xx
	class5xx // and requests without any answer
	classes
)

func classNames() [classes]string { return [classes]string{"2xx", "3xx", "4xx", "5xx"} }

func classOf(status int) int {
	if status < 100 || status >= 500 {
		return class5xx
	}
	return max(status/100-2, class2xx)
}

// isError reports whether o is an error of the service or of the proxy, other than
// of the client.
func isError(o *parachute.Outcome) bool {
	switch o.Reason {
	case "":
		return o.Status >= 500
	case reason.Gone.String(), reason.Untaken.String(), reason.StreamClosed.String():
		return false
	case reason.Broken.String(), reason.Malformed.String(), reason.AnswerTooLarge.String(), reason.Timeout.String(), reason.Deadline.String(), reason.Cut.String(), reason.Panic.String():
		return true
	}
	return o.Status >= 500 || o.Status == 0
}

// The buckets of times are quarters of octaves, from 64 us to over a minute: what is
// read from them is within an eighth of what it would be otherwise.
const (
	shortest = 16 // the logarithm to the base 2 of the first bound, in nanoseconds
	octaves  = 20
	buckets  = octaves*4 + 1
)

func bucketOf(d time.Duration) int {
	n := uint64(max(d, 0))
	octave := bits.Len64(n) - 1
	if octave < shortest {
		return 0
	}
	return min((octave-shortest)*4+int(n>>(octave-2)&3)+1, buckets-1)
}

// timeOf returns the middle of a bucket.
func timeOf(bucket int) time.Duration {
	if bucket == 0 {
		return 1 << (shortest - 1)
	}
	octave, quarter := (bucket-1)/4+shortest, (bucket-1)%4
	return time.Duration(1)<<octave + time.Duration(2*quarter+1)<<(octave-3)
}

// counters count the requests of the step that has not ended. A request costs it
// two or three additions.
type counters struct {
	classes [classes]atomic.Uint32
	errors  atomic.Uint32
	times   [buckets]atomic.Uint32
}

func (c *counters) add(o *parachute.Outcome) {
	c.classes[classOf(o.Status)].Add(1)
	if isError(o) {
		c.errors.Add(1)
	}
	took := o.Duration - o.Waited
	if o.Status == 101 { // it lasts as long as its user likes
		took = o.FirstByte
	}
	c.times[bucketOf(took)].Add(1)
}

// counts are what counters have counted. They can be added up.
type counts struct {
	classes [classes]uint32
	errors  uint32
	times   [buckets]uint32
}

// read returns what was counted so far.
func (c *counters) read() (n counts) {
	for i := range c.classes {
		n.classes[i] = c.classes[i].Load()
	}
	n.errors = c.errors.Load()
	for i := range c.times {
		n.times[i] = c.times[i].Load()
	}
	return n
}

// take is read, and begins anew.
func (c *counters) take() (n counts) {
	for i := range c.classes {
		n.classes[i] = c.classes[i].Swap(0)
	}
	n.errors = c.errors.Swap(0)
	for i := range c.times {
		n.times[i] = c.times[i].Swap(0)
	}
	return n
}

func (n *counts) add(m *counts) {
	for i := range n.classes {
		n.classes[i] += m.classes[i]
	}
	n.errors += m.errors
	for i := range n.times {
		n.times[i] += m.times[i]
	}
}

func (n *counts) requests() (all uint32) {
	for _, c := range n.classes {
		all += c
	}
	return all
}

// quantile returns the time that such a share of the requests did not exceed, or 0 if
// there were none.
func (n *counts) quantile(share float64) time.Duration {
	var all uint32
	for _, c := range n.times {
		all += c
	}
	rank := uint32(math.Ceil(share * float64(all)))
	for i, c := range n.times {
		if c >= rank && rank > 0 {
			return timeOf(i)
		}
		rank -= min(c, rank)
	}
	return 0
}

// A step is a point of the charts.
type step struct {
	classes  [classes]uint32
	errors   uint32
	p50, p99 float32 // seconds
	inFlight uint32
}

func (n *counts) step(inFlight int64) step {
	return step{
		classes:  n.classes,
		errors:   n.errors,
		p50:      float32(n.quantile(0.5).Seconds()),
		p99:      float32(n.quantile(0.99).Seconds()),
		inFlight: uint32(min(max(inFlight, 0), math.MaxUint32)),
	}
}

func (s step) requests() (all uint32) {
	for _, c := range s.classes {
		all += c
	}
	return all
}

// A series is the last hour of something: of a service, of a role, of a target.
type series struct {
	ring   []step // grows up to steps
	next   int    // where the next one goes, once ring is full
	recent [recent]counts
}

// end adds the step that has ended.
func (s *series) end(n *counts, inFlight int64) {
	copy(s.recent[1:], s.recent[:])
	s.recent[0] = *n
	if len(s.ring) < steps {
		s.ring = append(s.ring, n.step(inFlight))
		return
	}
	s.ring[s.next] = n.step(inFlight)
	s.next = (s.next + 1) % steps
}

// all returns the steps, the oldest first. They are the caller's.
func (s *series) all() []step {
	return append(append(make([]step, 0, len(s.ring)), s.ring[s.next:]...), s.ring[:s.next]...)
}
