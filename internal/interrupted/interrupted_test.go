package interrupted_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/interrupted"
)

// A verbose error has a second line for %+v.
type verbose struct{}

func (verbose) Error() string { return "nothing came" }

func (v verbose) Format(s fmt.State, verb rune) {
	fmt.Fprint(s, v.Error())
	if s.Flag('+') {
		fmt.Fprint(s, "\n  look there")
	}
}

func TestErrorIsWhyTheWaitEndedAndWhatItWasFor(t *testing.T) {
	is := is.New(t)
	reason := errors.New("the reason")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(reason)
	is.Equal(interrupted.Error(ctx, verbose{}, context.DeadlineExceeded, reason), reason) // which says enough
	err := interrupted.Error(ctx, verbose{}, context.DeadlineExceeded)
	is.True(errors.Is(err, reason))
	is.True(errors.Is(err, context.Canceled))
	is.True(errors.Is(err, verbose{}))
	is.True(!errors.Is(err, context.DeadlineExceeded))
	is.Equal(fmt.Sprintf("%v|%s|%q", err, err, err), `the reason: nothing came|the reason: nothing came|"the reason: nothing came"`)
	is.Equal(fmt.Sprintf("%+v", err), "the reason: nothing came\n  look there")
}

func TestWaitEndsAtItsLimitSinceItBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		began := time.Now()
		wait := func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("missing: %w", ctx.Err())
		}
		time.Sleep(20 * time.Second)
		err := interrupted.Within(t.Context(), began, time.Minute, wait)
		is.Equal(time.Since(began), time.Minute)
		is.Equal(err.Error(), "missing: context deadline exceeded") // as wait has returned it
		is.NoErr(interrupted.Within(t.Context(), began, -1, func(ctx context.Context) error {
			_, isLimited := ctx.Deadline()
			is.True(!isLimited)
			return nil
		}))
	})
}

func TestWaitThatIsGivenUpSaysWhy(t *testing.T) {
	is := is.New(t)
	reason := errors.New("the reason")
	ctx, cancel := context.WithCancelCause(context.Background())
	missing := func(context.Context) error { return verbose{} }
	is.Equal(interrupted.Within(ctx, time.Now(), time.Minute, missing), verbose{})
	cancel(reason)
	is.Equal(interrupted.Within(ctx, time.Now(), time.Minute, missing).Error(), "the reason: nothing came")
	is.Equal(interrupted.Within(ctx, time.Now(), time.Minute, missing, reason), reason)
	is.NoErr(interrupted.Within(ctx, time.Now(), -1, func(context.Context) error { return nil })) // it had come
	is.Equal(interrupted.Within(t.Context(), time.Now(), 0, func(ctx context.Context) error { return ctx.Err() }), context.DeadlineExceeded)
}
