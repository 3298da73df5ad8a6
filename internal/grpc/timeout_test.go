package grpc_test

import (
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/grpc"
)

func TestTimeoutIsReadAsGRPCHasIt(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"1H": time.Hour, "2M": 2 * time.Minute, "3S": 3 * time.Second,
		"50m": 50 * time.Millisecond, "49999u": 49999 * time.Microsecond, "99999999n": 99999999,
		"0S":        0,
		"99999999H": math.MaxInt64, // which is longer than a Duration can be
	} {
		t.Run(s, func(t *testing.T) {
			is := is.New(t)
			got, ok := grpc.Timeout(http.Header{"Grpc-Timeout": {s}})
			is.True(ok)
			is.Equal(got, want)
		})
	}
}

func TestWhatIsNoTimeoutIsNone(t *testing.T) {
	for _, s := range []string{"", "S", "1", "10", "1s", "-1S", "+1S", "1.5S", "123456789n", "1 S", "1µ", "1SS"} {
		t.Run(s, func(t *testing.T) {
			is := is.New(t)
			got, ok := grpc.Timeout(http.Header{"Grpc-Timeout": {s}})
			is.True(!ok)
			is.Equal(got, time.Duration(0))
		})
	}
	is := is.New(t)
	_, ok := grpc.Timeout(nil)
	is.True(!ok)
}
