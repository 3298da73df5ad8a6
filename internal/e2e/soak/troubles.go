package main

import (
	"context"
	"math/rand/v2"
	"syscall"
	"time"
)

// troubles returns what is done to targets of a service.
func (s *service) troubles() []deed {
	all := []deed{s.withOne(s.kill), s.withOne(s.restart), s.withOne(s.freeze), s.withOne(s.slow), s.withOne(s.closeIdle), s.withOne(s.die)}
	if s.soak.duration >= 2*time.Minute {
		all = append(all, s.withOne(s.freezeForLong))
	}
	return all
}

// withOne does something to an instance that serves.
func (s *service) withOne(do func(context.Context, *rand.Rand, *instance) error) deed {
	return func(ctx context.Context, chance *rand.Rand) error {
		all := append(s.serving(false), s.serving(true)...)
		if len(all) == 0 {
			return nil // the service is removed just now
		}
		return do(ctx, chance, all[chance.IntN(len(all))].instance)
	}
}

func (s *service) kill(ctx context.Context, chance *rand.Rand, in *instance) error {
	defer s.soak.ledger.begin(targetKilled, s.name, in)()
	in.end(syscall.SIGKILL)
	think(ctx, chance, 500*time.Millisecond)
	_, err := in.start(ctx, s.soak.dir)
	return err
}

// die has the instance die in the middle of an answer, if there is one to die in.
func (s *service) die(ctx context.Context, chance *rand.Rand, in *instance) error {
	defer s.soak.ledger.begin(targetDying, s.name, in)()
	in.order(orderDying)
	select {
	case <-in.gone():
	case <-time.After(2 * time.Second):
	}
	in.end(syscall.SIGKILL)
	think(ctx, chance, 500*time.Millisecond)
	_, err := in.start(ctx, s.soak.dir)
	return err
}

// restart restarts the instance as an operator does, at the same address.
func (s *service) restart(ctx context.Context, _ *rand.Rand, in *instance) error {
	defer s.soak.ledger.begin(targetRestart, s.name, in)()
	in.end(syscall.SIGTERM)
	_, err := in.start(ctx, s.soak.dir)
	return err
}

func (s *service) freeze(ctx context.Context, chance *rand.Rand, in *instance) error {
	defer s.soak.ledger.begin(targetFrozen, s.name, in)()
	in.signal(syscall.SIGSTOP)
	defer in.signal(syscall.SIGCONT)
	think(ctx, chance, 1500*time.Millisecond)
	return nil
}

// freezeForLong lasts longer than the proxy waits for a target.
func (s *service) freezeForLong(ctx context.Context, chance *rand.Rand, in *instance) error {
	defer s.soak.ledger.begin(targetFrozen, s.name, in)()
	in.signal(syscall.SIGSTOP)
	defer in.signal(syscall.SIGCONT)
	select {
	case <-time.After(targetTimeout + 2*time.Second):
	case <-ctx.Done():
	}
	return nil
}

func (s *service) slow(ctx context.Context, chance *rand.Rand, in *instance) error {
	defer s.soak.ledger.begin(targetSlow, s.name, in)()
	in.order(orderSlow + " 300ms")
	think(ctx, chance, time.Second)
	in.order(orderSlow + " 0s")
	return nil
}

// closeIdle has the instance close connections, some of which are about to be used.
func (s *service) closeIdle(ctx context.Context, chance *rand.Rand, in *instance) error {
	defer s.soak.ledger.begin(idleClosed, s.name, in)()
	for range 5 {
		in.order(orderIdle)
		think(ctx, chance, 100*time.Millisecond)
	}
	return nil
}
