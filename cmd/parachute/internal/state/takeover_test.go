package state_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
)

func openReadOnly(t *testing.T, dir string) *state.Store {
	t.Helper()
	s, err := state.OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestReaderChangesNothingUntilItTakesOver(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	old := open(t, dir)
	is.NoErr(old.Save([]parachute.Status{deployed("web", 1)}))
	write(t, filepath.Join(dir, ".state.json7741"), "{") // a Save of the old process, under way

	next := openReadOnly(t, dir)
	got, err := next.Read()
	is.NoErr(err)
	is.Equal(got, []parachute.Status{deployed("web", 1)}) // what the other process has saved
	is.True(errors.Is(next.Save(nil), state.ErrReadOnly)) // and may go on to save
	_, _, err = next.Load()
	is.True(errors.Is(err, state.ErrReadOnly)) // Load would set files aside
	_, err = next.Key()
	is.True(errors.Is(err, state.ErrReadOnly)) // and Key would make one
	is.Equal(names(t, dir), []string{".state.json7741", "lock", current})
	err = next.TakeOver()
	is.True(err != nil && strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid()))) // whose it is

	is.NoErr(old.Save([]parachute.Status{deployed("web", 2)})) // which has lost nothing
	is.NoErr(old.Release())
	is.True(errors.Is(old.Save([]parachute.Status{deployed("web", 3)}), state.ErrReadOnly))
	is.NoErr(next.TakeOver())
	got, err = next.Read()
	is.NoErr(err)
	is.Equal(got, []parachute.Status{deployed("web", 2)})
	is.NoErr(next.Save([]parachute.Status{deployed("web", 4)}))

	is.True(old.TakeOver() != nil) // the next one has it
	is.NoErr(next.Close())
	is.NoErr(old.TakeOver()) // it has died
	is.NoErr(old.Save([]parachute.Status{deployed("web", 5)}))
	is.NoErr(old.Close())
	is.True(old.TakeOver() != nil) // it is closed
}

func TestReaderRefusesWhatItCannotReadInFullAndLeavesIt(t *testing.T) {
	for name, content := range map[string]string{
		"a newer version":    `{"version":99,"services":[]}`,
		"truncated":          `{"version":1,"services":[{"service":"web"`,
		"an unknown field":   `{"version":1,"services":[{"service":"web","mirror":true}]}`,
		"a value of no kind": `{"version":1,"services":[{"service":"web","generation":"x"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			dir := t.TempDir()
			saved(t, dir, 1, 2)
			write(t, filepath.Join(dir, current), content)
			before := names(t, dir)
			_, err := openReadOnly(t, dir).Read()
			is.True(err != nil && strings.Contains(err.Error(), current)) // it says which file
			is.Equal(read(t, filepath.Join(dir, current)), content)
			is.Equal(names(t, dir), before)
		})
	}
	t.Run("lost", func(t *testing.T) {
		is := is.New(t)
		dir := t.TempDir()
		saved(t, dir, 1, 2)
		is.NoErr(os.Remove(filepath.Join(dir, current)))
		_, err := openReadOnly(t, dir).Read()
		is.True(err != nil) // the one before is not the same
	})
}

func TestReaderOfANewDirectoryFindsNothing(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	got, err := openReadOnly(t, dir).Read()
	is.NoErr(err)
	is.Equal(len(got), 0)
	is.Equal(len(names(t, dir)), 0) // not even a lock
	_, err = state.OpenReadOnly(filepath.Join(dir, "missing"))
	is.True(errors.Is(err, os.ErrNotExist))
}
