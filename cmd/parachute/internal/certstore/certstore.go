// Package certstore keeps certificates in a folder, which several proxies may
// share: on one machine, or on several that mount it.
package certstore

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
	"golang.org/x/crypto/acme/autocert"
)

// A Folder is an autocert.Cache in a folder, with locks for names. It has the
// layout of an autocert.DirCache, so that each can read the other's files. If the
// folder is missing, Put creates it, closed to others; an existing one keeps its
// mode. Files are closed to others. A Folder is safe for use by several
// goroutines.
type Folder struct {
	autocert.DirCache
}

// At returns the Folder dir without checking it. Errors appear when it is used.
func At(dir string) *Folder { return &Folder{autocert.DirCache(dir)} }

// Open returns the Folder dir, and creates it if it is missing. It returns an
// error if files cannot be created in it, unless only the disk is full.
func Open(dir string) (*Folder, error) {
	f := At(dir)
	err := f.mkdir()
	if err == nil {
		err = f.checkWritable()
	}
	if err != nil {
		return nil, fmt.Errorf("certificate folder %s: %w", dir, err)
	}
	return f, nil
}

func (f *Folder) path(name string) string {
	return filepath.Join(string(f.DirCache), filepath.Clean("/"+name))
}

func (f *Folder) mkdir() error { return os.MkdirAll(string(f.DirCache), 0o700) }

// checkWritable creates a file and removes it again.
func (f *Folder) checkWritable() error {
	file, err := os.CreateTemp(string(f.DirCache), ".probe")
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return nil
	case err != nil:
		return err
	}
	return errors.Join(file.Close(), os.Remove(file.Name()))
}

// Put replaces the data under key. At any moment, and after a power failure, the
// file has either the old or the new data: with half an account key, no
// certificate could be ordered.
func (f *Folder) Put(ctx context.Context, key string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := f.mkdir(); err != nil {
		return err
	}
	return renameio.WriteFile(f.path(key), data, 0o600,
		renameio.WithTempDir(string(f.DirCache)), renameio.WithStaticPermissions(0o600))
}

// maxLockFiles is how many lock files there are at most. They are never removed:
// if they were, a process that waits with an old file open could get its lock
// while another has a lock on a new file. Names that share a file only wait for
// each other.
const maxLockFiles = 256

// lockPollInterval is how often Lock tries to get a lock.
const lockPollInterval = 100 * time.Millisecond

// Lock locks name against this and other processes, and against other machines
// that share the folder. It waits until the lock is free or ctx ends. The lock is
// released by unlock, or when the process ends. A caller must unlock one name
// before it locks another.
func (f *Folder) Lock(ctx context.Context, name string) (unlock func(), err error) {
	if err := f.mkdir(); err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	h := fnv.New32a()
	h.Write([]byte(name))
	// No host begins with a dot, so the name cannot be a key. Over NFS, a file
	// can be locked only if it is open for writing.
	path := f.path(fmt.Sprintf(".lock-%02x", h.Sum32()%maxLockFiles))
	lock := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW), flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, lockPollInterval); err != nil {
		return nil, fmt.Errorf("lock %s with %s: %w", name, path, err)
	}
	return func() { _ = lock.Unlock() }, nil
}
