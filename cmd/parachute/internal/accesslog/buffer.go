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

	// flushSize is how much is written without waiting for flushInterval. A write wakes
	// the monitor of the runtime, which looks every 20 us for a while whether it lasts:
	// four times as many cost a small request 2 % more.
	flushSize = 256 << 10

	partSize     = 64 << 10        // how much is written at once
	maxPending   = 4 << 20         // how much may wait to be written
	closeTimeout = 2 * time.Second // how long close waits for the last writes
)

// A LostError says that lines were lost, because the output did not take them
// within 2 s of Close.
type LostError struct {
	Lines int // the first may have been written in part
}

func (e *LostError) Error() string {
	return fmt.Sprintf("the output of the log took too little for %v: its last lines are lost, %d of them", closeTimeout, e.Lines)
}

// A buffer collects whole lines, writes them to its output on a goroutine of its
// own, and keeps the last of them in a history.
type buffer struct {
	out io.Writer

	// appendDropped appends a line that says how many lines were dropped.
	appendDropped func(dst []byte, lines int) []byte

	filled chan struct{} // gets an element when pending is no longer empty
	full   chan struct{} // has an element if pending has reached flushSize
	quit   chan struct{}
	done   chan struct{} // closed when run has returned
	last   error         // error of the last write; set before done is closed

	closing sync.Once
	err     error // what close returns, guarded by closing

	spare []byte // takes the place of pending; used by run alone

	mu        sync.Mutex // guards the fields below
	pending   []byte
	writing   []byte // the rest of what run is writing
	dropped   int    // lines dropped since the last write that succeeded
	closed    bool   // everything is written; later lines are written at once
	abandoned bool   // close has given up; later lines are dropped
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

// add adds a line about a service to the history, and to pending unless that is
// full. After close it writes the line itself.
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
		if len(b.pending) == 0 {
			wake(b.filled)
		}
		b.pending = append(b.pending, line...)
		if len(b.pending) >= flushSize {
			wake(b.full)
		}
	}
}

// openReader is history.openReader.
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

// run flushes pending lines flushInterval after the first of them, or when they
// reach flushSize. When quit is closed, it flushes once more and returns.
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

// waitForLines waits until pending lines have to be flushed. It reports false if
// quit was closed.
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

// flush writes the pending lines. What could not be written stays pending, in
// front of the others.
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
	if cap(lines) <= 4*flushSize {
		b.spare = lines
	}
	b.reportDroppedLocked()
	return nil
}

// write writes lines in parts, and updates writing after each. It returns what
// could not be written.
func (b *buffer) write(lines []byte) (left []byte, err error) {
	for len(lines) > 0 && err == nil {
		part := lines
		if len(part) > partSize {
			whole := bytes.LastIndexByte(part[:partSize], '\n') + 1
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

// reportDroppedLocked appends the line that says how many lines were dropped, if
// any were. Its place is at the end, because no later line has been added.
func (b *buffer) reportDroppedLocked() {
	if b.dropped > 0 {
		whole := len(b.pending)
		b.pending = b.appendDropped(b.pending, b.dropped)
		b.history.add(fromProgram, "", b.pending[whole:])
		b.dropped = 0
		wake(b.filled)
	}
}

// close has run write the pending lines and return. If that takes too long, it
// leaves run behind, and the lines are lost.
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
