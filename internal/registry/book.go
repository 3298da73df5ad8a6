package registry

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/shahnk19/parachute/internal/publish"
	"github.com/shahnk19/parachute/internal/routing"
	"github.com/shahnk19/parachute/internal/verbose"
)

// A Book orders the changes of the services of a Table: each reserves what its service is
// to have, if no other service has that, or has reserved it. Make one with NewBook. Its
// methods may be called from any goroutine.
type Book[V Version[V, S], S any] struct {
	*publish.Book[routing.Wants]
	served func() *Table[V, S]
	errs   Errors
}

// Errors are what the changes of a Book end with.
type Errors struct {
	Superseded error // a newer change of the service came first; the error wraps it, and says which
	Closed     error // no change begins any more
	Invalid    error // what is wished cannot be; the error wraps it, and says why

	// Conflict returns a conflict as an error.
	Conflict func(*routing.Conflict) error
}

// NewBook returns a Book without reservations. Served returns the newest Table.
func NewBook[V Version[V, S], S any](served func() *Table[V, S], errs Errors) *Book[V, S] {
	superseded := func(by uint64) error {
		return verbose.As(errs.Superseded, fmt.Sprintf("superseded by generation %d of the service, which was asked for later", by))
	}
	return &Book[V, S]{publish.NewBook[routing.Wants](superseded, errs.Closed), served, errs}
}

// A Change is what is asked for one service by ReserveAll.
type Change struct {
	Service string
	Part    publish.Part
	Wants   *routing.Wants // nil: the service is taken out
}

// OfService wraps an error with the service that it is about, which is one of several.
func OfService(name string, err error) error {
	return &verbose.Wrapped{Doing: "service " + strconv.Quote(name), Err: err}
}

// Reserve begins a change of a part of a service, as [publish.Book.Reserve] does. It
// returns the error for a conflict, and has changed nothing, where a claim is another
// service's or reserved for one, or where the services of a host would contradict each
// other.
func (b *Book[V, S]) Reserve(ctx context.Context, service string, part publish.Part, w routing.Wants) (*publish.Reservation[routing.Wants], context.Context, error) {
	return b.Book.Reserve(ctx, service, part, w, func(pending iter.Seq2[string, routing.Wants]) error {
		return b.conflict(service, w, pending)
	})
}

// Check returns the error with which Reserve would refuse a service what it wants.
func (b *Book[V, S]) Check(service string, w routing.Wants) error {
	return b.Inspect(func(pending iter.Seq2[string, routing.Wants]) error {
		return b.conflict(service, w, pending)
	})
}

func (b *Book[V, S]) conflict(service string, w routing.Wants, pending iter.Seq2[string, routing.Wants]) error {
	if c := b.served().Conflict(service, w, pending); c != nil {
		return b.errs.Conflict(c)
	}
	return nil
}

// ReserveAll begins all of these changes, each of another service, or none of them, as
// [publish.Book.ReserveAll] does. A service may get what another one gives up. The error
// tells of all conflicts.
func (b *Book[V, S]) ReserveAll(ctx context.Context, all []Change) ([]*publish.Reservation[routing.Wants], context.Context, error) {
	var changes []publish.Change[routing.Wants]
	for _, c := range all {
		change := publish.Change[routing.Wants]{Name: c.Service, Part: c.Part}
		if c.Wants != nil {
			change.Wants = *c.Wants
		}
		changes = append(changes, change)
	}
	return b.Book.ReserveAll(ctx, changes, func(pending iter.Seq2[string, routing.Wants]) error {
		return b.conflicts(b.served(), all, pending)
	})
}

// conflicts returns the error that tells of all conflicts of these changes of services of t:
// with each other, with the other services, and with what is pending.
func (b *Book[V, S]) conflicts(t *Table[V, S], all []Change, pending iter.Seq2[string, routing.Wants]) error {
	changes := make(map[string]*routing.Wants)
	for _, c := range all {
		changes[c.Service] = c.Wants
	}
	var errs []error
	for service, c := range t.Conflicts(changes, pending) {
		errs = append(errs, OfService(service, b.errs.Conflict(c)))
	}
	return verbose.Join(errs...)
}

func nothing(func(string, routing.Wants) bool) {}

// Impose returns the next versions of services of t that were changed elsewhere, by name
// and without those that are taken out. The next version is what become returns, which
// may be none; or if it cannot have what it wants beside the others, what fail returns in
// its place. The error tells of every service for which become has returned an error, or
// fail was called.
//
// Changes that have not come to Commit, and do not go with that, end: those of the services
// themselves, unless their versions keep their numbers, and those that want what these
// have. Numbers go on after theirs.
func (b *Book[V, S]) Impose(t *Table[V, S], services []string, become func(service string, current V) (V, error), fail func(v, current V, err error) V) (map[string]V, error) {
	var none V
	made, changes := map[string]V{}, map[string]*routing.Wants{}
	var errs []error
	for _, name := range services {
		v, err := become(name, t.Services()[name])
		if err != nil {
			errs = append(errs, OfService(name, err))
		}
		if changes[name] = nil; v != none {
			made[name], changes[name] = v, v.Wanted()
		}
	}
	for name, c := range t.Conflicts(changes, nothing) {
		err := b.errs.Conflict(c)
		errs = append(errs, OfService(name, err))
		made[name] = fail(made[name], t.Services()[name], err)
	}
	b.overrule(t, services, made)
	return made, verbose.Join(errs...)
}

// overrule ends the changes that are at odds with made, the next versions of services of t.
func (b *Book[V, S]) overrule(t *Table[V, S], services []string, made map[string]V) {
	var none V
	var number uint64
	for _, v := range made {
		number = max(number, v.Number())
	}
	wanted := func(yield func(string, routing.Wants) bool) {
		for name, v := range made {
			if !yield(name, *v.Wanted()) {
				return
			}
		}
	}
	b.Overrule(number, func(name string, w routing.Wants) error {
		current, next := t.Services()[name], made[name]
		switch {
		case !slices.Contains(services, name):
			if c := t.Conflict(name, w, wanted); c != nil {
				return b.errs.Conflict(c)
			}
		case next == none && current != none:
			return verbose.As(b.errs.Superseded, "superseded by a remove of the service, through another proxy")
		case next != none && (current == none || current.Number() != next.Number()):
			return verbose.As(b.errs.Superseded, fmt.Sprintf("superseded by generation %d of the service, which was deployed through another proxy", next.Number()))
		}
		return nil
	})
}
