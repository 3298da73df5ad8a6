package histogram_test

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/histogram"
)

func TestTimeOfWaitingIsAFigureOfItsOwn(t *testing.T) {
	is := is.New(t)
	var traffic histogram.Traffic
	is.Equal(traffic.Minute(0).Waited, 0.0)
	is.Equal(traffic.Minute(0).WaitP99, time.Duration(0))
	for range 3 {
		traffic.Observe(time.Second, 10*time.Millisecond, 0, false)
	}
	traffic.Observe(time.Second, 10*time.Second, 10*time.Second-10*time.Millisecond, true)
	traffic.Observe(time.Second, time.Millisecond, time.Second, false) // a stream, which had begun to wait before
	m := traffic.Minute(time.Second)
	is.Equal(m.Count, uint64(5))
	is.Equal(m.Failed, uint64(1))
	is.True(m.P99 < 12*time.Millisecond) // none of them took longer
	is.Equal(m.Waited, 0.4)
	is.True(9*time.Second < m.WaitP99 && m.WaitP99 < 11*time.Second)
}
