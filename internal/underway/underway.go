// Package underway keeps what is going on at the moment.
package underway

import (
	"slices"
	"sync"
)

// A Register holds what has begun and not ended. The zero Register is empty. Its
// methods may be called from any goroutine.
type Register[T any] struct {
	mu      sync.Mutex // guards entries
	entries []*T       // the oldest first
}

// Begin has x be under way until end is called.
func (r *Register[T]) Begin(x T) (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry := &x
	r.entries = append(r.entries, entry)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.entries = slices.DeleteFunc(r.entries, func(e *T) bool { return e == entry })
	}
}

// All returns what is under way, the oldest first.
func (r *Register[T]) All() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]T, 0, len(r.entries))
	for _, e := range r.entries {
		all = append(all, *e)
	}
	return all
}
