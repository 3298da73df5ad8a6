// Package reservation orders the changes of named things. Each change reserves
// what it will have when it is published, so that of two that want the same the
// later one is refused at once; and it gets a number, by which the newer of two
// changes of one thing is told.
package reservation

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

// A Book has the reservations of changes that each want a T. Make one with New. Its
// methods may be called from any goroutine.
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

// New returns a Book without reservations. A change that a newer one ends gets the
// error that superseded returns for the number of that; one that Close ends or
// refuses gets closed.
func New[T any](superseded func(by uint64) error, closed error) *Book[T] {
	return &Book[T]{
		superseded: superseded, closed: closed, pending: make(map[*Reservation[T]]struct{}),
		underWay: make(map[*Reservation[T]]struct{}), lines: make(map[string][]*waiter), changed: make(chan struct{}),
	}
}

// Reserve begins a change of a part of the thing with that name, unless refuse
// returns an error or the Book is closed. refuse is handed what others want, by the
// names of their things; no reservation begins or ends while it runs.
//
// Reserve ends the changes of the same thing that are about nothing beside the same
// part and have not come to Commit. The context that it returns ends with ctx or,
// with the cause, when the reservation is ended. The caller must call End when the
// change and all that comes of it is over.
func (b *Book[T]) Reserve(ctx context.Context, name string, part Part, wants T, refuse func(pending iter.Seq2[string, T]) error) (*Reservation[T], context.Context, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := refuse(b.allLocked); err != nil {
		return nil, nil, err
	}
	if !b.changes.Enter() {
		return nil, nil, b.closed
	}
	b.number++
	r := &Reservation[T]{Name: name, Number: b.number, part: part, wants: wants}
	for other := range b.pending {
		if other.Name == name && other.part&^part == 0 && !other.committing {
			r.Supersedes = true
			b.endLocked(other, b.superseded(r.Number))
		}
	}
	ctx, r.cancel = context.WithCancelCause(ctx)
	b.pending[r], b.underWay[r] = struct{}{}, struct{}{}
	return r, ctx, nil
}

// Look calls look with what others want, as Reserve calls refuse, and returns its error.
func (b *Book[T]) Look(look func(pending iter.Seq2[string, T]) error) error {
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

// Commit is the point from which no other change ends r, whose context is ctx. It
// returns the cause of ctx's end if that came before. r may be nil, for a change
// that nobody ends.
func (b *Book[T]) Commit(ctx context.Context, r *Reservation[T]) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if r != nil {
		r.committing = true
	}
	return nil
}

// Renumber gives r a number that is higher than that of all reservations before.
func (b *Book[T]) Renumber(r *Reservation[T]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.number++
	r.Number = b.number
}

// Publish calls publish and ends r, which may be nil: whoever reserves sees what r
// wants either reserved or published.
func (b *Book[T]) Publish(r *Reservation[T], publish func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	publish()
	if r != nil {
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

// End is the end of a change that Reserve began, published or not.
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

// Leave is the end of a change that Enter began.
func (b *Book[T]) Leave() { b.changes.Leave() }

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
