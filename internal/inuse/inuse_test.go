package inuse_test

import (
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/inuse"
)

func TestKeyIsUsedUntilEveryUseHasEnded(t *testing.T) {
	is := is.New(t)
	var c inuse.Counter[string]
	is.True(!c.IsUsed("a"))
	c.Acquire("a")
	c.Acquire("a")
	is.True(c.IsUsed("a"))
	is.True(!c.IsUsed("b")) // each key is counted by itself
	c.Release("a")
	is.True(c.IsUsed("a")) // one use is left
	c.Release("a")
	is.True(!c.IsUsed("a"))
	c.Acquire("a")
	is.True(c.IsUsed("a")) // it may be used again
}

func TestUsesOfManyGoroutinesAreCounted(t *testing.T) {
	is := is.New(t)
	var c inuse.Counter[int]
	c.Acquire(1)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				c.Acquire(1)
				c.Release(1)
			}
		})
	}
	wg.Wait()
	is.True(c.IsUsed(1)) // by the first
	c.Release(1)
	is.True(!c.IsUsed(1))
}
