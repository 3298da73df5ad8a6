package accesslog

import (
	"context"
	"time"
)

const (
	chunkSize = 64 << 10 // how much one call of write gets

	// batchInterval is how long a reader that follows waits for more lines, so
	// that it does not wake up for each request.
	batchInterval = 10 * time.Millisecond
)

// Tail calls write with the last n lines about a service, or about all if service
// is empty. If n is 0, it takes all kept lines, and if n is negative, none. With
// follow, it goes on with later lines, within about 10 ms each, until ctx ends;
// lines from before that are still written. Tail returns the error of write, if
// any.
//
// Each call of write gets one or several whole lines, and must not keep them. If
// write is slow, lines that are forgotten meanwhile are left out, and a line says
// how many.
func (l *Log) Tail(ctx context.Context, service string, n int, follow bool, write func(lines []byte) error) error {
	r := l.buffer.openReader(service, n, follow)
	defer l.buffer.closeReader(r)
	chunk := make([]byte, 0, chunkSize)
	for {
		last := !follow || ctx.Err() != nil
		lines, more := l.buffer.read(r, chunk, l.appendMissed)
		if len(lines) > 0 {
			if err := write(lines); err != nil {
				return err
			}
		}
		switch {
		case more:
		case last:
			return nil
		default:
			r.wait(ctx)
		}
	}
}

// Has reports whether a line about that service is kept.
func (l *Log) Has(service string) bool { return l.buffer.has(service) }

// wait waits until batchInterval after a line was added, or until ctx ends.
func (r *reader) wait(ctx context.Context) {
	select {
	case <-r.wake:
	case <-ctx.Done():
		return
	}
	select {
	case <-time.After(batchInterval):
	case <-ctx.Done():
	}
}

// appendMissed appends the line that says how many lines a reader has missed.
func (l *Log) appendMissed(dst []byte, lines int) []byte {
	return l.appendCount(dst, "Log lines left out: the reader does not keep up", lines)
}
