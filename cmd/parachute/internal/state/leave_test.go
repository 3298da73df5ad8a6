package state_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
)

func TestOpenWaitsForAProcessThatIsAboutToLeave(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	first, err := state.Open(dir)
	is.NoErr(err)
	defer first.Close()
	_, err = state.Open(dir)
	is.True(err != nil) // it does not leave
	is.NoErr(first.Leave())
	type opened struct {
		store *state.Store
		err   error
	}
	next := make(chan opened, 1)
	go func() {
		s, err := state.Open(dir)
		next <- opened{s, err}
	}()
	is.NoErr(first.Save(nil)) // it may still be changed
	select {
	case <-next:
		t.Fatal("two processes have it")
	default:
	}
	is.NoErr(first.Release())
	second := <-next
	is.NoErr(second.err)
	defer second.store.Close()
	is.True(first.Leave() != nil) // it is somebody else's
	is.True(!strings.Contains(read(t, filepath.Join(dir, "lock")), "leaving"))
}
