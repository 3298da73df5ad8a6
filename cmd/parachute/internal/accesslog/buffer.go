package accesslog

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	flushInterval = 100 * time.Millisecond
	flushSize     = 64 << 10        // as much is written before its time
	maxPending    = 4 << 20         // as much may wait for an output that does not keep up
	closeTimeout  = 2 * time.Second // a write may take at the end
)

// A LostError says that lines were not written: the output did not take them
// within 2 s of Close.
type LostError struct {
	Lines int // one of them may have been written in part
}

func (e *LostError) Error() string {
	return fmt.Sprintf("the output of the log took too little for %v: its last lines are lost, %d of them", closeTimeout, e.Lines)
}

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
	last   error         // of the last write, if that was once more tried in vain; set before done is closed

	closing sync.Once
	err     error // what close returns, guarded by closing

	spare []byte // run's own, to take the place of waiting

	mu        sync.Mutex // guards what follows
	pending   []byte
	writing   []byte // what run is writing, as far as it was not taken yet
	dropped   int    // lines since the last write that succeeded
	closed    bool   // all is written; what comes is written at once
	abandoned bool   // close did not wait any longer; what comes is dropped
	history   history
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
	case b.abandoned, len(b.writing)+len(b.pending)+len(line) > maxPending:
		b.dropped++
	default:
		b.pending = append(b.pending, line...)
		wake(b.filled)
		if len(b.pending) >= flushSize {
			wake(b.full)
		}
	}
}

// openReader returns a reader as history.open does.
func (b *buffer) openReader(service string, n int, follow bool) *reader {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.history.openReader(service, n, follow)
}

func (b *buffer) closeReader(r *reader) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.history.closeReader(r)
}

func (b *buffer) read(r *reader, dst []byte, appendMissed func([]byte, int) []byte) (lines []byte, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.history.read(r, dst, appendMissed)
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
// is much; and all of it at last.
func (b *buffer) run() {
	defer close(b.done)
	due := time.NewTimer(flushInterval)
	defer due.Stop()
	for b.waitForLines(due) {
		b.flush()
	}
	b.mu.Lock()
	b.reportDroppedLocked()
	b.mu.Unlock()
	b.last = b.flush()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = !b.abandoned
}

// waitForLines returns when there is something to be written. It reports false if that
// is for the last time.
func (b *buffer) waitForLines(due *time.Timer) bool {
	select {
	case <-b.filled:
	case <-b.quit:
		return false
	}
	due.Reset(flushInterval)
	select {
	case <-b.full:
	case <-due.C:
	case <-b.quit:
		return false
	}
	return true
}

// flush writes what waits. What the output did not take waits again, at its
// old place.
func (b *buffer) flush() error {
	b.mu.Lock()
	lines := b.pending
	b.pending = b.spare[:0]
	b.writing = lines
	b.mu.Unlock()

	left, err := b.write(lines)

	b.mu.Lock()
	defer b.mu.Unlock()
	b.writing = nil
	if err != nil {
		b.pending, b.spare = append(left, b.pending...), b.pending
		wake(b.filled)
		return err
	}
	b.spare = nil
	if cap(lines) <= 16*flushSize {
		b.spare = lines
	}
	b.reportDroppedLocked()
	return nil
}

// write writes lines, a part after another, so that it is known how far the
// output has come. It returns what is left.
func (b *buffer) write(lines []byte) (left []byte, err error) {
	for len(lines) > 0 && err == nil {
		part := lines
		if len(part) > flushSize {
			whole := bytes.LastIndexByte(part[:flushSize], '\n') + 1
			if whole == 0 {
				whole = bytes.IndexByte(part, '\n') + 1
			}
			part = part[:whole]
		}
		var n int
		if n, err = b.out.Write(part); n < len(part) && err == nil {
			err = io.ErrShortWrite
		}
		lines = lines[n:]
		b.mu.Lock()
		b.writing = lines
		b.mu.Unlock()
	}
	return lines, err
}

// reportDroppedLocked puts the line that says how many were dropped where they
// would be: after all that waits, for without room there was none for those
// that came later either.
func (b *buffer) reportDroppedLocked() {
	if b.dropped > 0 {
		whole := len(b.pending)
		b.pending = b.appendDropped(b.pending, b.dropped)
		b.history.add(fromProgram, "", b.pending[whole:])
		b.dropped = 0
		wake(b.filled)
	}
}

// close has run write what waits, and end. Where the output does not let it, it
// is left behind, with what it has not written.
func (b *buffer) close() error {
	b.closing.Do(func() {
		close(b.quit)
		late := time.NewTimer(closeTimeout)
		defer late.Stop()
		select {
		case <-b.done:
			b.err = b.last
		case <-late.C:
			b.mu.Lock()
			defer b.mu.Unlock()
			b.abandoned = true
			b.err = &LostError{bytes.Count(b.writing, []byte("\n")) + bytes.Count(b.pending, []byte("\n")) + b.dropped}
			b.pending = nil
		}
	})
	return b.err
}
