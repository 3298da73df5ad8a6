package state_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
)

// The files of a data directory, which are part of what an operator may know.
const (
	current  = "state.json"
	previous = "state.previous.json"
)

// deployed returns a service in that generation.
func deployed(service string, generation uint64) parachute.Status {
	return parachute.Status{
		Service:    service,
		Generation: generation,
		State:      parachute.StateServing,
		Deployment: parachute.Deployment{
			Service:     service,
			Targets:     []string{fmt.Sprintf("10.0.0.%d:3000", generation%250)},
			Hosts:       []string{service + ".example.com"},
			HealthCheck: parachute.HealthCheck{Path: "/up", Interval: time.Second},
			Timeouts:    parachute.Timeouts{Drain: 1500 * time.Millisecond, Stream: -1},
		},
	}
}

func open(t *testing.T, dir string) *state.Store {
	t.Helper()
	s, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// saved fills a directory with these generations of a service, in order.
func saved(t *testing.T, dir string, generations ...uint64) {
	t.Helper()
	s := open(t, dir)
	for _, g := range generations {
		if err := s.Save([]parachute.Status{deployed("web", g)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// load returns what a process finds that starts with the directory.
func load(t *testing.T, dir string) (services []parachute.Status, warnings string) {
	t.Helper()
	s := open(t, dir)
	defer s.Close()
	services, said, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	return services, strings.Join(said, "\n")
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestWhatWasSavedIsLoaded(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	want := []parachute.Status{deployed("api", 3), deployed("web", 7)}
	s := open(t, dir)
	is.NoErr(s.Save(want)) // the state
	is.NoErr(s.Close())    // and the process ends
	got, warnings := load(t, dir)
	is.Equal(got, want)    // all of it
	is.Equal(warnings, "") // without a word
}

func TestNewDirectoryHasNothing(t *testing.T) {
	is := is.New(t)
	dir := filepath.Join(t.TempDir(), "a", "b")
	got, warnings := load(t, dir)
	is.Equal(len(got), 0)  // no services
	is.Equal(warnings, "") // and nothing to be said
	info, err := os.Stat(dir)
	is.NoErr(err)
	is.Equal(info.Mode().Perm(), fs.FileMode(0o700)) // it was made for its owner alone
}

func TestNoServicesAreSavedToo(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	saved(t, dir, 1)
	s := open(t, dir)
	is.NoErr(s.Save(nil)) // the last one is gone
	is.NoErr(s.Close())
	got, warnings := load(t, dir)
	is.Equal(len(got), 0)  // it stays gone
	is.Equal(warnings, "") // as it should
}

func TestLiveIsNotSaved(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	web := deployed("web", 1)
	web.Live = &parachute.Live{Targets: []parachute.TargetStatus{{Address: "10.0.0.1:3000"}}}
	s := open(t, dir)
	is.NoErr(s.Save([]parachute.Status{web}))
	is.True(web.Live != nil)                                                 // the caller's is as it was
	is.True(!strings.Contains(read(t, filepath.Join(dir, current)), "live")) // the file has none
}

func TestFileIsForItsOwnerAlone(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	saved(t, dir, 1, 2)
	for _, name := range []string{current, previous, "lock"} {
		info, err := os.Stat(filepath.Join(dir, name))
		is.NoErr(err)
		is.Equal(info.Mode(), fs.FileMode(0o600)) // a regular file with this mode
	}
}

func TestPreviousGenerationIsKept(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	saved(t, dir, 1, 2, 3)
	is.True(strings.Contains(read(t, filepath.Join(dir, current)), `"generation": 3`))  // the last
	is.True(strings.Contains(read(t, filepath.Join(dir, previous)), `"generation": 2`)) // and the one before
	is.Equal(names(t, dir), []string{"lock", current, previous})                        // and nothing else
}

func TestSecondProcessIsRefusedWithThePIDOfTheFirst(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	first := open(t, dir)
	_, err := state.Open(dir)
	is.True(err != nil)                                                        // it is taken
	is.True(strings.Contains(err.Error(), dir))                                // the directory
	is.True(strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid()))) // whose it is
	is.True(strings.Contains(err.Error(), "--data-dir"))                       // what to do
	is.NoErr(first.Close())
	second, err := state.Open(dir)
	is.NoErr(err) // it is free again
	is.NoErr(second.Close())
	is.NoErr(second.Close()) // which may be called again
}

func TestLockThatSaysNothingIsRespected(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	open(t, dir)
	write(t, filepath.Join(dir, "lock"), "")
	_, err := state.Open(dir)
	is.True(err != nil)                                       // it is taken
	is.True(strings.Contains(err.Error(), "another process")) // by we do not know whom
}

func TestDirectoryThatIsNoneIsRefused(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "")
	for _, dir := range []string{path, filepath.Join(path, "below"), ""} {
		_, err := state.Open(dir)
		is.True(err != nil)                                  // no directory
		is.True(strings.Contains(err.Error(), dir))          // named
		is.True(strings.Contains(err.Error(), "--data-dir")) // with what to do
	}
}

func TestLockThatIsASymlinkIsRefused(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	elsewhere := filepath.Join(t.TempDir(), "precious")
	write(t, elsewhere, "kept")
	is.NoErr(os.Symlink(elsewhere, filepath.Join(dir, "lock")))
	_, err := state.Open(dir)
	is.True(err != nil)                  // it is not followed
	is.Equal(read(t, elsewhere), "kept") // nor written to
}

func TestWhatASaveLeftBehindIsRemoved(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	saved(t, dir, 1, 2)
	for _, name := range []string{".state.json7741", ".state.json0", ".state.previous.json0"} {
		write(t, filepath.Join(dir, name), "{")
	}
	write(t, filepath.Join(dir, ".state.json.mine"), "kept")
	load(t, dir)
	is.Equal(names(t, dir), []string{".state.json.mine", "lock", current, previous}) // only those
}

func TestSaveThatFailsChangesNothing(t *testing.T) {
	t.Run("the names are not made durable", func(t *testing.T) {
		is := is.New(t)
		dir := t.TempDir()
		saved(t, dir, 1, 2)
		s := open(t, dir)
		broken := errors.New("input/output error")
		s.SetSyncDir(func() error { return broken })
		is.True(errors.Is(s.Save([]parachute.Status{deployed("web", 3)}), broken)) // it says so
		is.NoErr(s.Close())
		got, _ := load(t, dir)
		is.Equal(got, []parachute.Status{deployed("web", 2)}) // the old state
	})
	t.Run("the first save", func(t *testing.T) {
		is := is.New(t)
		dir := t.TempDir()
		s := open(t, dir)
		broken := errors.New("input/output error")
		s.SetSyncDir(func() error { return broken })
		is.True(errors.Is(s.Save([]parachute.Status{deployed("web", 1)}), broken)) // it says so
		is.Equal(names(t, dir), []string{"lock"})                                  // there is none
	})
	t.Run("the old file cannot be kept", func(t *testing.T) {
		is := is.New(t)
		dir := t.TempDir()
		saved(t, dir, 1)
		is.NoErr(os.MkdirAll(filepath.Join(dir, previous, "in the way"), 0o700))
		s := open(t, dir)
		is.True(s.Save([]parachute.Status{deployed("web", 2)}) != nil) // it says so
		is.Equal(names(t, dir), []string{"lock", current, previous})   // no file is left over
		is.NoErr(os.RemoveAll(filepath.Join(dir, previous)))
		is.True(strings.Contains(read(t, filepath.Join(dir, current)), `"generation": 1`)) // the old state
		is.NoErr(s.Save([]parachute.Status{deployed("web", 2)}))                           // the next one succeeds
	})
	t.Run("after Close", func(t *testing.T) {
		is := is.New(t)
		s := open(t, t.TempDir())
		is.NoErr(s.Close())
		is.True(errors.Is(s.Save(nil), fs.ErrClosed)) // another process may have the directory
	})
}

func TestSaveGoesOnWhereAnotherWasKilled(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	saved(t, dir, 1, 2)
	is.NoErr(os.Remove(filepath.Join(dir, previous)))
	is.NoErr(os.Link(filepath.Join(dir, current), filepath.Join(dir, previous))) // killed before the last rename
	saved(t, dir, 3)
	is.Equal(names(t, dir), []string{"lock", current, previous})                        // no file is left over
	is.True(strings.Contains(read(t, filepath.Join(dir, previous)), `"generation": 2`)) // the one before is kept
	got, _ := load(t, dir)
	is.Equal(got, []parachute.Status{deployed("web", 3)}) // the new one is there
}
