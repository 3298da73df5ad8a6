package buffer

import "io"

// Limit returns a ReadCloser with the bytes of r, the Read of which returns
// ErrTooLarge once r turns out to have more than n. Those n come before it. If n
// is 0 or negative, there is no limit.
//
// A body whose length is known to be too large should be refused before: Limit
// does not know it. Unlike http.MaxBytesReader, it leaves the ResponseWriter
// alone, so that the body may be read on another goroutine: who answers for an
// ErrTooLarge has to close the connection, or read on.
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
	// One byte more than is left tells whether there is more.
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
