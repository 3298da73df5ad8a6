package proxytest

import (
	"os"
	"testing"
)

// longTempDir is a path that leaves too little for names below it.
const longTempDir = 60

// ShortDir returns a folder of the test's own, as t.TempDir does, in which the path of a
// unix socket is not too long: the system takes about a hundred bytes, and the name of a
// test has half of that.
func ShortDir(t testing.TB) string {
	t.Helper()
	parent := os.TempDir()
	if len(parent) > longTempDir {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "pt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
