package publish_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"
)

func TestTurnComesWhenNoChangeOfThePartIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBook()
		same, ctx, err := b.Reserve(t.Context(), "a", one|two, "", nothing)
		is.NoErr(err)
		otherPart, _, err := b.Reserve(t.Context(), "a", two, "", nothing)
		is.NoErr(err)
		otherName, _, err := b.Reserve(t.Context(), "b", one, "", nothing)
		is.NoErr(err)
		var hasTurn bool
		go func() {
			leave, err := b.Turn(t.Context(), "a", one)
			if err != nil {
				t.Error(err)
				return
			}
			hasTurn = true
			leave()
		}()
		synctest.Wait()
		is.True(!hasTurn)
		is.NoErr(b.Commit(ctx, same))
		b.Publish(func() {}, same)
		synctest.Wait()
		is.True(!hasTurn) // what comes of it is not over
		b.End(same)
		synctest.Wait()
		is.True(hasTurn)
		b.End(otherPart)
		b.End(otherName)
	})
}

func TestTurnsComeInTheOrderInWhichTheyWereAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBook()
		first, err := b.Turn(t.Context(), "a", one)
		is.NoErr(err)
		other, err := b.Turn(t.Context(), "b", one) // has a line of its own
		is.NoErr(err)
		turns := make(chan int, 3)
		leaves := make(chan func(), 3)
		for i := range 3 {
			go func() {
				leave, err := b.Turn(t.Context(), "a", one)
				if err != nil {
					t.Error(err)
				}
				turns <- i
				leaves <- leave
			}()
			synctest.Wait()
		}
		is.Equal(len(turns), 0)
		first()
		for i := range 3 {
			is.Equal(<-turns, i)
			synctest.Wait()
			is.Equal(len(turns), 0) // the next waits until this one has left
			(<-leaves)()
		}
		other()
	})
}

func TestWhoDoesNotWaitForTheTurnAnyMoreIsOutOfTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBook()
		first, err := b.Turn(t.Context(), "a", one)
		is.NoErr(err)
		ctx, cancel := context.WithCancelCause(t.Context())
		gaveUp := make(chan error, 1)
		go func() {
			_, err := b.Turn(ctx, "a", one)
			gaveUp <- err
		}()
		synctest.Wait()
		tired := errors.New("tired")
		cancel(tired)
		is.Equal(<-gaveUp, tired)
		first()
		last, err := b.Turn(t.Context(), "a", one)
		is.NoErr(err)
		last()
	})
}

func TestClosedBookHasNoTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBook()
		leave, err := b.Turn(t.Context(), "a", one)
		is.NoErr(err)
		waited := make(chan error, 1)
		go func() {
			_, err := b.Turn(t.Context(), "a", one)
			waited <- err
		}()
		synctest.Wait()
		<-b.Close() // a turn is no change that is under way
		is.Equal(<-waited, errClosed)
		leave()
		_, err = b.Turn(t.Context(), "a", one)
		is.Equal(err, errClosed)
	})
}
