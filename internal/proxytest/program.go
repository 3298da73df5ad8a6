package proxytest

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Build has the go command build the program of a package, as it is named in
// the folder dir, with flags of go build. The program is then at path. Building
// is not for a bubble.
//
// The go command keeps the programs that it runs, and links again whatever it
// is asked to build. So this has it run the program by copying it: of all the
// packages whose tests need it, and of all their runs, one links.
func Build(path, dir, pkg string, flags ...string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	cmd := exec.Command("go", slices.Concat([]string{"run", "-exec", "cp"}, flags, []string{pkg, path})...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go run -exec cp %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// Why there was nothing to be returned by Await.
var (
	ErrEnded = errors.New("it ended")
	ErrLate  = errors.New("it took too long")
)

// An Output collects what a program says. The zero Output is ready for use. All
// methods may be called from any goroutine.
type Output struct {
	mu   sync.Mutex // guards what follows
	b    bytes.Buffer
	more chan struct{} // closed when there is more; nil: nobody waits for that
	deaf bool          // see Forget
}

// Write adds to what has been said. It never fails.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more != nil {
		close(o.more)
		o.more = nil
	}
	if o.deaf {
		return len(p), nil
	}
	return o.b.Write(p)
}

// Forget drops what has been said, and what will be.
func (o *Output) Forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b, o.deaf = bytes.Buffer{}, true
}

// String returns what has been said so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Await returns the first whole line that matches, which it waits for as
// AwaitAll does.
func (o *Output) Await(ended <-chan struct{}, patience time.Duration, matches func(line string) bool) (string, error) {
	var found string
	err := o.AwaitAll(ended, patience, func(said string) bool {
		for line := range strings.Lines(said) {
			if strings.HasSuffix(line, "\n") && matches(line) {
				found = line
				return true
			}
		}
		return false
	})
	return found, err
}

// AwaitAll returns when all that has been said matches. It is ErrEnded if that
// does not and ended is closed, which is to happen after the last Write, and
// ErrLate if it does not after patience.
func (o *Output) AwaitAll(ended <-chan struct{}, patience time.Duration, matches func(said string) bool) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	for over := false; ; {
		said, more := o.read()
		switch {
		case matches(said):
			return nil
		case over:
			return ErrEnded
		}
		select {
		case <-more:
		case <-ended:
			over = true // and what was said last is looked at
		case <-late.C:
			return ErrLate
		}
	}
}

// read returns what has been said, and what is closed when there is more.
func (o *Output) read() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more == nil {
		o.more = make(chan struct{})
	}
	return o.b.String(), o.more
}
