package lanes_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/gate"
)

func TestDrainTellsAtOnceAndThenOnceASecondWhatHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		l := newLane(newTarget("a"))
		inside := enter(is, l, 3)
		inside[2].BecomeStream(closing{inside[2]})
		leave := func(after time.Duration, who ...*gate.Passage) {
			time.AfterFunc(after, func() {
				for _, p := range who {
					p.Leave()
				}
			})
		}
		leave(2500*time.Millisecond, inside[0])
		leave(5500*time.Millisecond, inside[1])
		var told []string
		requests, streams := set{l}.DrainTold(gate.Limits{Requests: time.Minute, Streams: time.Hour}, nil, nil, func(requests, streams int64, elapsed time.Duration) {
			told = append(told, fmt.Sprint(requests, streams, elapsed))
		})
		is.Equal(told, []string{"2 1 0s", "1 1 3s", "0 1 6s"}) // the end is for who has waited to tell
		is.Equal(requests, int64(0))
		is.Equal(streams, int64(1))
	})
}

func TestDrainTakesAsLongAsWhatIsDrainedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		l := newLane(newTarget("a"))
		stream := enter(is, l, 1)[0]
		stream.BecomeStream(closing{stream})
		began := time.Now()
		requests, streams := set{l}.DrainTold(gate.Limits{Requests: time.Minute}, nil, func() (int64, int64) {
			time.Sleep(5 * time.Second)
			return 2, 3
		}, func(int64, int64, time.Duration) {})
		is.Equal(requests, int64(2))
		is.Equal(streams, int64(4))
		is.Equal(time.Since(began), 5*time.Second) // side by side
	})
}
