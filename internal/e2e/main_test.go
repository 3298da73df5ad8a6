package e2e_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/shahnk19/parachute/internal/proxytest"
)

// patience is how long something may take that is bound to happen.
const patience = 3 * time.Minute

// binary is the path of the program.
var binary string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if code, isClient := runInteropClient(); isClient {
		return code
	}
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
	binary = filepath.Join(dir, "parachute")
	if err := proxytest.Build(binary, "../..", "./cmd/parachute", raceFlags()...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
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
