package accesslog

import (
	"io"
	"sync"
	"time"
)

const (
	flushInterval = 100 * time.Millisecond
	flushSize     = 64 << 10 // as much is written before its time
	holdSize      = 4 << 20  // as much may wait for an output that does not keep up
)

// A buffer takes whole lines, writes them to its output from a goroutine of its
// own, and keeps the last of them.
type buffer struct {
	out io.Writer

	// appendDropped appends a line that says how many there was no room for.
	appendDropped func(dst []byte, lines int) []byte

	filled chan struct{} // has an element if waiting is not empty
	full   chan struct{} // has one if waiting is not to wait any longer
	quit   chan struct{}
	done   chan struct{} // closed when run has returned

	closing sync.Once
	err     error // of the last write, guarded by closing

	spare []byte // run's own, to take the place of waiting

	mu      sync.Mutex // guards what follows
	waiting []byte
	writing int // bytes that run is writing
	dropped int // lines since the last write that succeeded
	closed  bool
	history history
}

func newBuffer(out io.Writer, appendDropped func([]byte, int) []byte) *buffer {
	b := &buffer{
		out:           out,
		appendDropped: appendDropped,
		filled:        make(chan struct{}, 1),
		full:          make(chan struct{}, 1),
		quit:          make(chan struct{}),
		done:          make(chan struct{}),
	}
	go b.run()
	return b
}

// add takes a line about a service for the output, or drops it, and keeps it in
// any case. After close it writes the line itself.
func (b *buffer) add(k kind, service string, line []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.history.add(k, service, line)
	switch {
	case b.closed:
		_, _ = b.out.Write(line)
	case b.writing+len(b.waiting)+len(line) > holdSize:
		b.dropped++
	default:
		b.waiting = append(b.waiting, line...)
		wake(b.filled)
		if len(b.waiting) >= flushSize {
			wake(b.full)
		}
	}
}

// open returns a reader as history.open does.
func (b *buffer) open(service string, n int, follow bool) *reader {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.history.open(service, n, follow)
}

func (b *buffer) leave(r *reader) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.history.leave(r)
}

func (b *buffer) take(r *reader, dst []byte, appendMissed func([]byte, int) []byte) (lines []byte, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.history.take(r, dst, appendMissed)
}

func (b *buffer) has(service string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.history.has(service)
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run writes what waits: 100 ms after the first line of it came, or when there
// is much.
func (b *buffer) run() {
	defer close(b.done)
	due := time.NewTimer(flushInterval)
	defer due.Stop()
	for {
		select {
		case <-b.filled:
		case <-b.quit:
			return
		}
		due.Reset(flushInterval)
		select {
		case <-b.full:
		case <-due.C:
		case <-b.quit:
			return
		}
		b.flush()
	}
}

// flush writes what waits. What the output did not take waits again, at its
// old place.
func (b *buffer) flush() {
	b.mu.Lock()
	lines := b.waiting
	b.waiting = b.spare[:0]
	b.writing = len(lines)
	b.mu.Unlock()

	var n int
	var err error
	if len(lines) > 0 {
		n, err = b.out.Write(lines)
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	b.writing = 0
	if err != nil {
		b.waiting, b.spare = append(lines[n:], b.waiting...), b.waiting
		wake(b.filled)
		return
	}
	b.spare = nil
	if cap(lines) <= 16*flushSize {
		b.spare = lines
	}
	b.reportDroppedLocked()
}

// reportDroppedLocked puts the line that says how many were dropped where they
// would be: after all that waits, for without room there was none for those
// that came later either.
func (b *buffer) reportDroppedLocked() {
	if b.dropped > 0 {
		whole := len(b.waiting)
		b.waiting = b.appendDropped(b.waiting, b.dropped)
		b.history.add(own, "", b.waiting[whole:])
		b.dropped = 0
		wake(b.filled)
	}
}

// close writes what waits, and ends run.
func (b *buffer) close() error {
	b.closing.Do(func() {
		close(b.quit)
		<-b.done
		b.mu.Lock()
		defer b.mu.Unlock()
		b.closed = true
		b.reportDroppedLocked()
		if len(b.waiting) > 0 {
			_, b.err = b.out.Write(b.waiting)
		}
		b.waiting = nil
	})
	return b.err
}
