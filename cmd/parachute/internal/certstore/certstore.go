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

// A Folder is an autocert.Cache in a folder, in which names can be locked. It
// is laid out as an autocert.DirCache, so that either reads what the other has
// written. A folder that is missing is made when something is put into it, for
// its owner alone; one that is there is left as it is. Files are for their
// owner alone. Its methods may be called from any goroutine.
type Folder struct {
	autocert.DirCache
}

// At returns the Folder dir, whatever is there: what is wrong with it is said
// by those who use it.
func At(dir string) *Folder { return &Folder{autocert.DirCache(dir)} }

// Open returns the Folder dir, which it makes if it is not there. It is an error
// that names the folder if files cannot be made in it; a disk that is merely
// full is none.
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

// checkWritable makes a file and removes it again.
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

// Put replaces what is kept under key. The file is the old one or the new one
// at any moment, also after a loss of power: half an account key would keep
// every certificate from being ordered.
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

// maxLockFiles is how many there are at the most. They are never removed: whoever
// waits for a lock has its file open already, and would get that of a file
// which is not there any more, beside somebody with a new one. Names that share
// a file merely wait for each other.
const maxLockFiles = 256

// lockPollInterval is the pause between two looks whether a lock is free.
const lockPollInterval = 100 * time.Millisecond

// Lock waits until nobody else has locked name, whether in this process, in
// another, or on another machine that shares the folder, or until ctx ends. The
// lock is held until unlock is called, or the process ends, and no longer. A
// caller that has locked a name must unlock it before it locks another.
func (f *Folder) Lock(ctx context.Context, name string) (unlock func(), err error) {
	if err := f.mkdir(); err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	h := fnv.New32a()
	h.Write([]byte(name))
	// No host begins with a dot, so that the name is nobody's key. Over NFS
	// only a file that is open for writing can be locked.
	path := f.path(fmt.Sprintf(".lock-%02x", h.Sum32()%maxLockFiles))
	lock := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW), flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, lockPollInterval); err != nil {
		return nil, fmt.Errorf("lock %s with %s: %w", name, path, err)
	}
	return func() { _ = lock.Unlock() }, nil
}
