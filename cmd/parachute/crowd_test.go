package main_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A crowd is clients that do the same all the time.
type crowd struct {
	got  []atomic.Int64 // answers, by each of them
	done sync.WaitGroup

	mu   sync.Mutex // guards errs
	errs []error
}

// start starts so many clients. come is what each of them does: it counts its answers, and
// returns when it leaves, or with what fails.
func (c *crowd) start(clients int, come func(client int, got *atomic.Int64) error) {
	c.got = make([]atomic.Int64, clients)
	for i := range c.got {
		c.done.Go(func() {
			if err := come(i, &c.got[i]); err != nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.errs = append(c.errs, err)
			}
		})
	}
}

// failed returns what has failed so far.
func (c *crowd) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.errs...)
}

// all returns how many answers they have got.
func (c *crowd) all() (n int64) {
	for i := range c.got {
		n += c.got[i].Load()
	}
	return n
}

// awaitMore returns when each of them has got n answers more.
func (c *crowd) awaitMore(t *testing.T, n int64) {
	t.Helper()
	wanted := make([]int64, len(c.got))
	for i := range c.got {
		wanted[i] = c.got[i].Load() + n
	}
	c.await(t, func() bool {
		for i, n := range wanted {
			if c.got[i].Load() < n {
				return false
			}
		}
		return true
	})
}

// await returns when it has come to something.
func (c *crowd) await(t *testing.T, has func() bool) {
	t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for late := time.After(patience); !has(); {
		if err := c.failed(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-look.C:
		case <-late:
			t.Fatal("somebody gets nothing more")
		}
	}
}
