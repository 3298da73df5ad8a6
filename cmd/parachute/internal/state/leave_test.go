package state_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// The other process may have been sent a signal that it has not seen yet.
func TestOpenWaitsAMomentForAProcessThatDoesNotLeaveYet(t *testing.T) {
	is := is.New(t)
	for isDone := false; !isDone; {
		dir := t.TempDir()
		first, err := state.Open(dir)
		is.NoErr(err)
		defer first.Close()
		next := make(chan error, 1)
		began := time.Now()
		go func() {
			s, err := state.Open(dir)
			if err == nil {
				err = s.Close()
			}
			next <- err
		}()
		<-time.After(100 * time.Millisecond)
		is.NoErr(first.Leave())
		is.NoErr(first.Release())
		err = <-next
		if isDone = err == nil; !isDone && time.Since(began) < time.Second { // else the machine has taken too long
			t.Fatal("it was refused at once: ", err)
		}
	}
}
