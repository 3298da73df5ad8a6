package fleet

import (
	"context"
	"strings"
	"sync"

	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// A storeView is a copy of what is below some prefixes in the store.
type storeView struct {
	mu        sync.Mutex // guards what follows
	pairs     map[string]kv.Pair
	revisions map[string]int64 // by prefix, up to which it is seen; no entry: it was not read yet
}

// observe calls look with what is below the prefixes, and again whenever that has changed,
// until look reports that this is enough, or an error, which observe returns; or until
// ctx ends. Look is not called before all is known, and has the view for itself.
func (m *Member) observe(ctx context.Context, prefixes []string, look func(v *storeView) (enough bool, err error)) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	v := &storeView{pairs: make(map[string]kv.Pair), revisions: make(map[string]int64)}
	changed := make(chan struct{}, 1)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer end(nil)
	for _, prefix := range prefixes {
		watching.Go(func() {
			end(m.watch(ctx, prefix, func(pairs []kv.Pair, revision int64) {
				v.replace(prefix, pairs, revision)
				wake(changed)
			}, func(revision int64, changes []kv.Change) {
				v.change(prefix, changes, revision)
				wake(changed)
			}))
		})
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
		if enough, err := v.show(len(prefixes), look); enough || err != nil {
			return err
		}
	}
}

// wake wakes whoever waits for c, which has room for one.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (v *storeView) replace(prefix string, pairs []kv.Pair, revision int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for key := range v.pairs {
		if strings.HasPrefix(key, prefix) {
			delete(v.pairs, key)
		}
	}
	for _, p := range pairs {
		v.pairs[p.Key] = p
	}
	v.revisions[prefix] = revision
}

func (v *storeView) change(prefix string, changes []kv.Change, revision int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range changes {
		if c.Deleted {
			delete(v.pairs, c.Key)
		} else {
			v.pairs[c.Key] = c.Pair
		}
	}
	v.revisions[prefix] = revision
}

// show calls f if the view has all of its prefixes.
func (v *storeView) show(prefixes int, f func(v *storeView) (bool, error)) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.revisions) < prefixes {
		return false, nil
	}
	return f(v)
}

// below returns the pairs below prefix, by the rest of their keys.
func (v *storeView) below(prefix string) map[string]kv.Pair {
	found := make(map[string]kv.Pair)
	for key, p := range v.pairs {
		if rest, is := strings.CutPrefix(key, prefix); is {
			found[rest] = p
		}
	}
	return found
}
