package admission_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/admission"
)

// A crowd asks a Control for names that it was never asked for.
type crowd struct {
	control *admission.Control
	names   int
}

// admitted returns how many of n new names client is let in with.
func (c *crowd) admitted(t *testing.T, n int, client netip.Addr) int {
	t.Helper()
	count := 0
	for range n {
		c.names++
		switch err := c.control.Admit(t.Context(), fmt.Sprint(c.names), client); {
		case err == nil:
			count++
		case !errors.Is(err, admission.ErrLimit):
			t.Fatal(err)
		}
	}
	return count
}

func TestNewNamesAreLimitedOverAllAndPerClient(t *testing.T) {
	tests := []struct {
		name           string
		all, perClient int
		first, total   int // are admitted of 20 names from each of 10 clients
	}{
		{"as it is", 0, 0, 10, 60},
		{"as said", 30, 7, 7, 30},
		{"over all only", 30, -1, 20, 30},
		{"per client only", -1, 7, 7, 70},
		{"not at all", -1, -1, 20, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				e := &endpoint{}
				c := &crowd{control: open(t, admission.Options{Ask: e.ask, NewNames: tt.all, NewNamesPerClient: tt.perClient})}
				sum := 0
				for i := range 10 {
					n := c.admitted(t, 20, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
					if i == 0 {
						is.Equal(n, tt.first)
					}
					sum += n
				}
				is.Equal(sum, tt.total)
				is.Equal(e.asked.Load(), int64(tt.total)) // no question beyond the limits

				time.Sleep(time.Minute)
				is.Equal(c.admitted(t, 20, netip.AddrFrom4([4]byte{192, 0, 2, 0})), tt.first) // a new minute
			})
		})
	}
}

func TestMinuteBeginsWithTheFirstNewName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		c := &crowd{control: open(t, admission.Options{Ask: new(endpoint).ask})}
		time.Sleep(45 * time.Second)
		is.Equal(c.admitted(t, 11, client), 10)
		time.Sleep(time.Minute - 1)
		is.Equal(c.admitted(t, 1, client), 0)
		time.Sleep(time.Nanosecond)
		is.Equal(c.admitted(t, 11, client), 10)
	})
}

func TestNamesThatAreRememberedAreAnsweredBeyondTheLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		c := open(t, admission.Options{Ask: new(endpoint).ask, NewNames: 1})
		is.NoErr(c.Admit(t.Context(), "a.example.com", client))
		is.True(errors.Is(c.Admit(t.Context(), "b.example.com", client), admission.ErrLimit))
		is.NoErr(c.Admit(t.Context(), "a.example.com", client))
		time.Sleep(time.Minute)
		is.NoErr(c.Admit(t.Context(), "b.example.com", client)) // that it was one too many is not remembered
	})
}

func TestClientsAreToldApart(t *testing.T) {
	tests := []struct {
		name, a, b string
		same       bool
	}{
		{"two addresses", "192.0.2.1", "192.0.2.2", false},
		{"an address and its IPv6 form", "192.0.2.1", "::ffff:192.0.2.1", true},
		{"two IPv4 addresses in IPv6 form", "::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
		{"an IPv6 network", "2001:db8::1", "2001:db8::ffff:0:0:1", true},
		{"two IPv6 networks", "2001:db8::1", "2001:db8:0:1::1", false},
		{"two zones", "fe80::1%eth0", "fe80::2%eth1", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				c := &crowd{control: open(t, admission.Options{Ask: new(endpoint).ask, NewNamesPerClient: 1})}
				is.Equal(c.admitted(t, 2, netip.MustParseAddr(tt.a)), 1)
				want := 1
				if tt.same {
					want = 0
				}
				is.Equal(c.admitted(t, 2, netip.MustParseAddr(tt.b)), want)
			})
		})
	}
}

func TestUnknownClientHasTheLimitOverAllAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		c := &crowd{control: open(t, admission.Options{Ask: new(endpoint).ask, NewNames: 30})}
		is.Equal(c.admitted(t, 40, netip.Addr{}), 30)
	})
}

func TestMoreClientsThanCanBeCountedAreCountedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		c := &crowd{control: open(t, admission.Options{Ask: new(endpoint).ask, NewNames: -1, NewNamesPerClient: 1})}
		is.Equal(c.admitted(t, 2, client), 1)
		other := netip.MustParseAddr("10.0.0.0")
		for range 9_999 {
			is.Equal(c.admitted(t, 1, other), 1)
			other = other.Next()
		}
		is.Equal(c.admitted(t, 1, client), 0) // 10,000 are counted
		is.Equal(c.admitted(t, 1, other), 1)
		is.Equal(c.admitted(t, 1, client), 1)
	})
}
