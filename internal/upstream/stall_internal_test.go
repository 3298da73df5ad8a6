package upstream

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/matryer/is"
)

// How long it takes depends on the machine. How often a target is looked at does not.
func TestTargetThatTakesNothingIsLookedAtSoOftenAndGivenUp(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)
	defer l.Close()
	raw, err := net.Dial("tcp", l.Addr().String()) // nobody accepts it
	is.NoErr(err)
	defer raw.Close()
	c := newTargetConn(raw, 4<<10)
	c.patience.Store(int64(400 * time.Millisecond))
	looks := 0
	c.writes.Apply = func(t time.Time) error {
		if looks++; looks > 100 {
			raw.Close()
		}
		return raw.SetWriteDeadline(t)
	}
	_, err = c.write(make([]byte, 20<<20))
	is.True(errors.Is(err, errStalled))
	is.True(looks <= 4*stallLooks) // some of them while the system took it for the target
}
