package hostname

import (
	"iter"
	"maps"
	"strings"
)

// Any is the pattern that stands for every host which no other pattern matches.
const Any = ""

// A Map holds values by patterns of hosts, as [ParsePattern] returns them, and
// by [Any]. The zero Map is empty. Its methods other than Set and Delete may be
// called from any goroutine, as long as none calls one of these.
type Map[V any] struct {
	exact    map[string]*V
	wildcard map[string]*V // by what follows "*." in the pattern
	any      *V
}

// Set makes v the value for a pattern, in place of the one that it had.
func (m *Map[V]) Set(pattern string, v *V) {
	if m.exact == nil {
		m.exact, m.wildcard = make(map[string]*V), make(map[string]*V)
	}
	if pattern == Any {
		m.any = v
	} else if parent, ok := CutWildcard(pattern); ok {
		m.wildcard[parent] = v
	} else {
		m.exact[pattern] = v
	}
}

// Delete takes the value for a pattern out, if there is one.
func (m *Map[V]) Delete(pattern string) {
	if pattern == Any {
		m.any = nil
	} else if parent, ok := CutWildcard(pattern); ok {
		delete(m.wildcard, parent)
	} else {
		delete(m.exact, pattern)
	}
}

// Clone returns a Map with the same values, which may be changed apart from m.
func (m *Map[V]) Clone() Map[V] {
	return Map[V]{exact: maps.Clone(m.exact), wildcard: maps.Clone(m.wildcard), any: m.any}
}

// Get returns the value that was set for this very pattern, or nil.
func (m *Map[V]) Get(pattern string) *V {
	if pattern == Any {
		return m.any
	}
	if parent, ok := CutWildcard(pattern); ok {
		return m.wildcard[parent]
	}
	return m.exact[pattern]
}

// Match returns the value for a host as a client names it, in a Host header or
// as SNI, or nil: the value of the host itself, else that of the wildcard one
// label above it, else that of Any. A name of more than [MaxLen] bytes matches
// nothing. Match allocates nothing for a canonical name.
func (m *Map[V]) Match(host string) *V {
	name := Canonical(host)
	if len(name) > MaxLen {
		return nil
	}
	if v := m.exact[name]; v != nil {
		return v
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		if v := m.wildcard[parent]; v != nil {
			return v
		}
	}
	return m.any
}

// All yields every value, in no particular order.
func (m *Map[V]) All() iter.Seq[*V] {
	return func(yield func(*V) bool) {
		for _, v := range m.exact {
			if !yield(v) {
				return
			}
		}
		for _, v := range m.wildcard {
			if !yield(v) {
				return
			}
		}
		if m.any != nil {
			yield(m.any)
		}
	}
}
