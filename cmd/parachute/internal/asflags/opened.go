package asflags

import (
	"net/netip"
	"strings"

	"github.com/shahnk19/parachute"
)

// opened returns a sentence for each thing that a service which serves after lets in and
// did not let in when it served before.
func opened(before, after parachute.Deployment) (all []string) {
	add := func(flag string) {
		all = append(all, after.Service+" is no longer protected by "+flag)
	}
	was, is := before.Access, after.Access
	switch {
	case len(was.Allow) == 0:
	case len(is.Allow) == 0:
		add("--allow")
	default:
		if more := outside(is.Allow, was.Allow); len(more) > 0 {
			all = append(all, after.Service+" lets more clients in than before: --allow "+strings.Join(more, ","))
		}
	}
	if less := outside(was.Deny, is.Deny); len(less) > 0 && len(is.Deny) == 0 {
		add("--deny")
	} else if len(less) > 0 {
		add("--deny " + strings.Join(less, ","))
	}
	if was.BasicAuthFile != "" && is.BasicAuthFile == "" {
		add("--basic-auth-file")
	}
	switch wasOn, isOn := hasTLS(before), hasTLS(after); {
	case wasOn && !isOn:
		add("--tls")
	case wasOn && !before.TLS.NoRedirect && after.TLS.NoRedirect:
		add("--tls-redirect")
	}
	if len(before.Hosts) > 0 && len(after.Hosts) == 0 {
		all = append(all, after.Service+" answers for every host now, and no longer for "+strings.Join(before.Hosts, ", ")+" alone")
	}
	if len(before.PathPrefixes) > 0 && len(after.PathPrefixes) == 0 {
		all = append(all, after.Service+" answers for every path now, and no longer below "+strings.Join(before.PathPrefixes, ", ")+" alone")
	}
	return all
}

func hasTLS(d parachute.Deployment) bool {
	return d.TLS.Mode != parachute.TLSOff && d.TLS.Mode != parachute.TLSInherit
}

// outside returns those of networks that are not within one of others.
func outside(networks, others []string) (rest []string) {
	for _, n := range networks {
		inner, ok := parseNetwork(n)
		within := false
		for _, o := range others {
			outer, known := parseNetwork(o)
			within = within || n == o || ok && known && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
		}
		if !within {
			rest = append(rest, n)
		}
	}
	return rest
}

func parseNetwork(text string) (netip.Prefix, bool) {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err == nil
}
