// Package publish replaces versions of named things by newer ones, while others read
// what there is. A Book orders the changes: each reserves what it will have when it is
// published, so that of two that want the same the later one is refused at once, and
// gets a number, by which the newer of two changes of one thing is told. A Publisher has
// the versions that they come to committed, and then stores them in one step.
package publish

import (
	"context"
	"iter"
	"sync"

	"github.com/shahnk19/parachute/internal/gate"
)

// A Part is what of a thing a change is about: a set of bits.
type Part uint8

// A Reservation is a change that has not been published yet.
type Reservation[T any] struct {
	Name       string
	Number     uint64 // higher than that of all reservations before
	Supersedes bool   // it ended another change of the thing

	part       Part
	wants      T
	cancel     context.CancelCauseFunc // only its first call counts
	committing bool                    // it is too late to end it; guarded by Book.mu
}

// A Book has the reservations of changes that each want a T. Make one with NewBook.
// Its methods may be called from any goroutine.
type Book[T any] struct {
	superseded func(by uint64) error
	closed     error
	changes    gate.Gate // counts the changes under way; closed when no more may begin

	mu      sync.Mutex // guards what follows
	number  uint64     // the last one handed out
	pending map[*Reservation[T]]struct{}

	underWay map[*Reservation[T]]struct{} // those that have not come to End, published or not
	lines    map[string][]*waiter         // by name, who waits for a turn; the first in front
	changed  chan struct{}                // closed when somebody's turn may have come
	isClosed bool
}

// NewBook returns a Book without reservations. A change that a newer one ends gets the
// error that superseded returns for the number of that; one that Close ends or
// refuses gets closed.
func NewBook[T any](superseded func(by uint64) error, closed error) *Book[T] {
	return &Book[T]{
		superseded: superseded, closed: closed, pending: make(map[*Reservation[T]]struct{}),
		underWay: make(map[*Reservation[T]]struct{}), lines: make(map[string][]*waiter), changed: make(chan struct{}),
	}
}

// Reserve begins a change of a part of the thing with that name, unless refuse
// returns an error or the Book is closed. refuse is handed what others want, by the
// names of their things; no reservation begins or ends while it runs.
//
// Reserve ends the changes of the same thing that are about no other part of it
// and have not come to Commit. The context that it returns ends with ctx or,
// with the cause, when the reservation is ended. The caller must call End when the
// change and all that comes of it is over.
func (b *Book[T]) Reserve(ctx context.Context, name string, part Part, wants T, refuse func(pending iter.Seq2[string, T]) error) (*Reservation[T], context.Context, error) {
	all, ctx, err := b.ReserveAll(ctx, []Change[T]{{name, part, wants}}, refuse)
	if err != nil {
		return nil, nil, err
	}
	return all[0], ctx, nil
}

// A Change is what Reserve begins.
type Change[T any] struct {
	Name  string
	Part  Part
	Wants T
}

// ReserveAll is Reserve for changes of several things at once, each of a thing of its
// own: it begins all of them or none. They have one context: whatever ends one of the
// reservations, but for its publication, ends the context of all. The caller must call
// End for each.
func (b *Book[T]) ReserveAll(ctx context.Context, changes []Change[T], refuse func(pending iter.Seq2[string, T]) error) ([]*Reservation[T], context.Context, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := refuse(b.allLocked); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	all := make([]*Reservation[T], 0, len(changes))
	reserve := func(c Change[T]) bool {
		if !b.changes.Enter() {
			return false
		}
		b.number++
		r := &Reservation[T]{Name: c.Name, Number: b.number, part: c.Part, wants: c.Wants, cancel: cancel}
		for other := range b.pending {
			if other.Name == c.Name && other.part&^c.Part == 0 && !other.committing {
				r.Supersedes = true
				b.endLocked(other, b.superseded(r.Number))
			}
		}
		b.pending[r], b.underWay[r] = struct{}{}, struct{}{}
		all = append(all, r)
		return true
	}
	for _, c := range changes {
		if !reserve(c) { // all or none: the Book is closed under mu
			return nil, nil, b.closed
		}
	}
	return all, ctx, nil
}

// Inspect calls look with what others want, as Reserve calls refuse, and returns its error.
func (b *Book[T]) Inspect(look func(pending iter.Seq2[string, T]) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return look(b.allLocked)
}

// allLocked yields what is reserved.
func (b *Book[T]) allLocked(yield func(name string, wants T) bool) {
	for r := range b.pending {
		if !yield(r.Name, r.wants) {
			return
		}
	}
}

// Commit keeps other changes from ending those of rs, whose context is ctx, from now on.
// It returns the cause of ctx's end if that came before. Without rs, it is for a change
// that reserves nothing.
func (b *Book[T]) Commit(ctx context.Context, rs ...*Reservation[T]) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, r := range rs {
		r.committing = true
	}
	return nil
}

// Overrule ends each change that has not come to Commit and for which why returns an
// error, with that error: something else is about to be published. Later numbers are
// higher than number.
func (b *Book[T]) Overrule(number uint64, why func(name string, wants T) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.number = max(b.number, number)
	for r := range b.pending {
		if r.committing {
			continue
		}
		if err := why(r.Name, r.wants); err != nil {
			b.endLocked(r, err)
		}
	}
}

// Renumber gives r a number that is higher than that of all reservations before.
func (b *Book[T]) Renumber(r *Reservation[T]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.number++
	r.Number = b.number
}

// Publish calls publish and ends all of rs: whoever reserves sees what they want
// either reserved or published.
func (b *Book[T]) Publish(publish func(), rs ...*Reservation[T]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	publish()
	for _, r := range rs {
		b.endLocked(r, context.Canceled)
	}
}

// PublishFirst is Publish for what was there before the Book: only if nothing was
// reserved yet, which it reports. Numbers then go on after last.
func (b *Book[T]) PublishFirst(last uint64, publish func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.number > 0 {
		return false
	}
	b.number = last
	publish()
	return true
}

// End ends a change that Reserve began, published or not.
func (b *Book[T]) End(r *Reservation[T]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.endLocked(r, context.Canceled)
	delete(b.underWay, r)
	b.tellLocked()
	b.changes.Leave()
}

// endLocked lets go of what r has reserved, and keeps it from coming to Commit.
func (b *Book[T]) endLocked(r *Reservation[T], cause error) {
	delete(b.pending, r)
	r.cancel(cause)
}

// Enter begins a change that reserves nothing, and reports false if the Book is
// closed. If not, the caller must call Leave when the change is over.
func (b *Book[T]) Enter() bool { return b.changes.Enter() }

// Leave ends a change that Enter began.
func (b *Book[T]) Leave() { b.changes.Leave() }

// IsOpen reports whether a change may begin.
func (b *Book[T]) IsOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.isClosed
}

// Close lets no change begin any more, and ends those that have not come to
// Commit. The channel that it returns is closed when none is under way.
func (b *Book[T]) Close() (idle <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	idle = b.changes.Close()
	b.isClosed = true
	b.tellLocked()
	for r := range b.pending {
		if !r.committing {
			b.endLocked(r, b.closed)
		}
	}
	return idle
}
