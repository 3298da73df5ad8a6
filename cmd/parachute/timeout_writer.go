package main

import (
	"bytes"
	"io"
	"os"
	"sync"
	"time"
)

// stderrTimeout is how long a timeoutWriter waits for a write. No message on
// standard error is worth a longer wait, least of all when the process ends.
const stderrTimeout = time.Second

// A timeoutWriter writes to w. If a write does not return in time, as for a
// pipe that nobody reads, it gives w up and drops everything from then on.
type timeoutWriter struct {
	w io.Writer

	mu     sync.Mutex // guards gaveUp, and is held during Write
	gaveUp bool
}

type writeResult struct {
	n   int
	err error
}

func (p *timeoutWriter) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gaveUp {
		return 0, os.ErrDeadlineExceeded
	}
	done := make(chan writeResult, 1)
	go p.write(bytes.Clone(b), done)
	late := time.NewTimer(stderrTimeout)
	defer late.Stop()
	select {
	case r := <-done:
		return r.n, r.err
	case <-late.C:
		p.gaveUp = true
		return 0, os.ErrDeadlineExceeded
	}
}

// write may block until the process ends: a write to a pipe cannot be
// canceled.
func (p *timeoutWriter) write(b []byte, done chan<- writeResult) {
	n, err := p.w.Write(b)
	done <- writeResult{n, err}
}
