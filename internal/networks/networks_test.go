package networks_test

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/networks"
)

func TestAllowsByTheListsAlone(t *testing.T) {
	for _, tt := range []struct {
		name        string
		allow, deny string // separated by spaces
		yes, no     string
	}{
		{name: "no rules", yes: "192.0.2.1 2001:db8::1 ::ffff:192.0.2.1 socket"},
		{
			name:  "only what is allowed",
			allow: "10.0.0.0/8 2001:db8::/32",
			yes:   "10.0.0.0 10.255.255.255 2001:db8::1 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
			no:    "9.255.255.255 11.0.0.0 2001:db7:ffff:: 2001:db9:: socket",
		},
		{
			name: "all but what is denied",
			deny: "10.0.0.0/8",
			yes:  "11.0.0.0 2001:db8::1 socket",
			no:   "10.1.2.3",
		},
		{
			name:  "deny goes before allow",
			allow: "10.0.0.0/8", deny: "10.1.0.0/16",
			yes: "10.0.255.255 10.2.0.0",
			no:  "10.1.0.0 10.1.255.255",
		},
		{
			name:  "even where it is the larger",
			allow: "10.1.2.3", deny: "10.0.0.0/8",
			no: "10.1.2.3",
		},
		{
			name:  "an address alone",
			allow: "192.0.2.7 2001:db8::7",
			yes:   "192.0.2.7 2001:db8::7",
			no:    "192.0.2.6 192.0.2.8 2001:db8::6 2001:db8::8",
		},
		{
			name:  "IPv4 within IPv6",
			allow: "::ffff:10.0.0.0/104 ::ffff:192.0.2.7 172.16.0.0/12",
			yes:   "10.1.2.3 ::ffff:10.1.2.3 192.0.2.7 ::ffff:172.16.0.1",
			no:    "11.0.0.0 ::10.1.2.3",
		},
		{
			name:  "all of one kind",
			allow: "0.0.0.0/0",
			yes:   "0.0.0.0 255.255.255.255 ::ffff:192.0.2.1",
			no:    "::1 socket",
		},
		{
			name:  "zones",
			allow: "fe80::1%eth0 fe80:1::/64",
			yes:   "fe80::1 fe80::1%eth1 fe80:1::5%eth0",
			no:    "fe80::2%eth0",
		},
		{
			name:  "networks within networks",
			allow: "10.1.2.0/24 10.0.0.0/8 10.0.0.0/16 10.1.2.3 12.0.0.0/8 10.0.0.0/8",
			yes:   "10.200.0.1 10.1.2.3 10.1.2.4 12.0.0.1",
			no:    "11.0.0.1 13.0.0.0",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			r, err := networks.Parse(strings.Fields(tt.allow), strings.Fields(tt.deny))
			is.NoErr(err)
			is.Equal(r.IsZero(), tt.allow == "" && tt.deny == "")
			for want, list := range map[bool]string{true: tt.yes, false: tt.no} {
				for _, s := range strings.Fields(list) {
					var addr netip.Addr
					if s != "socket" {
						addr = netip.MustParseAddr(s)
					}
					if got := r.Allows(addr); got != want {
						t.Errorf("%s: %v, want %v", s, got, want)
					}
				}
			}
		})
	}
}

func TestWhatIsNoNetworkIsRefusedWithTheRightForm(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", `"" is no network: want CIDR notation, such as 10.0.0.0/8 or fd00::/8, or an address`},
		{"example.com", `"example.com" is no network`},
		{"10.0.0.0/33", `"10.0.0.0/33" is no network`},
		{"10.0.0.0/", `"10.0.0.0/" is no network`},
		{"10.0.0/8", `"10.0.0/8" is no network`},
		{" 10.0.0.0/8", `" 10.0.0.0/8" is no network`},
		{"192.0.2.1:80", `"192.0.2.1:80" is no network`},
		{"fe80::%eth0/64", `"fe80::%eth0/64" is no network`},
		{"::ffff:10.0.0.0/64", `"::ffff:10.0.0.0/64" is no network`},
		{"10.1.2.3/8", `"10.1.2.3/8" has bits behind its prefix: want 10.0.0.0/8 for the network, or 10.1.2.3 for the address alone`},
		{"::ffff:10.1.2.3/104", `want 10.0.0.0/8 for the network, or 10.1.2.3 for the address alone`},
		{"2001:db8::1/32", `want 2001:db8::/32 for the network, or 2001:db8::1 for the address alone`},
	} {
		is := is.New(t)
		_, err := networks.Parse([]string{"192.0.2.0/24", tt.in}, nil)
		is.True(err != nil)                             // as one that is allowed
		is.True(strings.Contains(err.Error(), tt.want)) // its message
		_, denied := networks.Parse(nil, []string{tt.in})
		is.True(denied != nil) // as one that is denied
		is.Equal(denied.Error(), err.Error())
	}
}

// FuzzAllows compares with a look at every network.
func FuzzAllows(f *testing.F) {
	f.Add("10.0.0.0/8 192.0.2.1", "10.1.0.0/16 fe80::/10", "10.1.2.3")
	f.Add("::/0", "::ffff:10.0.0.0/104 ::1", "::ffff:10.1.2.3")
	f.Add("0.0.0.0/0 0.0.0.0/1 ::/1", "128.0.0.0/2 128.0.0.0/1", "fe80::1%x")
	f.Fuzz(func(t *testing.T, allow, deny, addr string) {
		r, err := networks.Parse(strings.Fields(allow), strings.Fields(deny))
		if err != nil {
			return
		}
		a, _ := netip.ParseAddr(addr)
		allowing := len(strings.Fields(allow)) > 0
		want := (!allowing || among(a, strings.Fields(allow))) && !among(a, strings.Fields(deny))
		if got := r.Allows(a); got != want {
			t.Errorf("allow %q, deny %q: %v is allowed: %v, want %v", allow, deny, a, got, want)
		}
	})
}

// among reports whether one of the list is addr, or has it.
func among(addr netip.Addr, list []string) bool {
	addr = addr.Unmap().WithZone("")
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil && a.Unmap().WithZone("") == addr {
			return true
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			continue
		}
		if p.Addr().Is4In6() {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

func BenchmarkAllows(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	deny := make([]string, 10_000)
	for i := range deny {
		v := rng.Uint32()
		deny[i] = netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}).String()
	}
	r, err := networks.Parse([]string{"0.0.0.0/0"}, deny)
	if err != nil {
		b.Fatal(err)
	}
	addr := netip.MustParseAddr("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		r.Allows(addr)
	}
}
