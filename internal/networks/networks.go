// Package networks decides by its address whether somebody may come in.
package networks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Rules are a list of networks that are allowed and one of those that are
// denied. The zero Rules allow everybody. They never change, and any number of
// goroutines may use them.
type Rules struct {
	hasAllowList bool // there is a list of those who are allowed
	allow, deny  set
}

// Parse returns the Rules for two lists of networks in CIDR notation, such as
// 10.0.0.0/8 or fd00::/8. An address alone is a network of its own; its zone
// does not count. An IPv6 address that stands for an IPv4 one counts as that.
//
// Bits behind the prefix are refused: 10.1.2.3/8 may have been meant for one
// address as well as for sixteen million.
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

// Allows reports whether addr may come in: it is in no network that is denied,
// and in one that is allowed if any is. An addr that is not valid, as that of a
// peer on a unix socket, is in no network at all. Zones do not count, and an
// IPv6 address that stands for an IPv4 one counts as that.
func (r Rules) Allows(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if r.deny.contains(addr) {
		return false
	}
	return !r.hasAllowList || r.allow.contains(addr)
}

// A set is networks in the order of their addresses, none of which is part of
// another. So an address can only be in the last one that begins before it.
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
	slices.SortFunc(all, netip.Prefix.Compare) // the larger first of two that begin alike
	var merged set
	for _, p := range all {
		if n := len(merged); n == 0 || !merged[n-1].Overlaps(p) {
			merged = append(merged, p)
		}
	}
	return merged, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && !strings.Contains(s, "/") { // which a zone may
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
