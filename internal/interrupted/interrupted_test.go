package interrupted_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

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
