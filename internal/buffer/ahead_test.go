package buffer_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/buffer"
)

// A source is a body that tells whether it was closed.
type source struct {
	io.Reader
	closed bool
}

func (s *source) Close() error {
	s.closed = true
	return nil
}

func TestBodyWithRoomIsReadAhead(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{Dir: t.TempDir()})
	src := &source{Reader: strings.NewReader("hello")}
	b, full, err := s.ReadAhead(src, 5, buffer.Limits{Memory: 2})
	is.NoErr(err)
	is.NoErr(full)
	is.True(src.closed) // who sent it is free
	is.Equal(rest(t, b), "hello")
	is.NoErr(b.Close())
	is.Equal(inUse(s), use{})
}

func TestBodyWithoutRoomIsReadToItsEndAllTheSame(t *testing.T) {
	notAFolder := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notAFolder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	data := random(200_000)
	for name, o := range map[string]buffer.Options{
		"no room from the first byte on": {Dir: t.TempDir(), MaxMemory: 1, MaxSpool: 1},
		"no room for a file":             {Dir: t.TempDir(), MaxSpool: 1},
		"no room in the file":            {Dir: t.TempDir(), MaxSpool: 70_000},
		"no folder":                      {Dir: notAFolder},
	} {
		for kind, read := range map[string]func() io.Reader{
			"pieces":            func() io.Reader { return bytes.NewReader(data) },
			"bytes":             func() io.Reader { return iotest.OneByteReader(bytes.NewReader(data)) },
			"end with the last": func() io.Reader { return iotest.DataErrReader(bytes.NewReader(data)) },
		} {
			t.Run(name+", "+kind, func(t *testing.T) {
				is := is.New(t)
				s := buffer.New(o)
				src := &source{Reader: read()}
				b, full, err := s.ReadAhead(src, int64(len(data)), buffer.Limits{Memory: 50_000, Size: int64(len(data))})
				is.NoErr(err)
				is.True(errors.Is(full, buffer.ErrSpool))
				is.True(!src.closed)
				is.True(rest(t, b) == string(data)) // all of it, in order
				is.Equal(inUse(s), use{})           // others have its place before it is closed
				is.NoErr(b.Close())
				is.True(src.closed)
			})
		}
	}
}

func TestLimitHoldsForWhatIsReadAhead(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{Dir: t.TempDir(), MaxSpool: 10})
	b, full, err := s.ReadAhead(&source{Reader: iotest.OneByteReader(strings.NewReader("0123456789abcde"))}, -1, buffer.Limits{Memory: -1, Size: 11})
	is.NoErr(err)
	is.True(errors.Is(full, buffer.ErrSpool))
	got, err := io.ReadAll(b)
	is.Equal(err, buffer.ErrTooLarge)
	is.Equal(string(got), "0123456789a")
	is.NoErr(b.Close())

	_, _, err = s.ReadAhead(&source{Reader: strings.NewReader("0123456789a")}, 11, buffer.Limits{Memory: -1, Size: 10})
	is.Equal(err, buffer.ErrTooLarge)
	is.Equal(inUse(s), use{})
}

func TestErrorOfABodyIsKeptForWhoReadsIt(t *testing.T) {
	is := is.New(t)
	broken := errors.New("broken")
	s := buffer.New(buffer.Options{Dir: t.TempDir(), MaxSpool: 3})
	src := &source{Reader: io.MultiReader(strings.NewReader("0123"), iotest.ErrReader(broken))}
	b, full, err := s.ReadAhead(src, 10, buffer.Limits{Memory: -1})
	is.NoErr(err)
	is.True(errors.Is(full, buffer.ErrSpool))
	got, err := io.ReadAll(b)
	is.Equal(err, broken)
	is.Equal(string(got), "0123")
	is.NoErr(b.Close())

	src = &source{Reader: io.MultiReader(strings.NewReader("012"), iotest.ErrReader(broken))}
	_, _, err = s.ReadAhead(src, 10, buffer.Limits{Memory: -1})
	is.Equal(err, broken) // before anybody has seen any of it
	is.True(!src.closed)
	is.Equal(inUse(s), use{})
}
