package verbose_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/verbose"
)

type problem struct{}

func (problem) Error() string                   { return "a problem" }
func (p problem) Format(s fmt.State, verb rune) { verbose.Format(s, verb, p, "a problem\n  of 100%") }

func TestOnlyTheVerboseFormTellsMore(t *testing.T) {
	is := is.New(t)
	for format, want := range map[string]string{
		"%v":   "a problem",
		"%s":   "a problem",
		"%q":   `"a problem"`,
		"%10v": " a problem",
		"%+v":  "a problem\n  of 100%",
		"%+s":  "a problem",
	} {
		is.Equal(fmt.Sprintf(format, problem{}), want)
	}
}

func TestWrappedSaysWhatWasBeingDoneAndWhatIsAsItWas(t *testing.T) {
	is := is.New(t)
	err := &verbose.Wrapped{Doing: "deploy web", Err: problem{}}
	is.Equal(fmt.Sprintf("%v", err), "deploy web: a problem")
	is.Equal(fmt.Sprintf("%+v", err), "deploy web: a problem\n  of 100%")
	err.After = "nothing was changed"
	is.Equal(fmt.Sprintf("%v", err), "deploy web: a problem")
	is.Equal(fmt.Sprintf("%+v", err), "deploy web: a problem\n  of 100%\n  nothing was changed")
	is.Equal(err.Unwrap(), problem{})
}

func TestJoinedErrorsReadAsOneSentenceOrOneLineEach(t *testing.T) {
	is := is.New(t)
	is.Equal(verbose.Join(nil, nil), nil)
	is.Equal(verbose.Join(nil, io.EOF), io.EOF) // the one that there is
	err := verbose.Join(&verbose.Wrapped{Doing: "a", Err: io.EOF, After: "that is all"}, nil, &verbose.Wrapped{Doing: "b", Err: io.ErrClosedPipe})
	is.Equal(err.Error(), "a: EOF; b: io: read/write on closed pipe")
	is.Equal(fmt.Sprintf("%v", err), err.Error())
	is.Equal(fmt.Sprintf("%+v", err), "a: EOF\n  that is all\nb: io: read/write on closed pipe")
	is.True(errors.Is(err, io.EOF) && errors.Is(err, io.ErrClosedPipe))
}

func TestErrorIsItsSentinelAndReadsOtherwise(t *testing.T) {
	is := is.New(t)
	sentinel := errors.New("invalid")
	err := verbose.As(sentinel, "no target: name one")
	is.True(errors.Is(err, sentinel))
	is.Equal(fmt.Sprintf("%v", err), "no target: name one")
	is.Equal(fmt.Sprintf("%+v", err), "no target: name one")
}
