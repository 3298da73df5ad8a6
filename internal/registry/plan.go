package registry

import (
	"maps"
	"slices"
	"strings"

	"github.com/shahnk19/parachute/internal/verbose"
)

// A Wish says what one of several services is to be.
type Wish struct {
	Change
	IsKept bool  // it is that already
	Err    error // why it cannot be that
}

// Plan returns the wishes that can come true together, sorted by the names of their services:
// without those for services to be taken out that t has not. The error tells of every service
// that is why they cannot: it has an Err, it is named twice, or it would conflict with another
// one.
func (b *Book[V, S]) Plan(t *Table[V, S], wishes []Wish) ([]Wish, error) {
	var none V
	all := make(map[string]Wish)
	var errs []error
	for _, w := range wishes {
		earlier, isThere := all[w.Service]
		err := w.Err
		switch {
		case err != nil:
		case !isThere:
		case (earlier.Wants == nil) != (w.Wants == nil):
			err = verbose.As(b.errs.Invalid, "it is to be deployed and to be removed")
		case w.Wants != nil:
			err = verbose.As(b.errs.Invalid, "it is there twice")
		}
		switch {
		case err != nil:
			errs = append(errs, OfService(w.Service, err))
		case w.Wants != nil || t.Services()[w.Service] != none:
			all[w.Service] = w
		}
	}
	if err := verbose.Join(errs...); err != nil {
		return nil, err
	}
	planned := slices.SortedFunc(maps.Values(all), func(a, b Wish) int { return strings.Compare(a.Service, b.Service) })
	var changes []Change
	for _, w := range planned {
		if !w.IsKept {
			changes = append(changes, w.Change)
		}
	}
	return planned, b.conflicts(t, changes, nothing)
}
