package buffer

import (
	"errors"
	"io"
)

// ReadAhead is ReadAll for who would rather have a body that is not whole than
// none: it reads r as far as there is room, at best to its end. The body that it
// returns reads all of r, and closes r when it is closed, or at once if it is
// whole. If it is not, full is the ErrSpool that tells why, and what is not kept
// is read from r when it is wanted.
//
// Other errors are those of ReadAll; then r is open.
func (s *Store) ReadAhead(r io.ReadCloser, size int64, l Limits) (body io.ReadCloser, full, err error) {
	if l.Size > 0 && size > l.Size {
		return nil, nil, ErrTooLarge
	}
	b := s.NewBody(l)
	b.large = size > smallPiece
	b.keepOverflow = true
	if _, err = b.ReadFrom(r); err == nil {
		r.Close()
		return b, nil, nil
	}
	if b.overflow == nil || !errors.Is(err, ErrSpool) {
		b.Close()
		return nil, nil, err
	}
	rest := r
	if l.Size > 0 {
		rest = &limitedBody{ReadCloser: r, remaining: l.Size - b.Len() - int64(len(b.overflow))}
	}
	return &partialBody{start: b, overflow: b.overflow, overflowErr: b.overflowErr, rest: rest}, err, nil
}

// An partialBody is a body of which only the beginning is kept.
type partialBody struct {
	start       *Body
	overflow    []byte // follows kept, and has no place
	overflowErr error  // of rest, as it came with spill; nil: none
	rest        io.ReadCloser
	startRead   bool // what was kept is read
}

func (a *partialBody) Read(p []byte) (int, error) {
	if !a.startRead {
		n, err := a.start.Read(p)
		if err != io.EOF {
			return n, err
		}
		a.startRead = true
		a.start.Close() // others may need its place
	}
	switch {
	case len(a.overflow) > 0:
		n := copy(p, a.overflow)
		a.overflow = a.overflow[n:]
		return n, nil
	case a.overflowErr != nil:
		return 0, a.overflowErr
	}
	return a.rest.Read(p)
}

// Close may be called while a Read runs.
func (a *partialBody) Close() error {
	a.start.Close()
	return a.rest.Close()
}
