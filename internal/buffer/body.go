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

// A Body is what is kept of one request or response. Write and ReadFrom add to
// its end, Read reads on from where the last Read or Seek left off, so that it
// can be sent more than once. One of them may run at a time, while Close may be
// called at any time and from any goroutine.
//
// When ErrTooLarge or ErrSpool is returned, or Close was called, a Body gives
// back all that it has, as soon as no other method is running. From then on
// the methods return that error, or os.ErrClosed.
type Body struct {
	store     *Store
	maxMemory int64 // how many bytes may be in pieces
	maxSize   int64 // how many bytes there may be at all; 0: any number
	large     bool  // it will not fit into a small piece

	pieces     [][]byte // the first bytes; all but the last piece are full
	file       *os.File // what follows them; nil: nothing
	memoryUsed int64    // bytes of the Store's memory
	spoolUsed  int64    // bytes of the Store's spool
	size       int64
	offset     int64 // where the next Read begins

	// For ReadAhead, which goes on where a Body has no place for more.
	keepOverflow bool   // what has none is not lost
	overflow     []byte // of the last Read; nil: it had a place
	overflowErr  error  // what that Read has returned

	mu   sync.Mutex // guards using and err, and is held while all is given back
	uses int        // methods that use pieces and file
	err  error      // what every method returns from now on
}

// NewBody returns an empty Body, which has to be closed.
func (s *Store) NewBody(l Limits) *Body {
	return &Body{store: s, maxMemory: cmp.Or(l.Memory, 1<<20), maxSize: max(l.Size, 0)}
}

// Len returns how many bytes the Body has, read or not.
func (b *Body) Len() int64 { return b.size }

// Write adds p. If that is too much, it adds nothing.
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

// ReadFrom adds what r holds up to its end. An error of r is returned as it is,
// and what was read before is kept.
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

// fill adds what one Read of r returns.
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

// fits reports whether n more bytes are not too many.
func (b *Body) fits(n int) bool {
	return b.maxSize == 0 || int64(n) <= b.maxSize-b.size
}

// freeSpace returns where in memory the next bytes belong; nil: in the file.
func (b *Body) freeSpace() []byte {
	left := b.maxMemory - b.size
	if b.file != nil || left <= 0 || !b.hasFreeSpace() && !b.addPiece() {
		return nil
	}
	last := b.pieces[len(b.pieces)-1]
	free := last[len(last):cap(last)]
	return free[:min(int64(len(free)), left)]
}

// hasFreeSpace reports whether the last piece has any.
func (b *Body) hasFreeSpace() bool {
	i := len(b.pieces) - 1
	return i >= 0 && len(b.pieces[i]) < cap(b.pieces[i])
}

// addPiece adds a piece, unless the Store has no memory for it.
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

// extend counts n bytes that were put where room said, and returns n.
func (b *Body) extend(n int) int {
	last := &b.pieces[len(b.pieces)-1]
	*last = (*last)[:len(*last)+n]
	b.size += int64(n)
	return n
}

// writeFile adds p to the file, which it makes if there is none. After an error,
// which is ErrSpool, the Body is as it was.
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

// Read returns what follows, and io.EOF at the end of what there is.
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

// inMemory returns what the piece that holds a byte has from there on.
func (b *Body) inMemory(offset int64) []byte {
	first := b.pieces[0]
	if offset < int64(len(first)) {
		return first[offset:]
	}
	offset -= int64(len(first))
	return b.pieces[1+offset/largePiece][offset%largePiece:]
}

// Seek sets where the next Read begins, as io.Seeker says.
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

// Close gives back the memory and the file. To call it again does nothing.
func (b *Body) Close() error {
	b.fail(os.ErrClosed)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.releaseLocked()
	return nil
}

// beginUse keeps pieces and file until end is called.
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

// fail makes err what every method returns, if there is none yet, and returns
// err.
func (b *Body) fail(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = cmp.Or(b.err, err)
	return err
}

// releaseLocked gives back what there is, if nobody may use it any more.
func (b *Body) releaseLocked() {
	if b.err == nil || b.uses > 0 {
		return
	}
	for _, piece := range b.pieces {
		freePiece(piece)
	}
	if b.file != nil {
		b.file.Close() // it has no name, so nothing is lost that was not written
	}
	b.store.memory.release(b.memoryUsed)
	b.store.spool.release(b.spoolUsed)
	b.pieces, b.file, b.memoryUsed, b.spoolUsed = nil, nil, 0, 0
}
