package resolve

import (
	"context"
	"net/netip"
)

// Addresses returns the addresses of a host, which may be one, or none if they are not
// known. If o is nil, no name is looked up.
func Addresses(ctx context.Context, host string, o *Options) []netip.Addr {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}
	}
	if o == nil {
		return nil
	}
	name := New(host, *o)
	defer name.Close()
	addrs, _ := name.LookUp(ctx) // whoever connects to the host will learn of an error
	return addrs
}
