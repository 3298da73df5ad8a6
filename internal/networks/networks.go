// Package networks decides by address which clients are allowed.
package networks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Rules are a list of allowed networks and a list of denied ones. The zero Rules allow
// every address. Rules do not change, and are safe for concurrent use.
type Rules struct {
	hasAllowList bool // allow was not empty
	allow, deny  set
}

// Parse returns the Rules for two lists of networks in CIDR notation, such as
// 10.0.0.0/8 or fd00::/8. A single address is a network too; its zone is ignored. An
// IPv4-mapped IPv6 address is the same as the IPv4 address.
//
// Bits after the prefix are an error: 10.1.2.3/8 may mean one address or sixteen
// million.
func Parse(allow, deny []string) (Rules, error) {
	r := Rules{hasAllowList: len(allow) > 0}
	var err error
	if r.allow, err = parse(allow); err != nil {
		return Rules{}, err
	}
	if r.deny, err = parse(deny); err != nil {
		return Rules{}, err
	}
	return r, nil
}

// IsZero reports whether r allows every address, as the zero Rules do.
func (r *Rules) IsZero() bool { return !r.hasAllowList && len(r.deny) == 0 }

// Allows reports whether addr is allowed: it is in no denied network and, if there
// are allowed networks, in one of those. An invalid addr, as of a peer on a unix
// socket, is in no network. Zones are ignored, and an IPv4-mapped IPv6 address is the
// same as the IPv4 address.
func (r Rules) Allows(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if r.deny.contains(addr) {
		return false
	}
	return !r.hasAllowList || r.allow.contains(addr)
}

// A set is a list of networks sorted by address, none of which contains another. So an
// address can only be in the last one that does not begin after it.
type set []netip.Prefix

func parse(list []string) (set, error) {
	all := make([]netip.Prefix, 0, len(list))
	for _, s := range list {
		p, err := parsePrefix(s)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	slices.SortFunc(all, netip.Prefix.Compare) // of two with the same address, the larger is first
	var merged set
	for _, p := range all {
		if n := len(merged); n == 0 || !merged[n-1].Overlaps(p) {
			merged = append(merged, p)
		}
	}
	return merged, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && !strings.Contains(s, "/") { // a zone may contain a slash
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err == nil && p.Addr().Is4In6() {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	switch {
	case err != nil || !p.IsValid():
		return netip.Prefix{}, fmt.Errorf("%q is no network: want CIDR notation, such as 10.0.0.0/8 or fd00::/8, or an address", s)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits behind its prefix: want %v for the network, or %v for the address alone", s, p.Masked(), p.Addr())
	}
	return p, nil
}

func (s set) contains(addr netip.Addr) bool {
	i, begins := slices.BinarySearchFunc(s, addr, compareStart)
	return begins || i > 0 && s[i-1].Contains(addr)
}

func compareStart(p netip.Prefix, addr netip.Addr) int { return p.Addr().Compare(addr) }
