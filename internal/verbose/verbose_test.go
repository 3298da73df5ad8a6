package verbose_test

import (
	"fmt"
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
