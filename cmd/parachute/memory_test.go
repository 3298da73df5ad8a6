package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/matryer/is"
)

func TestMemoryLimitIsANumberOrNone(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "memory.max")
	_, ok := readLimit(path)
	is.True(!ok) // no such file
	is.NoErr(os.WriteFile(path, []byte("max\n"), 0o600))
	_, ok = readLimit(path)
	is.True(!ok)
	is.NoErr(os.WriteFile(path, []byte("268435456\n"), 0o600))
	limit, ok := readLimit(path)
	is.True(ok)
	is.Equal(limit, int64(256<<20))
}

func TestMemoryLimitIsTheFirstThatThereIs(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	current, old := filepath.Join(dir, "memory.max"), filepath.Join(dir, "memory.limit_in_bytes")
	is.NoErr(os.WriteFile(old, []byte("104857600\n"), 0o600))
	limit, ok := readLimit(current, old)
	is.True(ok)
	is.Equal(limit, int64(100<<20)) // version 1 alone
	is.NoErr(os.WriteFile(current, []byte("max\n"), 0o600))
	_, ok = readLimit(current, old)
	is.True(!ok) // version 2 counts where there are both
}
