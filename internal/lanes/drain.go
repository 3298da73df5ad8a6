package lanes

import (
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/waiting"
)

// DrainTold is Drain that says how far it is. It calls tell at once, with what is inside
// and no time, and then once a second with what is inside and how long it has drained, if
// that is more or less than before. What it returns are the exchanges that were cut, those
// included that also has cut, which drains elsewhere side by side with it; also may be nil.
func (s Set[T]) DrainTold(limits gate.Limits, done <-chan struct{}, also func() (requests, streams int64), tell func(requests, streams int64, elapsed time.Duration)) (requests, streams int64) {
	wasRequests, wasStreams := s.Inside()
	began := time.Now()
	tell(wasRequests, wasStreams, 0)
	stop := waiting.Every(time.Second, func() {
		if requests, streams := s.Inside(); requests != wasRequests || streams != wasStreams {
			wasRequests, wasStreams = requests, streams
			tell(requests, streams, time.Since(began))
		}
	})
	defer stop()
	var alsoRequests, alsoStreams int64
	var elsewhere sync.WaitGroup
	if also != nil {
		elsewhere.Go(func() { alsoRequests, alsoStreams = also() })
	}
	requests, streams = s.Drain(limits, done)
	elsewhere.Wait()
	return requests + alsoRequests, streams + alsoStreams
}
