package hostname

import (
	"cmp"
	"slices"
)

// A Claim is a host with a path prefix.
type Claim struct {
	Host   string // as ParsePattern returns it, or Any
	Prefix string // as ParsePrefix returns it
}

// ParseClaims returns every prefix on every host. Without any hosts or prefixes, all
// of them are meant. canonical has the hosts and given the prefixes that the claims
// were made of, each once: the hosts in their canonical form, the prefixes as they
// were given. What cannot be is left out of all three, and the error tells of the
// first of it.
func ParseClaims(hosts, prefixes []string) (claims []Claim, canonical, given []string, err error) {
	canonical = make([]string, 0, len(hosts))
	for _, host := range hosts {
		pattern, fault := ParsePattern(host)
		if fault != nil {
			err = cmp.Or(err, fault)
		} else if !slices.Contains(canonical, pattern) {
			canonical = append(canonical, pattern)
		}
	}
	given = make([]string, 0, len(prefixes))
	var below []string
	for _, prefix := range prefixes {
		decoded, fault := ParsePrefix(prefix)
		if fault != nil {
			err = cmp.Or(err, fault)
			continue
		}
		if !slices.Contains(given, prefix) {
			given = append(given, prefix)
		}
		if !slices.Contains(below, decoded) {
			below = append(below, decoded)
		}
	}
	on := canonical
	if len(hosts) == 0 {
		on = []string{Any}
	}
	if len(prefixes) == 0 {
		below = []string{""}
	}
	claims = make([]Claim, 0, len(on)*len(below))
	for _, host := range on {
		for _, prefix := range below {
			claims = append(claims, Claim{host, prefix})
		}
	}
	return claims, canonical, given, err
}
