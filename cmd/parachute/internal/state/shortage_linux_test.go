package state_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// A proxy that is started again on a machine which has too many files open must
// not begin with nothing.
func TestStateIsNotSetAsideWhereTooManyFilesAreOpen(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	saved(t, dir, 1, 2)
	s := open(t, dir)
	var err error
	proxytest.WithoutFiles(t, func() { _, _, err = s.Load() })
	is.True(errors.Is(err, syscall.EMFILE))
	is.True(strings.Contains(err.Error(), "raise the limit of open files"))
	got, warnings, err := s.Load()
	is.NoErr(err)
	is.Equal(len(warnings), 0)
	is.Equal(got, []parachute.Status{deployed("web", 2)}) // it is where it was
}
