// Package state keeps on disk what is deployed, so that a restart finds it: one
// JSON file in a data directory that belongs to one process at a time.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/regular"
)

// The files of a data directory.
const (
	currentName  = "state.json"
	previousName = "state.previous.json" // what currentName was before
	lockName     = "lock"                // holds the pid of the process that has the directory
)

// formatVersion is that of currentName. A file with a higher one is not read,
// so it rises when an older program would misunderstand what a newer one
// wrote.
const formatVersion = 1

// file is what currentName and previousName hold.
type file struct {
	Version  int                `json:"version"`
	Services []parachute.Status `json:"services"`
}

// A Store is a data directory that this process has to itself. Its methods may
// be called from any goroutine.
type Store struct {
	dir     string
	lock    *flock.Flock
	syncDir func() error // makes durable which names the directory has

	mu     sync.Mutex // is held while files change; guards closed
	closed bool
}

// path returns that of a file in the directory.
func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// Save replaces what was saved before, and keeps that beside it. When it
// returns nil the new state is on the disk, and will be found after a loss of
// power. After an error the old one is in its place as it was, and no file is
// left over; the next Save may succeed. A process that is killed in between
// leaves the old or the new one. What is in Live is not saved.
func (s *Store) Save(services []parachute.Status) error {
	saved := file{Version: formatVersion, Services: slices.Clone(services)}
	for i := range saved.Services {
		saved.Services[i].Live = nil
	}
	if saved.Services == nil {
		saved.Services = []parachute.Status{}
	}
	data, err := json.MarshalIndent(saved, "", "\t")
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("save state: %w", fs.ErrClosed)
	}
	if err := s.replaceLocked(append(data, '\n')); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

func (s *Store) replaceLocked(data []byte) error {
	f, err := renameio.NewPendingFile(s.path(currentName),
		renameio.WithTempDir(s.dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if _, err := f.Write(data); err != nil {
		return err
	}
	// Most of what can fail has failed by now, and the generation before the
	// present one is still there.
	if err := f.Sync(); err != nil {
		return err
	}
	kept, err := s.keepPreviousLocked()
	if err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	if err := s.syncDir(); err != nil {
		return errors.Join(err, s.undoLocked(kept))
	}
	return nil
}

// keepPreviousLocked makes the present file the previous one as well, which
// leaves it where it is. It reports whether there is a present file.
func (s *Store) keepPreviousLocked() (kept bool, err error) {
	tmp := s.path(temporaryName(previousName))
	if err := removeIfThere(tmp); err != nil {
		return false, err
	}
	switch err := linkOrCopy(s.path(currentName), tmp); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	}
	// A rename does nothing where both names are one file, as they are after a
	// Save that failed half-way.
	defer removeIfThere(tmp)
	return true, os.Rename(tmp, s.path(previousName))
}

// undoLocked takes back a replacement.
func (s *Store) undoLocked(kept bool) error {
	if kept {
		return os.Rename(s.path(previousName), s.path(currentName))
	}
	return os.Remove(s.path(currentName))
}

// linkOrCopy makes dst, which is not there, the same file as src, or a copy of
// it on a file system without links.
func linkOrCopy(src, dst string) error {
	err := os.Link(src, dst)
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EMLINK) {
		return err
	}
	data, err := regular.ReadFileNoFollow(src, maxSize)
	if err != nil {
		return err
	}
	return renameio.WriteFile(dst, data, 0o600, renameio.WithTempDir(filepath.Dir(dst)))
}

// removeIfThere removes a file that need not be there.
func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
