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
