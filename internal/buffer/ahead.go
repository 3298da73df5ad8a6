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
	b.spills = true
	if _, err = b.ReadFrom(r); err == nil {
		r.Close()
		return b, nil, nil
	}
	if b.spill == nil || !errors.Is(err, ErrSpool) {
		b.Close()
		return nil, nil, err
	}
	rest := r
	if l.Size > 0 {
		rest = &limited{ReadCloser: r, left: l.Size - b.Len() - int64(len(b.spill))}
	}
	return &ahead{kept: b, spill: b.spill, end: b.spillEnd, rest: rest}, err, nil
}

// An ahead is a body of which only the beginning is kept.
type ahead struct {
	kept  *Body
	spill []byte // follows kept, and has no place
	end   error  // of rest, as it came with spill; nil: none
	rest  io.ReadCloser
	past  bool // what was kept is read
}

func (a *ahead) Read(p []byte) (int, error) {
	if !a.past {
		n, err := a.kept.Read(p)
		if err != io.EOF {
			return n, err
		}
		a.past = true
		a.kept.Close() // others may need its place
	}
	switch {
	case len(a.spill) > 0:
		n := copy(p, a.spill)
		a.spill = a.spill[n:]
		return n, nil
	case a.end != nil:
		return 0, a.end
	}
	return a.rest.Read(p)
}

// Close may be called while a Read runs.
func (a *ahead) Close() error {
	a.kept.Close()
	return a.rest.Close()
}
