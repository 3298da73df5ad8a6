// Package inuse counts how often something is in use.
package inuse

import "sync"

// A Counter counts uses by key. The zero value has none. Its methods may be called
// from any goroutine.
type Counter[K comparable] struct {
	mu   sync.Mutex // guards uses
	uses map[K]int  // never 0
}

// Acquire begins a use of key.
func (c *Counter[K]) Acquire(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.uses == nil {
		c.uses = make(map[K]int)
	}
	c.uses[key]++
}

// Release ends a use of key, which Acquire began.
func (c *Counter[K]) Release(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.uses[key] <= 1 {
		delete(c.uses, key)
	} else {
		c.uses[key]--
	}
}

// IsUsed reports whether a use of key has begun and not ended.
func (c *Counter[K]) IsUsed(key K) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.uses[key] > 0
}
