package publish_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/publish"
)

var (
	errClosed = errors.New("closed")
	errTaken  = errors.New("taken")
)

const (
	one publish.Part = 1 << iota
	two
)

func newBook() *publish.Book[string] {
	return publish.NewBook[string](func(by uint64) error { return fmt.Errorf("superseded by %d", by) }, errClosed)
}

func nothing(iter.Seq2[string, string]) error { return nil }

func TestNumbersGrowOverAllThings(t *testing.T) {
	is := is.New(t)
	b := newBook()
	for n := uint64(1); n <= 3; n++ {
		r, _, err := b.Reserve(t.Context(), fmt.Sprint("thing-", n), one, "", nothing)
		is.NoErr(err)
		is.Equal(r.Number, n)
		is.Equal(r.Name, fmt.Sprint("thing-", n))
	}
}

func TestReservationIsSeenUntilItIsPublishedOrEnds(t *testing.T) {
	is := is.New(t)
	b := newBook()
	seen := func() (all map[string]string) {
		_, _, err := b.Reserve(t.Context(), "looker", one, "", func(pending iter.Seq2[string, string]) error {
			all = maps.Collect(pending)
			return errTaken
		})
		is.Equal(err, errTaken) // and nothing is reserved
		return all
	}
	published, _, err := b.Reserve(t.Context(), "a", one, "x", nothing)
	is.NoErr(err)
	given, _, err := b.Reserve(t.Context(), "b", one, "y", nothing)
	is.NoErr(err)
	is.Equal(given.Number, uint64(2))
	is.Equal(seen(), map[string]string{"a": "x", "b": "y"})
	stored := ""
	b.Publish(func() { stored = "x" }, published)
	is.Equal(stored, "x")
	is.Equal(seen(), map[string]string{"b": "y"})
	b.End(given)
	is.Equal(seen(), map[string]string{})
	b.Publish(func() { stored = "z" })
	is.Equal(stored, "z")
}

func TestNewerChangeOfTheSamePartEndsAnOlderOneBeforeItsCommit(t *testing.T) {
	tests := []struct {
		older, newer publish.Part
		name         string
		commits      bool
		ended        bool
	}{
		{one, one, "thing", false, true},
		{one, one | two, "thing", false, true},
		{one | two, one | two, "thing", false, true},
		{one | two, one, "thing", false, false}, // it is about more
		{one, two, "thing", false, false},
		{one, one, "other", false, false},
		{one, one, "thing", true, false},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			is := is.New(t)
			b := newBook()
			older, ctx, err := b.Reserve(t.Context(), "thing", tt.older, "", nothing)
			is.NoErr(err)
			if tt.commits {
				is.NoErr(b.Commit(ctx, older))
			}
			newer, _, err := b.Reserve(t.Context(), tt.name, tt.newer, "", nothing)
			is.NoErr(err)
			is.Equal(newer.Supersedes, tt.ended)
			is.Equal(ctx.Err() != nil, tt.ended)
			if tt.ended {
				is.Equal(context.Cause(ctx).Error(), "superseded by 2")
				is.Equal(b.Commit(ctx, older), context.Cause(ctx))
			}
		})
	}
}

func TestCommitComesTooLateForAContextThatHasEnded(t *testing.T) {
	is := is.New(t)
	b := newBook()
	parent, cancel := context.WithCancel(t.Context())
	r, ctx, err := b.Reserve(parent, "thing", one, "", nothing)
	is.NoErr(err)
	cancel()
	is.Equal(b.Commit(ctx, r), context.Canceled)
	is.Equal(b.Commit(parent), context.Canceled)
	is.NoErr(b.Commit(t.Context()))
}

func TestClosedBookLetsNothingBeginAndWaitsForTheRest(t *testing.T) {
	is := is.New(t)
	b := newBook()
	waiting, ended, err := b.Reserve(t.Context(), "a", one, "", nothing)
	is.NoErr(err)
	committing, goesOn, err := b.Reserve(t.Context(), "b", one, "", nothing)
	is.NoErr(err)
	is.NoErr(b.Commit(goesOn, committing))
	is.True(b.Enter())
	idle := b.Close()
	is.Equal(context.Cause(ended), errClosed)
	is.NoErr(goesOn.Err()) // it is too late to end it
	_, _, err = b.Reserve(t.Context(), "c", one, "", nothing)
	is.Equal(err, errClosed)
	is.True(!b.Enter())
	b.End(waiting)
	b.Leave()
	select {
	case <-idle:
		t.Error("a change is still under way")
	default:
	}
	b.End(committing)
	<-idle
	is.True(goesOn.Err() != nil)
}

func TestWhatWasThereBeforeIsPublishedFirstOrNotAtAll(t *testing.T) {
	is := is.New(t)
	b := newBook()
	calls := 0
	is.True(b.PublishFirst(7, func() { calls++ }))
	r, _, err := b.Reserve(t.Context(), "thing", one, "", nothing)
	is.NoErr(err)
	is.Equal(r.Number, uint64(8)) // after the last
	is.True(!b.PublishFirst(9, func() { calls++ }))
	is.Equal(calls, 1)
}

func TestRenumberedReservationIsTheNewest(t *testing.T) {
	is := is.New(t)
	b := newBook()
	older, _, err := b.Reserve(t.Context(), "a", one, "", nothing)
	is.NoErr(err)
	newer, _, err := b.Reserve(t.Context(), "b", one, "", nothing)
	is.NoErr(err)
	b.Renumber(older)
	is.Equal(newer.Number, uint64(2))
	is.Equal(older.Number, uint64(3))
	next, _, err := b.Reserve(t.Context(), "c", one, "", nothing)
	is.NoErr(err)
	is.Equal(next.Number, uint64(4))
}

func TestSeveralChangesAreReservedTogetherOrNotAtAll(t *testing.T) {
	is := is.New(t)
	b := newBook()
	older, olderCtx, err := b.Reserve(t.Context(), "a", one, "x", nothing)
	is.NoErr(err)
	changes := []publish.Change[string]{{Name: "a", Part: one, Wants: "y"}, {Name: "b", Part: one, Wants: "z"}}
	_, _, err = b.ReserveAll(t.Context(), changes, func(iter.Seq2[string, string]) error { return errTaken })
	is.Equal(err, errTaken)
	is.NoErr(olderCtx.Err()) // nothing was begun, so nothing was ended

	all, ctx, err := b.ReserveAll(t.Context(), changes, func(pending iter.Seq2[string, string]) error {
		is.Equal(maps.Collect(pending), map[string]string{"a": "x"})
		return nil
	})
	is.NoErr(err)
	is.Equal([]uint64{all[0].Number, all[1].Number}, []uint64{2, 3})
	is.True(all[0].Supersedes && !all[1].Supersedes)
	is.Equal(context.Cause(olderCtx).Error(), "superseded by 2")
	is.NoErr(b.Commit(ctx, all...))
	b.Publish(func() {}, all...)
	for _, r := range append(all, older) {
		b.End(r)
	}
	<-b.Close() // nothing is under way
}

func TestWhatEndsOneOfSeveralChangesEndsAll(t *testing.T) {
	is := is.New(t)
	b := newBook()
	all, ctx, err := b.ReserveAll(t.Context(), []publish.Change[string]{{Name: "a", Part: one}, {Name: "b", Part: one}}, nothing)
	is.NoErr(err)
	newer, _, err := b.Reserve(t.Context(), "b", one, "", nothing)
	is.NoErr(err)
	is.Equal(context.Cause(ctx).Error(), "superseded by 3")
	is.Equal(b.Commit(ctx, all...), context.Cause(ctx)) // neither of them is published
	for _, r := range append(all, newer) {
		b.End(r)
	}
	<-b.Close()
	_, _, err = b.ReserveAll(t.Context(), []publish.Change[string]{{Name: "a", Part: one}}, nothing)
	is.Equal(err, errClosed)
}

func TestOverruleEndsWhatHasNotComeToCommit(t *testing.T) {
	is := is.New(t)
	b := newBook()
	reserve := func(name string) (*publish.Reservation[string], context.Context) {
		r, ctx, err := b.Reserve(t.Context(), name, one, name+"-wants", nothing)
		is.NoErr(err)
		return r, ctx
	}
	_, ended := reserve("ended")
	_, spared := reserve("spared")
	r, committing := reserve("committing")
	is.NoErr(b.Commit(committing, r))
	b.Overrule(41, func(name string, wants string) error {
		is.Equal(wants, name+"-wants")
		if name == "spared" {
			return nil
		}
		return errTaken
	})
	is.Equal(context.Cause(ended), errTaken)
	is.NoErr(spared.Err())
	is.NoErr(committing.Err())
	next, _ := reserve("next")
	is.Equal(next.Number, uint64(42))
	b.Overrule(7, func(string, string) error { return nil })
	next, _ = reserve("after")
	is.Equal(next.Number, uint64(43)) // it does not go back
}
