package accesslog

import (
	"context"
	"time"
)

const (
	chunkSize = 64 << 10 // as much is handed over at a time

	// batchInterval is how long lines gather for who follows, so that nobody
	// is woken by every single request.
	batchInterval = 10 * time.Millisecond
)

// Tail hands to write the last n lines about a service, or with "" the last of
// all lines; if n is 0, as many as are kept, and if negative, none. With follow
// it goes on with those that come, within about 10 ms, until ctx ends; what came
// before that is handed over. Tail returns the error of write, and nil otherwise.
//
// Write gets whole lines, one or several, and must not keep them. Nobody waits
// for it: lines that are forgotten meanwhile are left out, and in their place
// stands a line that says how many.
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

// wait returns a moment after a line has come, or when ctx ends.
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

// appendMissed appends the line that stands for those that a reader has missed.
func (l *Log) appendMissed(dst []byte, lines int) []byte {
	return l.appendCount(dst, "Log lines left out: the reader does not keep up", lines)
}
