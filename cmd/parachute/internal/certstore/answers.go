package certstore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
	"github.com/shahnk19/parachute/internal/acmecache"
)

// answers are those to challenges that the store has. Whoever likes can ask for one, with
// a token that they have made up; so there is one read of the store at a time, however
// many ask, and it is for all of them.
type answers struct {
	mu      sync.Mutex // guards what follows
	reading bool
	next    *reading // that begins after the present one; nil: nobody waits for one
}

// A reading is one read of all answers.
type reading struct {
	done  chan struct{} // closed when what follows is there
	pairs map[string][]byte
	err   error
}

// answer returns the answer under key.
func (s *Shared) answer(ctx context.Context, key string) ([]byte, error) {
	r := s.joinReading()
	select {
	case <-r.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if r.err != nil {
		return nil, r.err
	}
	value, ok := r.pairs[answersPrefix+key]
	if !ok {
		return nil, autocert.ErrCacheMiss
	}
	data, err := s.o.Seal.open(key, value)
	if err != nil {
		return nil, fmt.Errorf("%s in the store: %w", key, err)
	}
	return data, nil
}

// joinReading returns a reading that begins after the call.
func (s *Shared) joinReading() *reading {
	a := &s.answers
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next == nil {
		a.next = &reading{done: make(chan struct{})}
	}
	if !a.reading {
		a.reading = true
		s.begin(s.readAnswers)
	}
	return a.next
}

// readAnswers reads until nobody waits any more.
func (s *Shared) readAnswers(ctx context.Context) {
	a := &s.answers
	for {
		a.mu.Lock()
		r := a.next
		a.next = nil
		if r == nil {
			a.reading = false
			a.mu.Unlock()
			return
		}
		a.mu.Unlock()
		var pairs []kv.Pair
		pairs, _, r.err = s.o.Store.Read(ctx, answersPrefix)
		r.pairs = make(map[string][]byte, len(pairs))
		for _, pair := range pairs {
			r.pairs[pair.Key] = pair.Value
		}
		close(r.done)
	}
}

// putAnswer keeps an answer, which goes by itself if this proxy does. That to a challenge
// of a name whose lock was lost is not kept: another proxy has its own there.
func (s *Shared) putAnswer(ctx context.Context, key string, data []byte) error {
	var conditions []kv.Condition
	if order := acmecache.OrderOf(key); order != "" {
		s.mu.Lock()
		if l := s.locks[order]; l != nil {
			conditions = append(conditions, kv.Held(locksPrefix+order, l.lease))
		}
		s.mu.Unlock()
	}
	lease, err := s.o.Store.Grant(ctx, answerTTL)
	if err != nil {
		return err
	}
	_, ok, err := s.o.Store.Commit(ctx, conditions, []kv.Write{kv.Put(answersPrefix+key, s.o.Seal.seal(key, data), lease)})
	if err == nil && !ok {
		err = errOvertaken
	}
	if err != nil {
		s.revoke(lease)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[key] = lease
	return nil
}

// deleteAnswer takes out an answer that was put here.
func (s *Shared) deleteAnswer(ctx context.Context, key string) error {
	s.mu.Lock()
	lease, ok := s.leases[key]
	delete(s.leases, key)
	s.mu.Unlock()
	if !ok {
		return nil
	}
	err := s.o.Store.Revoke(ctx, lease)
	if errors.Is(err, kv.ErrLeaseEnded) {
		return nil
	}
	return err
}
