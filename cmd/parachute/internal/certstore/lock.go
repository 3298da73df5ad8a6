package certstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
	"github.com/shahnk19/parachute/internal/acmecache"
)

// lockLook is how often who waits for a lock sees whether the store can be reached.
const lockLook = 30 * time.Second

// A lock is that of a name, in this process.
type lock struct {
	lease    kv.Lease
	seen     map[string]int64 // revisions of what an order may put, when it was taken
	released chan struct{}
}

// Lock locks name against this and other processes. It waits until the lock is free, or
// ctx ends. The lock is released by unlock, or a while after the process has ended or
// cannot reach the store any more. It is an error as well if the store has something that
// an order for name would be put over, and that cannot be read.
func (s *Shared) Lock(ctx context.Context, name string) (unlock func(), err error) {
	for {
		l, err := s.tryLock(ctx, name)
		if l != nil {
			if err = s.checkStored(ctx, name, l); err != nil {
				s.unlock(name, l)
			}
		}
		switch {
		case err != nil:
			return nil, forbidding{fmt.Errorf("lock %s in the store: %w", name, err)}
		case l != nil:
			return func() { s.unlock(name, l) }, nil
		}
	}
}

// tryLock locks name, or returns nil once another one who has it may have released it.
func (s *Shared) tryLock(ctx context.Context, name string) (*lock, error) {
	key := locksPrefix + name
	pairs, revision, err := s.o.Store.Read(ctx, key)
	if err != nil {
		return nil, err
	}
	if find(pairs, key) != nil {
		return nil, s.awaitRelease(ctx, key, revision)
	}
	lease, err := s.o.Store.Grant(ctx, s.o.TTL)
	if err != nil {
		return nil, err
	}
	_, ok, err := s.o.Store.Commit(ctx, []kv.Condition{kv.Missing(key)}, []kv.Write{kv.Put(key, []byte(s.o.Name), lease)})
	if err != nil || !ok {
		s.revoke(lease) // and with it what may have been done
		return nil, err
	}
	l := &lock{lease: lease, seen: make(map[string]int64), released: make(chan struct{})}
	s.begin(func(ctx context.Context) { s.keepLock(ctx, l) })
	return l, nil
}

var errReleased = errors.New("released")

// awaitRelease returns when the key has gone since a revision, or after a while in any
// case.
func (s *Shared) awaitRelease(ctx context.Context, key string, after int64) error {
	looking, cancel := context.WithTimeout(ctx, lockLook)
	defer cancel()
	err := s.o.Store.Watch(looking, key, after, func(_ int64, changes []kv.Change) error {
		for _, c := range changes {
			if c.Key == key && c.Deleted {
				return errReleased
			}
		}
		return nil
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == errReleased, looking.Err() != nil, errors.Is(err, kv.ErrCompacted):
		return nil
	}
	return err
}

// checkStored returns an error for what the store has that cannot be read, and that an order for
// name would be put over. Otherwise l is what the order goes with.
func (s *Shared) checkStored(ctx context.Context, name string, l *lock) error {
	for _, key := range acmecache.Ordered(name) {
		pair, err := s.read(ctx, key)
		if err == nil && pair != nil {
			_, err = s.o.Seal.open(key, pair.Value)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		l.seen[key] = revisionOf(pair)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locks[name] = l
	return nil
}

// keepLock renews the lease of l until that is released or lost.
func (s *Shared) keepLock(ctx context.Context, l *lock) {
	again := time.NewTicker(s.o.TTL / 3)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-l.released:
			return
		case <-ctx.Done():
			return
		}
		if _, err := s.o.Store.Renew(ctx, l.lease); errors.Is(err, kv.ErrLeaseEnded) {
			return
		}
	}
}

func (s *Shared) unlock(name string, l *lock) {
	close(l.released)
	s.mu.Lock()
	if s.locks[name] == l {
		delete(s.locks, name)
	}
	s.mu.Unlock()
	s.revoke(l.lease)
}

// revoke ends a lease, also where what it was for was given up. One that cannot be ended
// now ends by itself.
func (s *Shared) revoke(lease kv.Lease) { _ = s.o.Store.Revoke(context.Background(), lease) }
