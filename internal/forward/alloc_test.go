//go:build !race

package forward_test

import (
	"net/netip"
	"testing"

	"github.com/shahnk19/parachute/internal/forward"
)

// X-Request-Start is made anew only where the time is another, to the millisecond.
func TestSmallGetsOfOneInstantAllocateNothing(t *testing.T) {
	c := newCost(t, "GET /a?b HTTP/1.1\r\n"+browser)
	exchange := c.exchange
	if n := testing.AllocsPerRun(1000, func() { c.run(exchange) }); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestAllocationsOfTargetAndClientAreNone(t *testing.T) {
	c := newCost(t, "GET /api/a?b HTTP/1.1\r\nX-Forwarded-For: 198.51.100.1, 192.0.2.2\r\n"+browser)
	trusted := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	n := testing.AllocsPerRun(1000, func() {
		if _, err := forward.RequestTarget(c.r, "/api"); err != nil {
			t.Fatal(err)
		}
		forward.ClientOf(c.r, trusted, "")
	})
	if n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
