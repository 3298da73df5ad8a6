package metrics

import (
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute"
)

// A series holds the counts of one service. Counting takes a few atomic
// additions.
type series struct {
	requests   requestCounters
	durations  [roles]requestHistogram
	waits      requestHistogram
	in, out    atomic.Uint64 // bytes
	retries    atomic.Uint64
	unbuffered atomic.Uint64    // answers that should have been buffered, and were not
	probes     [2]atomic.Uint64 // failed, passed
	deploys    [outcomes]atomic.Uint64
	drains     drainHistogram
}

// The values of the label method. Any other method is counted as "other", so
// that clients cannot create new values.
const (
	methodGet = iota
	methodHead
	methodPost
	methodPut
	methodPatch
	methodDelete
	methodOptions
	methodOther
	methods
)

func methodNames() [methods]string {
	return [methods]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}
}

func methodIndex(name string) int {
	switch name {
	case "GET":
		return methodGet
	case "HEAD":
		return methodHead
	case "POST":
		return methodPost
	case "PUT":
		return methodPut
	case "PATCH":
		return methodPatch
	case "DELETE":
		return methodDelete
	case "OPTIONS":
		return methodOptions
	}
	return methodOther
}

// classes is the number of values of the label status. The first is for requests
// whose answer did not begin, the last for a status above 599.
const classes = 7

func classNames() [classes]string {
	return [classes]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx", "other"}
}

// An outcome is how a deploy ended.
type outcome int

const (
	switched outcome = iota
	unhealthy
	superseded
	canceled
	failed
	takenBack // after it had switched, as which it is counted, too
	outcomes
)

func outcomeNames() [outcomes]string {
	return [outcomes]string{"switched", "unhealthy", "superseded", "canceled", "failed", "taken_back"}
}

// request counts a request.
func (s *series) request(method string, o *parachute.Outcome) {
	role := roleOfOutcome(o)
	s.requests.of(requestKey{uint8(methodIndex(method)), role, uint16(o.Status)}).Add(1)
	if o.Status != 101 { // an upgraded connection lasts as long as its user likes
		s.durations[role].observe(max(o.Duration-o.Waited, 0))
	}
	if o.Waited > 0 {
		s.waits.observe(o.Waited)
	}
	if o.BytesIn > 0 {
		s.in.Add(uint64(o.BytesIn))
	}
	if o.BytesOut > 0 {
		s.out.Add(uint64(o.BytesOut))
	}
	if o.Retries > 0 {
		s.retries.Add(uint64(o.Retries))
	}
	if o.Unbuffered != nil {
		s.unbuffered.Add(1)
	}
}

// probe counts a probe, unless it is nil.
func (s *series) probe(p *parachute.Probe) {
	switch {
	case p == nil:
	case p.Passed:
		s.probes[1].Add(1)
	default:
		s.probes[0].Add(1)
	}
}

// requestBounds are the upper bounds of requestHistogram.
var requestBounds = [...]time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

// drainBounds are those of drainHistogram.
var drainBounds = [...]time.Duration{
	10 * time.Millisecond, 100 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second,
	10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute,
}

type (
	requestHistogram struct {
		buckets [len(requestBounds) + 1]atomic.Uint64 // the last one has no bound
		sum     atomic.Int64                          // nanoseconds
	}
	drainHistogram struct {
		buckets [len(drainBounds) + 1]atomic.Uint64
		sum     atomic.Int64
	}
)

func (h *requestHistogram) observe(d time.Duration) {
	observe(d, requestBounds[:], h.buckets[:], &h.sum)
}

// isUsed reports whether something was observed.
func (h *requestHistogram) isUsed() bool {
	for i := range h.buckets {
		if h.buckets[i].Load() > 0 {
			return true
		}
	}
	return false
}

func (h *drainHistogram) observe(d time.Duration) {
	observe(d, drainBounds[:], h.buckets[:], &h.sum)
}

func observe(d time.Duration, bounds []time.Duration, buckets []atomic.Uint64, sum *atomic.Int64) {
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	buckets[i].Add(1)
	sum.Add(int64(d))
}
