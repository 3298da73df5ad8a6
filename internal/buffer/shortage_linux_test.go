package buffer_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/buffer"
	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestFolderIsNotBlamedWhereTooManyFilesAreOpen(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{Dir: t.TempDir(), MaxMemory: -1})
	var err error
	proxytest.WithoutFiles(t, func() { _, err = s.ReadAll(strings.NewReader("hello"), 5, buffer.Limits{Memory: -1}) })
	is.True(errors.Is(err, buffer.ErrSpool))
	is.True(strings.Contains(err.Error(), "too many open files: raise the limit of open files"))
	is.True(!strings.Contains(err.Error(), "may write"))
}

// Clients alone decide how many bodies there are.
func TestBodiesTakeNoFilesOfTheReserve(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	s := buffer.New(buffer.Options{Dir: dir, MaxMemory: -1})
	var was syscall.Rlimit
	is.NoErr(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was))
	defer func() { is.NoErr(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)) }()
	is.NoErr(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 128, Max: was.Max}))

	var bodies []*buffer.Body
	defer func() {
		for _, b := range bodies {
			b.Close()
		}
	}()
	var err error
	for err == nil && len(bodies) < 128 {
		var b *buffer.Body
		if b, err = s.ReadAll(strings.NewReader("hello"), 5, buffer.Limits{Memory: -1}); err == nil {
			bodies = append(bodies, b)
		}
	}
	is.True(errors.Is(err, buffer.ErrSpool))
	is.True(errors.Is(err, descriptors.ErrReserved))
	f, err := os.Open(os.DevNull)
	is.NoErr(err) // the reserve is there
	is.Equal(f.Fd(), uintptr(104))
	is.NoErr(f.Close())
}
