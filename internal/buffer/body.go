package buffer

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// A Body is the buffered body of a request or response. Write and ReadFrom append to
// it; Read and Seek work as on a file, so that it can be sent more than once. Only one
// of these may run at a time. Close may be called at any time, from any goroutine.
//
// After a method has returned ErrTooLarge or ErrSpool, or Close was called, a Body
// releases its memory and its file as soon as no method is running. From then on its
// methods return that error, or os.ErrClosed.
type Body struct {
	store     *Store
	maxMemory int64 // how many bytes pieces may hold
	maxSize   int64 // how many bytes the Body may have; 0: any number
	large     bool  // it is expected not to fit into a small piece

	pieces     [][]byte // have the first bytes; all but the last are full
	file       *os.File // has the bytes after those; nil: there are none
	memoryUsed int64    // bytes of the Store's memory
	spoolUsed  int64    // bytes of the Store's spool
	size       int64
	offset     int64 // where the next Read begins

	// For ReadAhead, which goes on if there is no space for more.
	keepOverflow bool   // bytes for which there is no space go to overflow
	overflow     []byte // of the last Read; nil: there was space
	overflowErr  error  // what that Read returned

	mu   sync.Mutex // guards the fields below; held while pieces and file are released
	uses int        // running methods that use pieces and file
	err  error      // what later calls return; nil: they work
}

// NewBody returns an empty Body, which the caller must close.
func (s *Store) NewBody(l Limits) *Body {
	return &Body{store: s, maxMemory: cmp.Or(l.Memory, 1<<20), maxSize: max(l.Size, 0)}
}

// Len returns how many bytes the Body has, whether they were read or not.
func (b *Body) Len() int64 { return b.size }

// Write appends p. If that would pass the limit, it appends nothing, and returns
// ErrTooLarge.
func (b *Body) Write(p []byte) (n int, err error) {
	if err := b.beginUse(); err != nil {
		return 0, err
	}
	defer b.endUse()
	if !b.fits(len(p)) {
		return 0, b.fail(ErrTooLarge)
	}
	for n < len(p) {
		room := b.freeSpace()
		if room == nil {
			if err := b.writeFile(p[n:]); err != nil {
				return n, b.fail(err)
			}
			return len(p), nil
		}
		n += b.extend(copy(room, p[n:]))
	}
	return n, nil
}

// ReadFrom appends what it reads from r up to its end. It returns errors of r
// unchanged, and keeps what was read before.
func (b *Body) ReadFrom(r io.Reader) (n int64, err error) {
	start := b.size
	for err == nil {
		err = b.fill(r)
	}
	if err == io.EOF {
		err = nil
	}
	return b.size - start, err
}

// fill appends what one Read of r returns.
func (b *Body) fill(r io.Reader) error {
	if err := b.beginUse(); err != nil {
		return err
	}
	defer b.endUse()
	room := b.freeSpace()
	if room == nil {
		return b.fillFile(r)
	}
	n, err := r.Read(room)
	if !b.fits(n) {
		return b.fail(ErrTooLarge)
	}
	b.extend(n)
	return err
}

func (b *Body) fillFile(r io.Reader) error {
	large := b.store.memory.acquire(largePiece)
	if large {
		defer b.store.memory.release(largePiece)
	}
	piece := newPiece(large)
	defer freePiece(piece)
	n, end := r.Read(piece[:cap(piece)])
	if !b.fits(n) {
		return b.fail(ErrTooLarge)
	}
	err := b.writeFile(piece[:n])
	switch {
	case err == nil:
		return end
	case b.keepOverflow:
		b.overflow, b.overflowErr = bytes.Clone(piece[:n]), end
		return err
	}
	return b.fail(err)
}

// fits reports whether n more bytes are within the limit.
func (b *Body) fits(n int) bool {
	return b.maxSize == 0 || int64(n) <= b.maxSize-b.size
}

// freeSpace returns the memory for the next bytes, or nil if they belong into the file.
func (b *Body) freeSpace() []byte {
	left := b.maxMemory - b.size
	if b.file != nil || left <= 0 || !b.hasFreeSpace() && !b.addPiece() {
		return nil
	}
	last := b.pieces[len(b.pieces)-1]
	free := last[len(last):cap(last)]
	return free[:min(int64(len(free)), left)]
}

// hasFreeSpace reports whether the last piece is not full.
func (b *Body) hasFreeSpace() bool {
	i := len(b.pieces) - 1
	return i >= 0 && len(b.pieces[i]) < cap(b.pieces[i])
}

// addPiece adds a piece, and reports false if the Store has no memory for it.
func (b *Body) addPiece() bool {
	size, large := int64(smallPiece), b.large || len(b.pieces) > 0
	if large {
		size = largePiece
	}
	if !b.store.memory.acquire(size) {
		return false
	}
	b.memoryUsed += size
	b.pieces = append(b.pieces, newPiece(large))
	return true
}

// extend adds the first n bytes of freeSpace, which were filled, and returns n.
func (b *Body) extend(n int) int {
	last := &b.pieces[len(b.pieces)-1]
	*last = (*last)[:len(*last)+n]
	b.size += int64(n)
	return n
}

// writeFile appends p to the file, which it makes if there is none. Errors are
// ErrSpool, and leave the Body unchanged.
func (b *Body) writeFile(p []byte) (err error) {
	if len(p) == 0 {
		return nil
	}
	s := b.store
	if !s.spool.acquire(int64(len(p))) {
		return fmt.Errorf("%w: it would pass the limit of %d bytes for all bodies: want a higher one, or fewer bodies at a time", ErrSpool, s.spool.limit)
	}
	defer func() {
		if err != nil {
			s.spool.release(int64(len(p)))
		}
	}()
	if b.file == nil {
		if b.file, err = s.createFile(); err != nil {
			return err
		}
	}
	if _, err := b.file.Write(p); err != nil {
		return fmt.Errorf("%w: a file in %s cannot be written: %w: want more room there", ErrSpool, s.dir, cause(err))
	}
	b.spoolUsed += int64(len(p))
	b.size += int64(len(p))
	return nil
}

// Read reads on from where the last Read or Seek left off, and returns io.EOF at the
// end.
func (b *Body) Read(p []byte) (n int, err error) {
	if err := b.beginUse(); err != nil {
		return 0, err
	}
	defer b.endUse()
	p = p[:min(int64(len(p)), max(b.size-b.offset, 0))]
	start := b.size - b.spoolUsed // of the file
	switch {
	case len(p) > 0 && b.offset < start:
		n = copy(p, b.inMemory(b.offset))
	case len(p) > 0:
		if n, err = b.file.ReadAt(p, b.offset-start); err != nil {
			return 0, b.fail(fmt.Errorf("%w: a file in %s cannot be read back: %w: want a disk that works", ErrSpool, b.store.dir, cause(err)))
		}
	case b.offset >= b.size:
		return 0, io.EOF
	}
	b.offset += int64(n)
	return n, nil
}

// inMemory returns the bytes from offset on in the piece that holds that.
func (b *Body) inMemory(offset int64) []byte {
	first := b.pieces[0]
	if offset < int64(len(first)) {
		return first[offset:]
	}
	offset -= int64(len(first))
	return b.pieces[1+offset/largePiece][offset%largePiece:]
}

// Seek implements io.Seeker.
func (b *Body) Seek(offset int64, whence int) (int64, error) {
	if err := b.beginUse(); err != nil {
		return 0, err
	}
	defer b.endUse()
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += b.offset
	case io.SeekEnd:
		offset += b.size
	default:
		return 0, errors.New("seek from an unknown place")
	}
	if offset < 0 {
		return 0, errors.New("seek to before the start")
	}
	b.offset = offset
	return offset, nil
}

// Close releases the memory and the file. Further calls do nothing.
func (b *Body) Close() error {
	b.fail(os.ErrClosed)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.releaseLocked()
	return nil
}

// beginUse keeps pieces and file from being released until endUse.
func (b *Body) beginUse() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.uses++
	}
	return b.err
}

func (b *Body) endUse() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.uses--
	b.releaseLocked()
}

// fail makes err what later calls return, unless they return another one already. It
// returns err.
func (b *Body) fail(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = cmp.Or(b.err, err)
	return err
}

// releaseLocked releases memory and file if the Body has failed or was closed, and no
// method is running.
func (b *Body) releaseLocked() {
	if b.err == nil || b.uses > 0 {
		return
	}
	for _, piece := range b.pieces {
		freePiece(piece)
	}
	if b.file != nil {
		b.file.Close() // errors do not matter: the file is deleted
	}
	b.store.memory.release(b.memoryUsed)
	b.store.spool.release(b.spoolUsed)
	b.pieces, b.file, b.memoryUsed, b.spoolUsed = nil, nil, 0, 0
}
