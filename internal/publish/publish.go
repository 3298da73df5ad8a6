package publish

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/waiting"
)

// A Publisher has the newest snapshot S of named things, each of which has one version V
// or none. A snapshot never changes: readers load it, and wait for nobody, while the
// changes of a Book, which want a W each, take turns to replace it. Make one with New.
// Its methods may be called from any goroutine, but not from the funcs that they call.
type Publisher[S, V, W any] struct {
	book    *Book[W]
	current atomic.Pointer[S]

	// turn is a lock: whoever has it holds it from before a commit until its snapshot is
	// stored, so that what is kept and what is read change in the same order. It guards
	// what follows. It is a channel, for a commit may take long, and those who wait for it
	// may give up.
	turn      chan struct{}
	snapshots Snapshots[S, V]
	isClosed  bool
}

// Snapshots says what a Publisher has to know of its snapshots. It calls one of these
// funcs at a time.
type Snapshots[S, V any] struct {
	// Versions returns the versions in s by the names of their things.
	Versions func(s *S) map[string]*V

	// Next returns the snapshot after s, in which there are these versions in place of
	// those that s has of their things; nil stands for none. Until it is published the
	// versions may still be changed.
	Next func(s *S, changes map[string]*V) *S

	// Commit, if not nil, keeps what next, which is about to take the place of previous,
	// says of the things with these names. An error keeps next from being published.
	Commit func(previous, next *S, names ...string) error

	// Replaced is called when previous has been replaced by next, which is nil if the
	// thing is not there any more.
	Replaced func(previous, next *V)

	// Published, if not nil, is called last for a Publication, for whoever makes the
	// same change elsewhere.
	Published func(name string, next *V)
}

// New returns a Publisher of first, whose reservations are in the Book.
func New[S, V, W any](b *Book[W], first *S, snapshots Snapshots[S, V]) *Publisher[S, V, W] {
	p := &Publisher[S, V, W]{book: b, snapshots: snapshots, turn: make(chan struct{}, 1)}
	p.current.Store(first)
	return p
}

func (p *Publisher[S, V, W]) lock()   { p.turn <- struct{}{} }
func (p *Publisher[S, V, W]) unlock() { <-p.turn }

// Load returns the newest snapshot.
func (p *Publisher[S, V, W]) Load() *S { return p.current.Load() }

// A Publication is the next version of one thing.
type Publication[V, W any] struct {
	Name        string
	Reservation *Reservation[W] // ends when it is published; nil: there is none

	// Change makes the next version of the current one, which is nil where there is
	// none. To return nil takes the thing out.
	Change   func(current *V) (next *V, err error)
	Announce func(next *V) // is called when it is published, before the next change has its turn

	// Refused, if not nil, takes an error of the commit, and what has changed is
	// published all the same. It must be nil or not for all that are published together.
	Refused *error

	Previous, Next *V // what was replaced by what, once it is published
}

// Publish is PublishAll for one thing: res may be nil.
func (p *Publisher[S, V, W]) Publish(ctx context.Context, res *Reservation[W], name string, change func(current *V) (next *V, err error), announce func(next *V)) (previous, next *V, err error) {
	pub := &Publication[V, W]{Name: name, Reservation: res, Change: change, Announce: announce}
	if err := p.PublishAll(ctx, pub); err != nil {
		return nil, nil, err
	}
	return pub.Previous, pub.Next, nil
}

// PublishAll replaces the current versions of different things from one moment to the
// next: all of them or none. It has the outcome committed before, and then stores the
// snapshot that says so. After an error, which may be a change's, the commit's, the cause
// of ctx's end or, after Close, that of a closed Book, nothing has changed.
func (p *Publisher[S, V, W]) PublishAll(ctx context.Context, all ...*Publication[V, W]) error {
	select {
	case p.turn <- struct{}{}:
		defer p.unlock()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if p.isClosed {
		return p.book.closed
	}
	var reservations []*Reservation[W]
	for _, pub := range all {
		if pub.Reservation != nil {
			reservations = append(reservations, pub.Reservation)
		}
	}
	if err := p.book.Commit(ctx, reservations...); err != nil {
		return err
	}
	current := p.Load()
	versions, changes := p.snapshots.Versions(current), make(map[string]*V)
	var changed []*Publication[V, W]
	for _, pub := range all {
		previous := versions[pub.Name]
		next, err := pub.Change(previous)
		if err != nil {
			return err
		}
		if pub.Previous, pub.Next = previous, next; previous != nil || next != nil {
			changes[pub.Name], changed = next, append(changed, pub)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	next := p.snapshots.Next(current, changes)
	if p.snapshots.Commit != nil {
		switch err := p.snapshots.Commit(current, next, slices.Sorted(maps.Keys(changes))...); {
		case err != nil && all[0].Refused == nil:
			return err
		case err != nil:
			*all[0].Refused = err
		}
	}
	p.book.Publish(func() { p.current.Store(next) }, reservations...)
	for _, pub := range changed {
		if pub.Previous != nil {
			p.snapshots.Replaced(pub.Previous, pub.Next)
		}
		pub.Announce(pub.Next)
		if p.snapshots.Published != nil {
			p.snapshots.Published(pub.Name, pub.Next)
		}
	}
	return nil
}

// PublishMade is PublishAll for the things with these names. next is called once, when it is
// their turn, and returns the next versions of all, by name; a thing that has none is taken
// out. announce is called as that of a Publication. PublishMade returns what was replaced
// by what, in the order of names.
func (p *Publisher[S, V, W]) PublishMade(ctx context.Context, names []string, next func() map[string]*V, announce func(previous, next *V)) ([]*Publication[V, W], error) {
	made := sync.OnceValue(next)
	var all []*Publication[V, W]
	for _, name := range names {
		pub := &Publication[V, W]{Name: name}
		pub.Change = func(*V) (*V, error) { return made()[name], nil }
		pub.Announce = func(v *V) { announce(pub.Previous, v) }
		all = append(all, pub)
	}
	return all, p.PublishAll(ctx, all...)
}

// PublishFirst publishes without a commit what was there before the Publisher, and
// reports true, if it has no version yet, was not closed, and nothing was reserved.
// Numbers then go on after last.
func (p *Publisher[S, V, W]) PublishFirst(first *S, last uint64) bool {
	p.lock()
	defer p.unlock()
	if p.isClosed || len(p.snapshots.Versions(p.Load())) > 0 {
		return false
	}
	return p.book.PublishFirst(last, func() { p.current.Store(first) })
}

// Renew publishes without a commit what renewed makes of each version, and returns those
// that were replaced: none after Close.
func (p *Publisher[S, V, W]) Renew(renewed func(current *V) *V) (replaced []*V) {
	p.lock()
	defer p.unlock()
	if p.isClosed {
		return nil
	}
	current, changes := p.Load(), make(map[string]*V)
	for name, v := range p.snapshots.Versions(current) {
		changes[name] = renewed(v)
	}
	return p.replaceLocked(p.snapshots.Next(current, changes))
}

// Close publishes last, which has no versions, without a commit, and returns the
// versions that were published until then. Nothing is published any more.
func (p *Publisher[S, V, W]) Close(last *S) (replaced []*V) {
	p.lock()
	defer p.unlock()
	p.isClosed = true
	return p.replaceLocked(last)
}

func (p *Publisher[S, V, W]) replaceLocked(next *S) (replaced []*V) {
	previous, versions := p.snapshots.Versions(p.Load()), p.snapshots.Versions(next)
	p.current.Store(next)
	for name, v := range previous {
		p.snapshots.Replaced(v, versions[name])
	}
	return slices.Collect(maps.Values(previous))
}

// CommitAgain has what the current snapshot says of the things with these names
// committed, unless the Publisher is closed or commits nothing any more.
func (p *Publisher[S, V, W]) CommitAgain(names ...string) error {
	p.lock()
	defer p.unlock()
	if p.isClosed || p.snapshots.Commit == nil {
		return nil
	}
	current := p.Load()
	return p.snapshots.Commit(current, current, names...)
}

// CommitLater calls CommitAgain after ever longer pauses until that succeeds, for what was
// published although its commit was refused. When done is closed it does so at once, for
// the last time. It is a change that is under way until then, and does not wait for it;
// nothing is done if the Book is closed.
func (p *Publisher[S, V, W]) CommitLater(done <-chan struct{}, names ...string) {
	if p.book.Enter() {
		go p.keepCommitting(done, names)
	}
}

func (p *Publisher[S, V, W]) keepCommitting(done <-chan struct{}, names []string) {
	defer p.book.Leave()
	waiting.Retry(time.Second, 30*time.Second, done, func() bool { return p.CommitAgain(names...) == nil })
}

// StopCommitting has nothing committed any more.
func (p *Publisher[S, V, W]) StopCommitting() {
	p.lock()
	defer p.unlock()
	p.snapshots.Commit = nil
}
