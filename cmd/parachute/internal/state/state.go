// Package state keeps the services on disk, so that they survive a restart, in a data
// directory that one process at a time can change.
//
// What is deployed is in state.json, in JSON. While that is small, each change writes
// it anew. From some size on a change is added to a journal, state.journal, and now
// and then, beside the changes that go on, both are folded into a new state.json.
//
// Each state.json has a number, and so has the journal of the changes since. To fold,
// the journal with the number n is put aside as state.previous.journal, the next one
// begins with n+1, and then state.json with n+1 takes the place of the one with n,
// which becomes state.previous.json. So what is deployed is in any state.json with
// all journals from its number on.
package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/regular"
)

// The files of a data directory.
const (
	currentName         = "state.json"
	previousName        = "state.previous.json" // the file that was currentName before it was last written
	journalName         = "state.journal"       // what has changed since
	previousJournalName = "state.previous.journal"
	lockName            = "lock" // has the pid of the process that uses the directory
)

// smallSize is the size up to which state.json is written anew for each change.
const smallSize = 64 << 10

// leastFold is the size below which no journal is folded.
const leastFold = 1 << 20

// A Store is a data directory that one process at a time can change: Open has it at
// once, OpenReadOnly when TakeOver says so. It is safe for use by several goroutines.
type Store struct {
	dir  string
	lock *flock.Flock
	disk disk

	// Warn, if not nil, is called with a sentence for the log if the journal could
	// not be folded. Nothing is lost then. It must be set before the first Commit.
	Warn func(string)

	mu      sync.Mutex // held while files change; guards what follows
	closed  bool
	isKnown bool // at says what the files hold; else the next change writes everything
	at      position
	isAside bool     // the journal before at.number is not in state.json yet
	journal *os.File // open at its end; nil: the next change opens it
	foldAt  int64    // the size at which the journal is folded; 0: the usual one

	isFolding bool
	folding   sync.WaitGroup
	stopFold  atomic.Bool
}

// A position is how far the state on disk goes.
type position struct {
	number   uint64      // of the journal that the next change is added to
	journal  int64       // its size; 0: it is not there
	snapshot int64       // the size of state.json
	file     fs.FileInfo // of state.json; nil: it is not there
	isOld    bool        // a program that knows no journals has written it
}

// A disk has the calls of the system by which files are changed.
type disk struct {
	write    func(f *os.File, data []byte) error
	sync     func(f *os.File) error
	truncate func(f *os.File, size int64) error
	rename   func(from, to string) error
	syncDir  func(dir string) error // so that renames are durable
}

func newDisk() disk {
	return disk{
		write:    func(f *os.File, data []byte) error { _, err := f.Write(data); return err },
		sync:     (*os.File).Sync,
		truncate: (*os.File).Truncate,
		rename:   os.Rename,
		syncDir:  syncDir,
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// path returns the path of a file in the directory.
func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// Save replaces the saved state, and keeps the old one as the previous state.
// When it returns nil, the new state is on disk and survives a power failure.
// When it returns an error, the old state is unchanged, no temporary file is
// left, and the next Save may succeed. If the process is killed during Save,
// either the old or the new state is there. Save leaves out Live.
func (s *Store) Save(services []parachute.Status) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writeAllLocked(slices.Values(services)); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

// Commit saves what a change alters, with the guarantees of Save. It costs as much as
// the change is large, however many services there are, unless all are few. A Delta
// that alters nothing has everything written to state.json, in the form that an older
// version of this program reads.
func (s *Store) Commit(d parachute.Delta) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.commitLocked(d); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

func (s *Store) commitLocked(d parachute.Delta) error {
	line, err := encodeRecord(d)
	if err != nil {
		return err
	}
	altersNothing := len(d.Changed) == 0 && len(d.Removed) == 0
	isSmall := s.at.journal == 0 && !s.isAside && s.at.snapshot+int64(len(line)) <= smallSize
	if !s.isKnown || s.at.file == nil || s.at.isOld || altersNothing || isSmall {
		return s.writeAllLocked(d.All)
	}
	if err := s.appendLocked(line); err != nil {
		return err
	}
	limit := s.foldAt
	if limit == 0 {
		limit = max(s.at.snapshot/4, leastFold)
	}
	if s.at.journal > limit && !s.isFolding {
		s.beginFoldLocked(d.All)
	}
	return nil
}

// writeAllLocked makes services the content of state.json, and begins without a
// journal.
func (s *Store) writeAllLocked(services seq) error {
	if err := s.checkWritableLocked(); err != nil {
		return err
	}
	s.endFoldLocked()
	if !s.isKnown {
		s.at.number = max(s.at.number, s.highestNumber())
		s.at.file = s.currentInfo()
	}
	number := s.at.number + 1
	data, err := encodeState(oldestVersion, number, services)
	if err != nil {
		return err
	}
	if err := s.keepOldLocked(); err != nil {
		return err
	}
	temporary, err := s.createTemporary(data)
	if err != nil {
		return err
	}
	kept, err := s.replaceLocked(temporary)
	if err != nil {
		return err
	}
	if err := s.disk.syncDir(s.dir); err != nil {
		return errors.Join(err, s.undoLocked(kept))
	}
	s.closeJournalLocked()
	s.isKnown, s.isAside, s.foldAt = true, false, 0
	s.at = position{number: number, snapshot: int64(len(data)), file: s.currentInfo()}
	return nil
}

// currentInfo describes state.json; it is nil if there is none.
func (s *Store) currentInfo() fs.FileInfo {
	info, err := os.Lstat(s.path(currentName))
	if err != nil {
		return nil
	}
	return info
}

// keepOldLocked gives a state.json of a program that knows no journals a second name,
// which is never used again, so that one can go back to that program.
func (s *Store) keepOldLocked() error {
	if !s.at.isOld {
		return nil
	}
	if _, err := s.keepAsideLocked(currentName, oldInfix); err != nil {
		return fmt.Errorf("%s of an older version cannot be kept under another name: %w", currentName, err)
	}
	s.at.isOld = false
	return nil
}

// createTemporary writes data to a temporary file, and returns its path. The file
// survives a power failure.
func (s *Store) createTemporary(data []byte) (path string, err error) {
	path = s.path(temporaryName(currentName))
	if err := removeIfThere(path); err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return "", err
	}
	err = s.disk.write(f, data)
	if err == nil {
		err = s.disk.sync(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, removeIfThere(path))
	}
	return path, nil
}

// replaceLocked makes a temporary file the current one, and that the previous one. It
// reports whether there was a current one.
func (s *Store) replaceLocked(temporary string) (kept bool, err error) {
	kept, err = s.keepPreviousLocked()
	if err == nil {
		err = s.disk.rename(temporary, s.path(currentName))
	}
	if err != nil {
		return kept, errors.Join(err, removeIfThere(temporary))
	}
	return kept, nil
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
	return true, s.disk.rename(tmp, s.path(previousName))
}

// undoLocked restores the file from before replaceLocked.
func (s *Store) undoLocked(kept bool) (err error) {
	if kept {
		err = s.disk.rename(s.path(previousName), s.path(currentName))
	} else {
		err = os.Remove(s.path(currentName))
	}
	if err != nil {
		s.isKnown = false // its number is the next one
	}
	s.at.file = s.currentInfo()
	return err
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
