// Package buffer keeps the bodies of requests and responses until they are
// whole: in memory at first, and what is more than that in a spool file. All
// bodies of a proxy share a limit on the memory and one on the disk. For bodies
// that are not kept there is Limit.
package buffer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"github.com/shahnk19/parachute/internal/descriptors"
)

var (
	// ErrTooLarge is said of a body that has more bytes than it may.
	ErrTooLarge = errors.New("the body is larger than its limit")

	// ErrSpool is said, with the reason, of a body that is sound but has no
	// place to be: the disk is full or refuses, or the limit on the spool
	// files of all bodies is reached. It may go well later.
	ErrSpool = errors.New("the body cannot be spooled")
)

// Options are for all bodies of a Store together.
type Options struct {
	// Dir is the folder of the spool files. It has to be there when the first
	// of them is needed. If "", it is the system's for temporary files.
	Dir string

	// MaxMemory is how many bytes of memory bodies may take, in pieces of 4
	// and 32 KiB; what there is no memory for goes to spool files. If 0, 64
	// MiB; if negative, there is no limit. While one is read into its spool
	// file it may take 4 KiB beyond that, and one that ReadAhead has found no
	// place for 32 KiB.
	MaxMemory int64

	// MaxSpool is how many bytes spool files may have; more is ErrSpool. If 0,
	// 4 GiB; if negative, there is no limit.
	MaxSpool int64
}

// Limits are for one body.
type Limits struct {
	// Memory is how many of its first bytes may be in memory. If 0, 1 MiB; if
	// negative, none.
	Memory int64

	// Size is how many bytes it may have; more is ErrTooLarge. If 0 or
	// negative, there is no limit.
	Size int64
}

// A Store has the memory and the spool files of bodies. Its methods may be
// called from any goroutine. Make one with New.
type Store struct {
	dir           string
	memory, spool quota // in bytes
}

// New returns a Store. It does not touch the disk before a body has to be
// spooled.
func New(o Options) *Store {
	s := &Store{dir: cmp.Or(o.Dir, os.TempDir())}
	s.memory.limit = cmp.Or(o.MaxMemory, 64<<20)
	s.spool.limit = cmp.Or(o.MaxSpool, 4<<30)
	return s
}

// InUse returns how many bytes of memory and of spool files bodies have taken.
func (s *Store) InUse() (memory, spool int64) {
	return s.memory.used.Load(), s.spool.used.Load()
}

// ReadAll reads r to its end, and returns what it read as a Body, which has to
// be closed. size is how many bytes are said to come; negative: that is not
// known.
//
// If that is too many, the error is ErrTooLarge and nothing is read; otherwise
// it is that at the first Read that passes the limit. Other errors are
// ErrSpool, or r's as they are. After an error nothing is kept, and r is where
// it was then.
func (s *Store) ReadAll(r io.Reader, size int64, l Limits) (*Body, error) {
	if l.Size > 0 && size > l.Size {
		return nil, ErrTooLarge
	}
	b := s.NewBody(l)
	b.large = size > smallPiece
	if _, err := b.ReadFrom(r); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// createFile returns a new file that no name leads to: it is gone when it is
// closed, whatever ends the process.
func (s *Store) createFile() (*os.File, error) {
	file, err := os.CreateTemp(s.dir, "parachute-")
	if err == nil {
		if err = os.Remove(file.Name()); err != nil {
			file.Close()
		}
	}
	if err == nil && descriptors.TakesReserve(file) {
		file.Close()
		err = descriptors.ErrReserved
	}
	if descriptors.IsShortage(err) {
		return nil, fmt.Errorf("%w: no file can be made in %s: %w: %s", ErrSpool, s.dir, cause(err), descriptors.Advice(err))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: no file can be made in %s: %w: want a folder that uid %d may write", ErrSpool, s.dir, cause(err), os.Geteuid())
	}
	return file, nil
}

// cause returns what went wrong with a file, without its name, which says
// nothing to anybody.
func cause(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	return err
}

// An quota counts what is in use of something that is limited.
type quota struct {
	limit int64 // negative: none
	used  atomic.Int64
}

// acquire reports whether n more can be used; then they are.
func (a *quota) acquire(n int64) bool {
	for {
		used := a.used.Load()
		if a.limit >= 0 && n > a.limit-used {
			return false
		}
		if a.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// release takes back n that were taken.
func (a *quota) release(n int64) { a.used.Add(-n) }

// Bodies in memory are made of pieces: most are small, and those that are not
// take few.
const (
	smallPiece = 4 << 10
	largePiece = 32 << 10
)

var (
	smallPieces = sync.Pool{New: func() any { return new([smallPiece]byte) }}
	largePieces = sync.Pool{New: func() any { return new([largePiece]byte) }}
)

// newPiece returns an empty piece, large or small.
func newPiece(large bool) []byte {
	if large {
		return largePieces.Get().(*[largePiece]byte)[:0]
	}
	return smallPieces.Get().(*[smallPiece]byte)[:0]
}

// freePiece lets others have a piece, which must not be used any more.
func freePiece(p []byte) {
	if cap(p) == largePiece {
		largePieces.Put((*[largePiece]byte)(p[:largePiece]))
	} else {
		smallPieces.Put((*[smallPiece]byte)(p[:smallPiece]))
	}
}
