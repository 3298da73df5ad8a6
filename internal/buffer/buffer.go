// Package buffer reads whole bodies of requests and responses: their first bytes into
// memory, the rest into a spool file. All bodies of a Store share a limit on memory
// and one on disk space. Limit is for bodies that are not buffered.
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
	"github.com/shahnk19/parachute/internal/reason"
)

var (
	// ErrTooLarge is the error for a body with more bytes than its limit. The reason
	// that it tells is that of a request.
	ErrTooLarge = reason.New(reason.RequestTooLarge, "the body is larger than its limit")

	// ErrSpool is wrapped, with the reason, when there is no space for a body: its
	// file cannot be made, written or read, or the limit on the spool files of all
	// bodies is reached. It may succeed later.
	ErrSpool = reason.New(reason.Spool, "the body cannot be spooled")
)

// Options are for all bodies of a Store together.
type Options struct {
	// Dir is the directory of the spool files. It must exist when the first one is
	// made. If "", it is the system's directory for temporary files.
	Dir string

	// MaxMemory is how many bytes of memory bodies may use, in pieces of 4 and 32
	// KiB; the rest goes to spool files. If 0, 64 MiB; if negative, there is no
	// limit. Beyond it a body may use 4 KiB while it is read into its spool file,
	// and one that ReadAhead could not read to its end 32 KiB.
	MaxMemory int64

	// MaxSpool is how many bytes all spool files may have; more is ErrSpool. If
	// 0, 4 GiB; if negative, there is no limit.
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

// A Store makes bodies, and limits the memory and the spool files that they use. Its
// methods may be called from any goroutine. Make one with New.
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

// InUse returns how many bytes of memory and of spool files bodies use.
func (s *Store) InUse() (memory, spool int64) {
	return s.memory.used.Load(), s.spool.used.Load()
}

// ReadAll reads r to its end into a Body, which the caller must close. size is the
// announced length of r, or negative if that is unknown.
//
// If size is over the limit, ReadAll returns ErrTooLarge and reads nothing. It also
// returns ErrTooLarge when a Read passes the limit. Other errors are ErrSpool, or
// those of r, unchanged. After an error the bytes that were read are lost.
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

// createFile returns a new file without a name, which the system deletes when it is
// closed, however the process ends.
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

// cause returns the error of a file operation without the random name of the file.
func cause(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	return err
}

// A quota counts how much of a limited amount is in use.
type quota struct {
	limit int64 // negative: none
	used  atomic.Int64
}

// acquire adds n to what is in use, and reports false if that would pass the limit.
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

// release undoes acquire.
func (a *quota) release(n int64) { a.used.Add(-n) }

// The sizes of the pieces that bodies have in memory. Most bodies fit into a small
// one.
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

// freePiece puts a piece back into its pool. It must not be used any more.
func freePiece(p []byte) {
	if cap(p) == largePiece {
		largePieces.Put((*[largePiece]byte)(p[:largePiece]))
	} else {
		smallPieces.Put((*[smallPiece]byte)(p[:smallPiece]))
	}
}
