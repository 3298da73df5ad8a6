// Package listening tells who answers at an address: we ourselves, or somebody
// else.
package listening

import (
	"net"
	"net/netip"
)

// HasPort reports whether one of the listeners has that port.
func HasPort(listeners []netip.AddrPort, port uint16) bool {
	for _, l := range listeners {
		if l.Port() == port {
			return true
		}
	}
	return false
}

// Reaches reports whether a connection to addr leads to one of the listeners, as
// far as this machine knows: not where somebody in between changes addresses. A
// listener at "0.0.0.0" has every IPv4 address of the machine, one at "::" every
// address.
func Reaches(listeners []netip.AddrPort, addr netip.AddrPort) bool {
	at := addr.Addr().Unmap().WithZone("")
	if at.IsUnspecified() { // where the system takes it for itself
		at = loopbackOf(at)
	}
	for _, l := range listeners {
		if l.Port() == addr.Port() && covers(l.Addr().Unmap().WithZone(""), at) {
			return true
		}
	}
	return false
}

func loopbackOf(at netip.Addr) netip.Addr {
	if at.Is4() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

// covers reports whether a listener gets connections to at.
func covers(listener, at netip.Addr) bool {
	switch {
	case listener == at:
		return true
	case !listener.IsUnspecified() || listener.Is4() && !at.Is4():
		return false
	}
	return at.IsLoopback() || isOfMachine(at)
}

// isOfMachine reports whether at is an address of one of the machine's interfaces.
// Where they cannot be told, none is.
func isOfMachine(at netip.Addr) bool {
	addrs, _ := net.InterfaceAddrs()
	for _, addr := range addrs {
		prefix, ok := addr.(*net.IPNet)
		if !ok {
			continue
		}
		if ip, ok := netip.AddrFromSlice(prefix.IP); ok && ip.Unmap() == at {
			return true
		}
	}
	return false
}

// Find returns the address at which own listens that is one of addresses with that
// port, and whether there is one. It calls addresses only if own has the port.
func Find(own []netip.AddrPort, port uint16, addresses func() []netip.Addr) (netip.AddrPort, bool) {
	if !HasPort(own, port) {
		return netip.AddrPort{}, false
	}
	for _, addr := range addresses() {
		if at := netip.AddrPortFrom(addr, port); Reaches(own, at) {
			return at, true
		}
	}
	return netip.AddrPort{}, false
}
