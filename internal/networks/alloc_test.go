//go:build !race

package networks_test

import (
	"net/netip"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/networks"
)

func TestAllowsAllocatesNothing(t *testing.T) {
	is := is.New(t)
	r, err := networks.Parse([]string{"2001:db8::/32", "10.0.0.0/8"}, []string{"10.1.0.0/16", "fe80::/10"})
	is.NoErr(err)
	addrs := []netip.Addr{netip.MustParseAddr("::ffff:10.2.0.1"), netip.MustParseAddr("fe80::1%eth0"), {}}
	is.Equal(testing.AllocsPerRun(100, func() {
		for _, a := range addrs {
			r.Allows(a)
		}
	}), 0.0)
}
