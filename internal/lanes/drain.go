package lanes

import (
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/waiting"
)

// DrainTold is Drain, but tells its progress. It calls tell at once, with what is inside
// and an elapsed time of 0, and then once a second if more or less is inside than
// before. It calls also, unless that is nil, to drain elsewhere at the same time, and
// returns how many exchanges both have cut.
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
