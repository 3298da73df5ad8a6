package routing

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/shahnk19/parachute/internal/hostname"
)

// Wants holds what a service claims, and the policy that other services must agree
// with. A Version embeds it.
type Wants struct {
	Claims []hostname.Claim // no two services have the same one
	Policy Policy           // for the hosts of Claims
}

// Wanted returns w.
func (w *Wants) Wanted() *Wants { return w }

// A Conflict says why a service cannot have what it wants.
type Conflict struct {
	Host    string // hostname.Any is any host
	Prefix  string // "" is every path
	Owner   string // the service that has, or is to have, the claim or the host
	Dispute string // what Owner, with which the host would be shared, does otherwise; "": Owner has the claim
}

// String says what is in conflict, and what would be right.
func (c *Conflict) String() string {
	below := ""
	if c.Prefix != "" {
		below = " below " + c.Prefix
	}
	if c.Dispute != "" {
		return fmt.Sprintf("host %s is shared with service %s, which %s: deploy both alike, or one of them without a say in it", cmp.Or(c.Host, "any"), c.Owner, c.Dispute)
	}
	if c.Host == hostname.Any {
		return fmt.Sprintf("requests for any host%s go to service %s already: name the hosts of this one, or remove %[2]s first", below, c.Owner)
	}
	return fmt.Sprintf("host %s%s is used by another service: %s; remove that one first", c.Host, below, c.Owner)
}

// Owners has what services want, by the hosts of their claims. A nil map is for reading
// only.
type Owners map[string][]owner

type owner struct {
	service string
	wants   *Wants
}

// Add adds a service, which must not be there yet. W must not change from then on.
func (o Owners) Add(service string, w *Wants) {
	for _, c := range w.Claims {
		o[c.Host] = append(o[c.Host], owner{service, w})
	}
}

// Free returns those of w's claims that no service but this one has, and the first
// conflict that it has with others, or nil. What is only in dispute is free.
func (o Owners) Free(service string, w Wants) (free []hostname.Claim, first *Conflict) {
	for _, c := range w.Claims {
		others := func(yield func(string, *Wants) bool) {
			for _, other := range o[c.Host] {
				if !yield(other.service, other.wants) {
					return
				}
			}
		}
		first = cmp.Or(first, conflictOf(c, others, service, w.Policy))
		isTaken := slices.ContainsFunc(o[c.Host], func(other owner) bool {
			return other.service != service && slices.Contains(other.wants.Claims, c)
		})
		if !isTaken {
			free = append(free, c)
		}
	}
	return free, first
}

// Conflict returns why a service cannot have what w wants beside what t's other services
// have and what pending yields, by the names of services; or nil if it can.
func (t *Table[V]) Conflict(service string, w Wants, pending iter.Seq2[string, Wants]) *Conflict {
	return firstConflict(service, w, t.wantsOn, pending)
}

// wantsOn returns what the services want that answer on a host.
func (t *Table[V]) wantsOn(host string) iter.Seq2[string, *Wants] {
	return func(yield func(string, *Wants) bool) {
		if s := t.sites.Get(host); s != nil {
			s.wants(yield)
		}
	}
}

// firstConflict returns why a service cannot have what w wants beside what others want on
// each of its hosts, and what pending yields; or nil if it can.
func firstConflict(service string, w Wants, others func(host string) iter.Seq2[string, *Wants], pending iter.Seq2[string, Wants]) *Conflict {
	reserved := func(yield func(string, *Wants) bool) {
		for name, w := range pending {
			if !yield(name, &w) {
				return
			}
		}
	}
	for _, c := range w.Claims {
		if conflict := conflictOf(c, others(c.Host), service, w.Policy); conflict != nil {
			return conflict
		}
		if conflict := conflictOf(c, reserved, service, w.Policy); conflict != nil {
			return conflict
		}
	}
	return nil
}

// Conflicts yields, by the names of the services in changes, why a service cannot have
// what changes says that it wants: beside what the others in changes want, what t's
// other services have, and what pending yields for these. A service that is nil in
// changes wants nothing any more. Conflicts looks only at the hosts that changes are
// about.
func (t *Table[V]) Conflicts(changes map[string]*Wants, pending iter.Seq2[string, Wants]) iter.Seq2[string, *Conflict] {
	names, changed := slices.Sorted(maps.Keys(changes)), make(Owners)
	for _, service := range names {
		if w := changes[service]; w != nil {
			changed.Add(service, w)
		}
	}
	together := func(host string) iter.Seq2[string, *Wants] {
		return func(yield func(string, *Wants) bool) {
			for service, w := range t.wantsOn(host) {
				if _, isChanged := changes[service]; !isChanged && !yield(service, w) {
					return
				}
			}
			for _, o := range changed[host] {
				if !yield(o.service, o.wants) {
					return
				}
			}
		}
	}
	others := func(yield func(string, Wants) bool) {
		for service, w := range pending {
			if _, isChanged := changes[service]; !isChanged && !yield(service, w) { // else the change ends, or is replaced
				return
			}
		}
	}
	return func(yield func(string, *Conflict) bool) {
		for _, service := range names {
			w := changes[service]
			if w == nil {
				continue
			}
			if c := firstConflict(service, *w, together, others); c != nil && !yield(service, c) {
				return
			}
		}
	}
}

// conflictOf returns why service, with the policy mine, cannot have c, or nil if it
// can. others yields what each service wants, by name.
func conflictOf(c hostname.Claim, others iter.Seq2[string, *Wants], service string, mine Policy) *Conflict {
	isShared := func(other hostname.Claim) bool { return other.Host == c.Host }
	for owner, theirs := range others {
		switch {
		case owner == service:
		case slices.Contains(theirs.Claims, c):
			return &Conflict{Host: c.Host, Prefix: c.Prefix, Owner: owner}
		case slices.ContainsFunc(theirs.Claims, isShared):
			if _, dispute := theirs.Policy.Merge(mine); dispute != "" {
				return &Conflict{Host: c.Host, Owner: owner, Dispute: dispute}
			}
		}
	}
	return nil
}
