package main

import (
	"bytes"
	"io"
	"os"
	"sync"
	"time"
)

// stderrTimeout is how long a patient writer waits. Nothing that is told on standard
// error is worth more, least of all by a process that is to end.
const stderrTimeout = time.Second

// A timeoutWriter writer gives an output up that does not take what is written to it, a
// pipe that nobody reads: from then on it drops everything.
type timeoutWriter struct {
	w io.Writer

	mu     sync.Mutex // guards what follows, and is held by the Write under way
	gaveUp bool       // w was given up
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

// write ends with the process at the latest: a write to a pipe cannot be taken
// back.
func (p *timeoutWriter) write(b []byte, done chan<- writeResult) {
	n, err := p.w.Write(b)
	done <- writeResult{n, err}
}
