package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/shahnk19/parachute/internal/regular"
)

// Open locks the data directory dir, and creates it, closed to others, if it is
// missing. It returns an error, which names the flag to choose another directory,
// if another process uses dir or if dir is not writable; a full disk alone is no
// error. For a process that has called Leave, it waits for up to leavePatience, and
// before that for signalPatience. It removes temporary files of a process that was
// killed. The caller must Close the Store.
func Open(dir string) (*Store, error) {
	s, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w; choose another with --data-dir or PARACHUTE_DATA_DIR", dir, err)
	}
	return s, nil
}

func open(dir string) (*Store, error) {
	if dir == "" {
		return nil, errors.New("it has no name")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := newStore(dir)
	for began := time.Now(); ; time.Sleep(leaveInterval) {
		err := s.takeOverLocked() // nobody else has s
		var patience time.Duration
		switch {
		case err == nil:
			return s, nil
		case errors.Is(err, errLeaving):
			patience = leavePatience
		case errors.Is(err, errInUse):
			patience = signalPatience
		}
		if time.Since(began) > patience {
			return nil, err
		}
	}
}

const (
	leavePatience = time.Minute
	leaveInterval = 5 * time.Millisecond // between attempts

	// signalPatience is how long a process that has just been told to end may take to call
	// Leave.
	signalPatience = time.Second
)

// errInUse says that another process has the directory, and errLeaving that it is about to
// leave it.
var (
	errInUse   = errors.New("in use by")
	errLeaving = errors.New("which is about to leave it")
)

// OpenReadOnly opens the data directory dir, which another process may be using. It
// locks, creates, renames and removes nothing, and neither does Read. What writes
// returns ErrReadOnly until TakeOver has succeeded. The caller must Close the Store.
func OpenReadOnly(dir string) (*Store, error) {
	if _, err := os.ReadDir(dir); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	return newStore(dir), nil
}

func newStore(dir string) *Store {
	path := filepath.Join(dir, lockName)
	s := &Store{
		dir:  dir,
		disk: newDisk(),
		lock: flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW), flock.SetPermissions(0o600)),
	}
	return s
}

// ErrReadOnly is returned for a change of a directory that this process does not
// have: it was opened with OpenReadOnly, or was released.
var ErrReadOnly = errors.New("the data directory is open for reading only")

// TakeOver makes this process the one that changes the directory: it locks it, and
// removes temporary files of a process that was killed. It waits for nobody: if
// another process has the directory, it returns an error that says which. After an
// error nothing has changed, and TakeOver may be called again. In the process that
// has the directory already, it does nothing.
func (s *Store) TakeOver() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fs.ErrClosed
	}
	if s.lock.Locked() {
		return nil
	}
	if err := s.takeOverLocked(); err != nil {
		return fmt.Errorf("data directory %s: %w", s.dir, err)
	}
	s.isKnown = s.isAsReadLocked()
	return nil
}

// isAsReadLocked reports whether nobody has changed the files since Read.
func (s *Store) isAsReadLocked() bool {
	now, was := s.currentInfo(), s.at.file
	if now == nil || was == nil || !os.SameFile(now, was) || now.Size() != was.Size() || !now.ModTime().Equal(was.ModTime()) {
		return false
	}
	journal, err := os.Lstat(s.path(journalName))
	if s.at.journal == 0 {
		return errors.Is(err, fs.ErrNotExist)
	}
	return err == nil && journal.Size() == s.at.journal
}

func (s *Store) takeOverLocked() error {
	if err := s.lockDir(); err != nil {
		return err
	}
	if err := s.cleanUp(); err != nil {
		return errors.Join(err, s.lock.Unlock())
	}
	return nil
}

// Release leaves the directory to another process: it waits for a Save that runs,
// and from when it returns this process changes nothing there until it calls
// TakeOver again.
func (s *Store) Release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endFoldLocked()
	s.closeJournalLocked()
	s.isKnown = false
	return s.lock.Unlock()
}

// checkWritableLocked returns why this process may not change the directory.
func (s *Store) checkWritableLocked() error {
	switch {
	case s.closed:
		return fs.ErrClosed
	case !s.lock.Locked():
		return ErrReadOnly
	}
	return nil
}

// lockDir locks the directory, and writes the pid of this process into the lock
// file.
func (s *Store) lockDir() error {
	path := s.path(lockName)
	ok, err := s.lock.TryLock()
	if err != nil {
		return err
	}
	if !ok {
		return lockedError(path)
	}
	// The pid is for the error message of another process. It does not matter if
	// it cannot be written.
	if f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC|syscall.O_NOFOLLOW, 0); err == nil {
		_, _ = fmt.Fprintln(f, os.Getpid())
		_ = f.Close()
	}
	return nil
}

// leavingMark stands behind the pid of a process that has called Leave.
const leavingMark = " leaving"

// lockedError returns the error that names the process whose pid is in a lock file.
func lockedError(path string) error {
	data, err := regular.ReadFileNoFollow(path, maxSize)
	text, leaving := strings.CutSuffix(strings.TrimSpace(string(data)), leavingMark)
	pid, atoiErr := strconv.Atoi(text)
	switch {
	case err != nil || atoiErr != nil:
		return fmt.Errorf("%w another process", errInUse)
	case leaving:
		return fmt.Errorf("%w pid %d, %w", errInUse, pid, errLeaving)
	}
	return fmt.Errorf("%w pid %d", errInUse, pid)
}

// Leave says that this process is about to Release the directory. Another one that opens
// it waits for that.
func (s *Store) Leave() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkWritableLocked(); err != nil {
		return err
	}
	// Whoever reads it meanwhile finds either text, so it is not truncated.
	f, err := os.OpenFile(s.path(lockName), os.O_WRONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%d%s\n", os.Getpid(), leavingMark)
	return errors.Join(err, f.Close())
}

// cleanUp checks that files can be created in the directory, and removes
// temporary files of an interrupted Save.
func (s *Store) cleanUp() error {
	probe := s.path(temporaryName(currentName))
	f, err := os.OpenFile(probe, os.O_CREATE|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	switch {
	case err == nil:
		_ = f.Close()
	case !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT):
		return err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !isTemporary(e.Name()) {
			continue
		}
		if err := os.Remove(s.path(e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// temporaryName returns the name of a temporary file that is to be renamed to
// final.
func temporaryName(final string) string { return "." + final + "0" }

// isTemporary reports whether name is that of a temporary file for one of ours:
// a dot, the name and a number, as renameio names them.
func isTemporary(name string) bool {
	for _, final := range []string{currentName, previousName, keyName} {
		if number, ok := strings.CutPrefix(name, "."+final); ok && number != "" && strings.Trim(number, "0123456789") == "" {
			return true
		}
	}
	return false
}

// IsNew reports whether the directory has no state file, not even one that was
// set aside. It must be called before the first Load.
func (s *Store) IsNew() (bool, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return false, fmt.Errorf("data directory %s: %w", s.dir, err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), currentName) || e.Name() == previousName {
			return false, nil
		}
	}
	return true, nil
}

// Close unlocks the directory. It may be called again.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.endFoldLocked()
	s.closeJournalLocked()
	return s.lock.Unlock()
}
