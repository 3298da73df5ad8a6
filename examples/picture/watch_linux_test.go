package main

import (
	"testing"

	"github.com/matryer/is"
)

func TestCommandHasATerminal(t *testing.T) {
	is := is.New(t)
	s, err := watch(t.Context(), []string{"sh", "-c", `test -t 0 && test -t 1 && test -t 2 && stty size`}, 33)
	is.NoErr(err)
	is.Equal(text(s), "40 33")
}

func TestCommandThatFailsIsNoPicture(t *testing.T) {
	is := is.New(t)
	_, err := watch(t.Context(), []string{"sh", "-c", "exit 3"}, 33)
	is.True(err != nil)
	is.Equal(err.Error(), "sh: exit status 3")
}
