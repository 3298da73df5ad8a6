// Package state keeps the services on disk, so that they survive a restart. They
// are in one JSON file in a data directory, which one process at a time can use.
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
	previousName = "state.previous.json" // the file that was currentName before the last Save
	lockName     = "lock"                // has the pid of the process that uses the directory
)

// formatVersion is the version of the file format. A file with a higher version
// is not read. So the version must be raised when older programs would
// misunderstand a file.
const formatVersion = 1

// file is the content of currentName and previousName.
type file struct {
	Version  int                `json:"version"`
	Services []parachute.Status `json:"services"`
}

// A Store is a data directory that one process at a time can change: Open has it at
// once, OpenReadOnly when TakeOver says so. It is safe for use by several goroutines.
type Store struct {
	dir     string
	lock    *flock.Flock
	syncDir func() error // syncs the directory, so that renames are durable

	mu     sync.Mutex // held while files change; guards closed
	closed bool
}

// path returns the path of a file in the directory.
func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// Save replaces the saved state, and keeps the old one as the previous state.
// When it returns nil, the new state is on disk and survives a power failure.
// When it returns an error, the old state is unchanged, no temporary file is
// left, and the next Save may succeed. If the process is killed during Save,
// either the old or the new state is there. Save leaves out Live.
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
	if err := s.checkWritableLocked(); err != nil {
		return fmt.Errorf("save state: %w", err)
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
	// Sync before the previous file is replaced, so that most errors occur while
	// it is still there.
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

// keepPreviousLocked makes the current file the previous file too. It reports
// whether there is a current file.
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
	// Rename does nothing if both names are links to one file, as they are after
	// a Save that has failed.
	defer removeIfThere(tmp)
	return true, os.Rename(tmp, s.path(previousName))
}

// undoLocked restores the file from before replaceLocked.
func (s *Store) undoLocked(kept bool) error {
	if kept {
		return os.Rename(s.path(previousName), s.path(currentName))
	}
	return os.Remove(s.path(currentName))
}

// linkOrCopy links dst to src, or copies src on a file system without links. dst
// must not exist.
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

// removeIfThere removes a file if it exists.
func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
