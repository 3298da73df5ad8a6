package buffer

import "io"

// Limit returns a ReadCloser that reads at most n bytes from r. If r has more, Read
// returns ErrTooLarge after the first n. If n is 0 or negative, there is no limit.
//
// Limit does not look at a Content-Length. Unlike http.MaxBytesReader, it does not use
// the ResponseWriter, so that the body may be read on another goroutine: after
// ErrTooLarge, the caller must close the connection or read the rest of r.
func Limit(r io.ReadCloser, n int64) io.ReadCloser {
	if n <= 0 {
		return r
	}
	return &limitedBody{ReadCloser: r, remaining: n}
}

type limitedBody struct {
	io.ReadCloser
	remaining int64
	err       error
}

func (l *limitedBody) Read(p []byte) (int, error) {
	if l.err != nil || len(p) == 0 {
		return 0, l.err
	}
	// Reading one byte more tells whether r is too large.
	if int64(len(p))-1 > l.remaining {
		p = p[:l.remaining+1]
	}
	n, err := l.ReadCloser.Read(p)
	if int64(n) > l.remaining {
		n, err = int(l.remaining), ErrTooLarge
	}
	l.remaining -= int64(n)
	l.err = err
	return n, err
}
