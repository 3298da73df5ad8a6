package publish

import (
	"context"
	"slices"
)

// A waiter waits for its turn to change something.
type waiter struct{ name string }

// Turn waits until no change of the part of the thing with that name is under way that
// Reserve began, and all who called Turn for the thing before have left. Then a
// reservation ends no other change. The caller must call leave, once, when its change has
// ended. An error is the cause of ctx's end, or that of a closed Book.
func (b *Book[T]) Turn(ctx context.Context, name string, part Part) (leave func(), err error) {
	me := &waiter{name}
	leave = func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		rest := slices.DeleteFunc(b.lines[name], func(other *waiter) bool { return other == me })
		if b.lines[name] = rest; len(rest) == 0 {
			delete(b.lines, name)
		}
		b.tellLocked()
	}
	b.mu.Lock()
	b.lines[name] = append(b.lines[name], me)
	b.mu.Unlock()
	for {
		isTurn, closed, changed := b.isTurnOf(name, part, me)
		switch {
		case closed:
			leave()
			return nil, b.closed
		case isTurn:
			return leave, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			leave()
			return nil, context.Cause(ctx)
		}
	}
}

// isTurnOf reports whether it is the turn of me, and whether the Book is closed. The channel
// is closed when that may have changed.
func (b *Book[T]) isTurnOf(name string, part Part, me *waiter) (isTurn, closed bool, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	isTurn = b.lines[name][0] == me
	for r := range b.underWay {
		isTurn = isTurn && (r.Name != name || r.part&part == 0)
	}
	return isTurn, b.isClosed, b.changed
}

// tellLocked has those who wait for their turn look again.
func (b *Book[T]) tellLocked() {
	close(b.changed)
	b.changed = make(chan struct{})
}
