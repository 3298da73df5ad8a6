package state_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
)

// keyOf returns the key of a data directory that no process uses.
func keyOf(t *testing.T, dir string) ([]byte, error) {
	t.Helper()
	s, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return s.Key()
}

func TestKeyOutlivesARestart(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	first, err := keyOf(t, dir)
	is.NoErr(err)
	is.Equal(len(first), 32)
	again, err := keyOf(t, dir)
	is.NoErr(err)
	is.Equal(again, first)
	other, err := keyOf(t, t.TempDir())
	is.NoErr(err)
	is.True(!bytes.Equal(other, first))
	info, err := os.Stat(filepath.Join(dir, "affinity.key"))
	is.NoErr(err)
	is.Equal(info.Mode().Perm(), os.FileMode(0o600))
	entries, err := os.ReadDir(dir)
	is.NoErr(err)
	is.Equal(len(entries), 2) // with the lock: no temporary file is left
}

func TestWhatIsNoKeyIsLeftAsItIsAndToldOf(t *testing.T) {
	for name, text := range map[string]string{"digits": "secret", "short": "6161", "empty": "", "long": strings.Repeat("61", 4<<10)} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			path := filepath.Join(t.TempDir(), "affinity.key")
			is.NoErr(os.WriteFile(path, []byte(text), 0o600))
			key, err := keyOf(t, filepath.Dir(path))
			is.True(err != nil)
			is.True(strings.Contains(err.Error(), path))
			is.Equal(len(key), 32)
			left, err := os.ReadFile(path)
			is.NoErr(err)
			is.True(bytes.Equal(left, []byte(text)))
		})
	}
}
