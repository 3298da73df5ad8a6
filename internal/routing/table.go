// Package routing says which service answers for a host and a path, and which services
// can have what they want beside each other.
package routing

import (
	"cmp"
	"iter"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/urlpath"
)

// A Version is what a Table answers with: what one service serves for a time. The zero
// value stands for none. What a Version wants never changes.
type Version interface {
	comparable
	Wanted() *Wants // by embedding Wants
}

// A Table says which version of which service answers for a host and a path. It never
// changes, and its methods may be called from any goroutine. The zero Table is empty.
type Table[V Version] struct {
	services map[string]V // by name
	sites    hostname.Map[Site[V]]
	unnamed  *Site[V]
}

// A Site answers for one host, for all hosts that match one wildcard, or for every host
// that has no other site.
type Site[V Version] struct {
	Host   string // the pattern, as a claim has it
	Policy Policy // of all its services
	Secure V      // the first version, by the names of services, whose policy has TLS on; none if none has

	routes []route[V] // the longest prefix first
}

// A route says which version answers for the paths below a prefix.
type route[V Version] struct {
	service string
	version V
	prefix  string // as a claim has it
	escaped string // the same, as it may stand in a header
}

// New returns the table of these versions, which are by the names of their services. No
// two of them have the same claim. The map must not change from then on.
func New[V Version](services map[string]V) Table[V] {
	t := Table[V]{services: services}
	byHost := make(map[string][]route[V])
	for service, v := range services {
		addRoutes(byHost, service, v)
	}
	for host, routes := range byHost {
		t.sites.Set(host, newSite(host, routes))
	}
	t.unnamed = t.findUnnamed()
	return t
}

// WithVersions returns the table in which these versions serve in place of those that t has
// of their services; a version that is none takes its service out. Only the sites of these
// are built anew, so that a change costs little, however many services there are.
func (t *Table[V]) WithVersions(changes map[string]V) Table[V] {
	changed := Table[V]{services: maps.Clone(t.services), sites: t.sites.Clone()}
	if changed.services == nil {
		changed.services = make(map[string]V)
	}
	byHost := make(map[string][]route[V]) // of every host of which something changes
	var none V
	for service, next := range changes {
		if previous := t.services[service]; previous != none {
			delete(changed.services, service)
			for _, c := range previous.Wanted().Claims {
				if _, ok := byHost[c.Host]; !ok {
					byHost[c.Host] = nil
				}
			}
		}
		if next != none {
			changed.services[service] = next
			addRoutes(byHost, service, next)
		}
	}
	isReplaced := func(r route[V]) bool {
		_, ok := changes[r.service]
		return ok
	}
	for host, routes := range byHost {
		if s := t.sites.Get(host); s != nil {
			routes = append(routes, slices.DeleteFunc(slices.Clone(s.routes), isReplaced)...)
		}
		if len(routes) == 0 {
			changed.sites.Delete(host)
		} else {
			changed.sites.Set(host, newSite(host, routes))
		}
	}
	changed.unnamed = changed.findUnnamed()
	return changed
}

// addRoutes adds the routes of a version to those by host.
func addRoutes[V Version](byHost map[string][]route[V], service string, v V) {
	for _, c := range v.Wanted().Claims {
		escaped := (&url.URL{Path: c.Prefix}).EscapedPath()
		byHost[c.Host] = append(byHost[c.Host], route[V]{service, v, c.Prefix, escaped})
	}
}

// newSite returns the site of a host with these routes, which become its own.
func newSite[V Version](host string, routes []route[V]) *Site[V] {
	s := &Site[V]{Host: host, routes: routes}
	slices.SortFunc(routes, func(a, b route[V]) int { return strings.Compare(a.service, b.service) })
	var none V
	for _, r := range routes {
		policy := r.version.Wanted().Policy
		s.Policy, _ = s.Policy.Merge(policy)
		if s.Secure == none && policy.TLS.IsOn() {
			s.Secure = r.version
		}
	}
	slices.SortFunc(routes, func(a, b route[V]) int {
		return cmp.Or(len(b.prefix)-len(a.prefix), strings.Compare(a.service, b.service), strings.Compare(a.prefix, b.prefix))
	})
	return s
}

// findUnnamed returns what Unnamed does.
func (t *Table[V]) findUnnamed() (first *Site[V]) {
	var none V
	for s := range t.sites.All() {
		if s.Secure != none && s.Host != hostname.Any && (first == nil || s.Host < first.Host) {
			first = s
		}
	}
	return first
}

// Services returns the versions of t by the names of their services. The caller must not
// change it.
func (t *Table[V]) Services() map[string]V { return t.services }

// Sites yields every site, in no particular order.
func (t *Table[V]) Sites() iter.Seq[*Site[V]] { return t.sites.All() }

// SitesOf yields the sites on which a service answers, each once.
func (t *Table[V]) SitesOf(service string) iter.Seq[*Site[V]] {
	return func(yield func(*Site[V]) bool) {
		var none V
		v := t.services[service]
		if v == none {
			return
		}
		claims := v.Wanted().Claims
		for i, c := range claims {
			isThere := func(before hostname.Claim) bool { return before.Host == c.Host }
			if !slices.ContainsFunc(claims[:i], isThere) && !yield(t.sites.Get(c.Host)) {
				return
			}
		}
	}
}

// Match returns the site that answers for a host as a client names it, in a Host header
// or as SNI, or nil. It allocates nothing for a canonical name.
func (t *Table[V]) Match(host string) *Site[V] { return t.sites.Match(host) }

// Unnamed returns the site for clients that speak TLS and name no host: the first one, by
// the order of hosts, that has TLS on. If none has, or only the one for every other host,
// it returns nil.
func (t *Table[V]) Unnamed() *Site[V] { return t.unnamed }

// Route returns the version that answers for a request target, or none, with the prefix
// that the target is below, as it may stand in a header, and the target without that. It
// allocates nothing but where a target ends with the prefix.
func (s *Site[V]) Route(target string) (v V, prefix, rest string) {
	for i := range s.routes {
		r := &s.routes[i]
		if rest, ok := urlpath.CutPrefix(target, r.prefix); ok {
			return r.version, r.escaped, rest
		}
	}
	return v, "", ""
}

// Has reports whether ok holds for one of the versions that answer for paths of s.
func (s *Site[V]) Has(ok func(V) bool) bool {
	return slices.ContainsFunc(s.routes, func(r route[V]) bool { return ok(r.version) })
}

// wants yields what the services of s want, by their names.
func (s *Site[V]) wants(yield func(string, *Wants) bool) {
	for _, r := range s.routes {
		if !yield(r.service, r.version.Wanted()) {
			return
		}
	}
}
