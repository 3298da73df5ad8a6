package buffer

import (
	"errors"
	"io"
)

// ReadAhead is like ReadAll, but if there is no space for the whole body, it reads as
// much of r as there is space for. The returned body then reads the rest from r, and
// closes r when it is closed; full is the ErrSpool that says why. If r was read to its
// end, ReadAhead closes it, and full is nil.
//
// Other errors are as for ReadAll; they leave r open.
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

// A partialBody is a body of which only the start is buffered.
type partialBody struct {
	start       *Body
	overflow    []byte // what was read after start, for which there was no space
	overflowErr error  // what rest returned with overflow
	rest        io.ReadCloser
	startRead   bool // start was read to its end
}

func (a *partialBody) Read(p []byte) (int, error) {
	if !a.startRead {
		n, err := a.start.Read(p)
		if err != io.EOF {
			return n, err
		}
		a.startRead = true
		a.start.Close() // other bodies may need the space
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
