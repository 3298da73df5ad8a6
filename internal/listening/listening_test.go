package listening_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/listening"
)

func TestConnectionReachesWhoListensThere(t *testing.T) {
	for _, tt := range []struct {
		listener, addr string
		reaches        bool
	}{
		{"127.0.0.1:80", "127.0.0.1:80", true},
		{"127.0.0.1:80", "127.0.0.1:81", false},
		{"127.0.0.1:80", "127.0.0.2:80", false},
		{"127.0.0.1:80", "[::ffff:127.0.0.1]:80", true},
		{"127.0.0.1:80", "0.0.0.0:80", true},
		{"[::1]:80", "[::]:80", true},
		{"[::1]:80", "0.0.0.0:80", false},
		{"0.0.0.0:80", "127.0.0.1:80", true},
		{"0.0.0.0:80", "127.1.2.3:80", true},
		{"0.0.0.0:80", "0.0.0.0:80", true},
		{"0.0.0.0:80", "[::1]:80", false},
		{"0.0.0.0:80", "192.0.2.1:80", false}, // an address of documents alone
		{"[::]:80", "127.0.0.1:80", true},
		{"[::]:80", "[::1]:80", true},
		{"[::]:80", "[2001:db8::1]:80", false},
		{"[::]:80", "127.0.0.1:3000", false},
	} {
		t.Run(tt.listener+" "+tt.addr, func(t *testing.T) {
			is := is.New(t)
			listeners := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:80"), netip.MustParseAddrPort(tt.listener)}
			is.Equal(listening.Reaches(listeners, netip.MustParseAddrPort(tt.addr)), tt.reaches)
		})
	}
}

func TestWildcardListenerHasEveryAddressOfTheMachine(t *testing.T) {
	is := is.New(t)
	addrs, err := net.InterfaceAddrs()
	is.NoErr(err)
	for _, addr := range addrs {
		ip, ok := netip.AddrFromSlice(addr.(*net.IPNet).IP)
		is.True(ok)
		is.True(listening.Reaches([]netip.AddrPort{netip.MustParseAddrPort("[::]:80")}, netip.AddrPortFrom(ip, 80)))
	}
}

func TestPortIsThatOfAnyListener(t *testing.T) {
	is := is.New(t)
	listeners := []netip.AddrPort{netip.MustParseAddrPort("[::]:80"), netip.MustParseAddrPort("[::]:443")}
	is.True(listening.HasPort(listeners, 443))
	is.True(!listening.HasPort(listeners, 3000))
	is.True(!listening.HasPort(nil, 80))
}

func TestAddressesAreAskedForOnlyWhereThePortIsListenedOn(t *testing.T) {
	is := is.New(t)
	own := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:80")}
	addresses := func() []netip.Addr {
		return []netip.Addr{netip.MustParseAddr("192.0.2.8"), netip.MustParseAddr("192.0.2.9")}
	}
	at, ok := listening.Find(own, 80, addresses)
	is.True(ok)
	is.Equal(at, own[0])
	_, ok = listening.Find(own, 80, func() []netip.Addr { return nil })
	is.True(!ok)
	_, ok = listening.Find(own, 81, nil) // which would panic
	is.True(!ok)
}
