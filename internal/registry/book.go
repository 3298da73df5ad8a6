package registry

import (
	"context"
	"fmt"
	"iter"
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

// A Change is what several changes, which are begun together, say of one service.
type Change struct {
	Service string
	Part    publish.Part
	Wants   *routing.Wants // nil: the service is taken out
}

// OfService says in front of an error which of several services it is about.
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
	return b.Look(func(pending iter.Seq2[string, routing.Wants]) error {
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
		return b.together(b.served(), all, pending)
	})
}

// CheckAll returns the error with which ReserveAll would refuse these changes of what t
// has, if nothing were reserved.
func (b *Book[V, S]) CheckAll(t *Table[V, S], all []Change) error {
	return b.together(t, all, nothing)
}

func (b *Book[V, S]) together(t *Table[V, S], all []Change, pending iter.Seq2[string, routing.Wants]) error {
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

// Imposed yields, by name, why some of services cannot have what made has of them, beside
// the others of t. Those that made does not have are taken out.
func (t *Table[V, S]) Imposed(services []string, made map[string]V) iter.Seq2[string, *routing.Conflict] {
	var none V
	changes := make(map[string]*routing.Wants)
	for _, name := range services {
		if changes[name] = nil; made[name] != none {
			changes[name] = made[name].Wanted()
		}
	}
	return t.Conflicts(changes, nothing)
}

// Overrule ends the changes that have not come to Commit and do not go with what is about
// to take the place of services of t, as Imposed is told of it: those of the services
// themselves, unless their versions keep their numbers, and those that want what these
// have. Numbers go on after theirs.
func (b *Book[V, S]) Overrule(t *Table[V, S], services []string, made map[string]V) {
	var none V
	var number uint64
	isImposed := make(map[string]bool)
	for _, name := range services {
		if isImposed[name] = true; made[name] != none {
			number = max(number, made[name].Number())
		}
	}
	wanted := func(yield func(string, routing.Wants) bool) {
		for name, v := range made {
			if !yield(name, *v.Wanted()) {
				return
			}
		}
	}
	b.Book.Overrule(number, func(name string, w routing.Wants) error {
		current, next := t.Services()[name], made[name]
		switch {
		case !isImposed[name]:
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
