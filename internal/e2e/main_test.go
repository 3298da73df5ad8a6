package e2e_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"
)

// patience is how long something may take that is bound to happen.
const patience = 3 * time.Minute

// binary is the path of the program.
var binary string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	// These tests wait more than they work; an explicit -parallel wins.
	flag.Set("test.parallel", "8")
	// Every Pebble reads these when it is made.
	os.Setenv("PEBBLE_VA_NOSLEEP", "1") // it validates at once
	os.Setenv("PEBBLE_AUTHZREUSE", "0") // and each time anew
	dir, err := os.MkdirTemp("", "parachute-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binary, err = build(dir, "../..", "./cmd/parachute", raceFlags()...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build builds a command of the module that is in from, into dir, and returns
// its path.
func build(dir, from, command string, flags ...string) (string, error) {
	path := filepath.Join(dir, filepath.Base(command))
	cmd := exec.Command("go", slices.Concat([]string{"build", "-o", path}, flags, []string{command})...)
	cmd.Dir = from
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", command, err, out)
	}
	return path, nil
}

// raceFlags returns what builds the binary with the race detector if these
// tests have it.
func raceFlags() []string {
	info, ok := debug.ReadBuildInfo()
	if ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return []string{"-race"}
	}
	return nil
}

// eventually returns when ok does so with true, and asks again and again until
// then. What says what that means.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for late := time.After(patience); !ok(); {
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("after %v still not true: %s", patience, what)
		}
	}
}

// An output collects what is written to it.
type output struct {
	mu   sync.Mutex // guards what follows
	b    bytes.Buffer
	more chan struct{} // closed when there is more
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
	return o.b.Write(p)
}

func (o *output) String() string {
	s, _ := o.read()
	return s
}

func (o *output) read() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String(), o.more
}
