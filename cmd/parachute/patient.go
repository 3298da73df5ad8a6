package main

import (
	"bytes"
	"io"
	"os"
	"sync"
	"time"
)

// patience is how long a patient writer waits. Nothing that is told on standard
// error is worth more, least of all by a process that is to end.
const patience = time.Second

// A patient writer gives an output up that does not take what is written to it, a
// pipe that nobody reads: from then on it drops everything.
type patient struct {
	w io.Writer

	mu   sync.Mutex // guards what follows, and is held by the Write under way
	over bool       // w was given up
}

type written struct {
	n   int
	err error
}

func (p *patient) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return 0, os.ErrDeadlineExceeded
	}
	done := make(chan written, 1)
	go p.write(bytes.Clone(b), done)
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case r := <-done:
		return r.n, r.err
	case <-late.C:
		p.over = true
		return 0, os.ErrDeadlineExceeded
	}
}

// write ends with the process at the latest: a write to a pipe cannot be taken
// back.
func (p *patient) write(b []byte, done chan<- written) {
	n, err := p.w.Write(b)
	done <- written{n, err}
}
