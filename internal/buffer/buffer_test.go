package buffer_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/buffer"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

func TestSmallBodyStaysInMemory(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{Dir: nowhere(t)})
	b, err := s.ReadAll(strings.NewReader("hello"), -1, buffer.Limits{})
	is.NoErr(err) // no file was wanted
	is.Equal(b.Len(), int64(5))
	is.Equal(rest(t, b), "hello")
	is.Equal(inUse(s), use{4 * kib, 0}) // a small piece
	is.NoErr(b.Close())
	is.Equal(inUse(s), use{})
}

func TestWhatIsMoreThanItsMemoryGoesToAFile(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{Dir: t.TempDir()})
	data := random(100_000)
	b, err := s.ReadAll(bytes.NewReader(data), int64(len(data)), buffer.Limits{Memory: 40_000})
	is.NoErr(err)
	is.Equal(b.Len(), int64(len(data)))
	is.Equal(inUse(s), use{64 * kib, 60_000})
	is.True(rest(t, b) == string(data)) // all of it, in order
	is.NoErr(b.Close())
	is.Equal(inUse(s), use{})
}

func TestMemoryIsAMebibyteUnlessSaidOtherwise(t *testing.T) {
	tests := []struct {
		memory  int64
		spooled int64
	}{
		{0, 1},
		{mib, 1},
		{mib + 1, 0},
		{math.MaxInt64, 0},
		{1, mib},
		{-1, mib + 1},
	}
	for _, tt := range tests {
		is := is.New(t)
		s := buffer.New(buffer.Options{Dir: t.TempDir()})
		b, err := s.ReadAll(bytes.NewReader(make([]byte, mib+1)), -1, buffer.Limits{Memory: tt.memory})
		is.NoErr(err)
		is.Equal(inUse(s).spool, tt.spooled)
		is.NoErr(b.Close())
	}
}

func TestBodyGoesToAFileAtOnceWhereOthersHaveTheMemory(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{Dir: t.TempDir(), MaxMemory: 6 * kib})
	first, err := s.ReadAll(strings.NewReader("first"), -1, buffer.Limits{})
	is.NoErr(err)
	second, err := s.ReadAll(strings.NewReader("second"), -1, buffer.Limits{})
	is.NoErr(err)
	is.Equal(inUse(s), use{4 * kib, 6})
	is.Equal(rest(t, second), "second")
	is.NoErr(first.Close())
	third, err := s.ReadAll(strings.NewReader("third"), -1, buffer.Limits{})
	is.NoErr(err)
	is.Equal(inUse(s), use{4 * kib, 6}) // what the first gave back
	is.NoErr(second.Close())
	is.NoErr(third.Close())
	is.Equal(inUse(s), use{})
}

func TestNoFileIsMadeForNothing(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{Dir: nowhere(t), MaxMemory: 4 * kib})
	for _, data := range []string{"", strings.Repeat("x", 4*kib)} { // as much as there is memory
		b, err := s.ReadAll(strings.NewReader(data), -1, buffer.Limits{})
		is.NoErr(err)
		is.Equal(rest(t, b), data)
		is.NoErr(b.Close())
	}
	b, err := s.ReadAll(strings.NewReader(""), 0, buffer.Limits{Memory: -1})
	is.NoErr(err)
	is.Equal(rest(t, b), "")
	is.NoErr(b.Close())
}

func TestBodyOverItsLimitIsTooLargeWhereverItIs(t *testing.T) {
	for _, memory := range []int64{-1, 10, 40 * kib, mib} {
		is := is.New(t)
		s := buffer.New(buffer.Options{Dir: t.TempDir()})
		l := buffer.Limits{Memory: memory, Size: 50_000}
		b, err := s.ReadAll(bytes.NewReader(make([]byte, 50_000)), -1, l)
		is.NoErr(err) // as much as it may
		is.NoErr(b.Close())
		_, err = s.ReadAll(bytes.NewReader(make([]byte, 50_001)), -1, l)
		is.Equal(err, buffer.ErrTooLarge)
		is.Equal(inUse(s), use{})
	}
}

func TestLimitIsNoticedWithTheReadThatPassesIt(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{})
	r := io.MultiReader(strings.NewReader("12345"), strings.NewReader("6"), iotest.ErrReader(errors.New("read too far")))
	_, err := s.ReadAll(r, -1, buffer.Limits{Size: 5})
	is.Equal(err, buffer.ErrTooLarge)
}

func TestBodyThatIsSaidToBeTooLargeIsNotRead(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{})
	_, err := s.ReadAll(iotest.ErrReader(errors.New("read")), 6, buffer.Limits{Size: 5})
	is.Equal(err, buffer.ErrTooLarge)
}

func TestErrorOfTheClientIsReturnedAsItIs(t *testing.T) {
	for _, memory := range []int64{-1, 3, 1000} {
		is := is.New(t)
		s := buffer.New(buffer.Options{Dir: t.TempDir()})
		gone := errors.New("the client is gone")
		_, err := s.ReadAll(io.MultiReader(strings.NewReader("hello"), iotest.ErrReader(gone)), 10, buffer.Limits{Memory: memory})
		is.Equal(err, gone)
		is.Equal(inUse(s), use{})
	}
}

func TestSpoolLimitIsForAllBodies(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{Dir: t.TempDir(), MaxSpool: 1000})
	l := buffer.Limits{Memory: -1}
	first, err := s.ReadAll(bytes.NewReader(make([]byte, 600)), -1, l)
	is.NoErr(err)
	_, err = s.ReadAll(bytes.NewReader(make([]byte, 401)), -1, l)
	is.True(errors.Is(err, buffer.ErrSpool))
	is.Equal(err.Error(), "the body cannot be spooled: it would pass the limit of 1000 bytes for all bodies: want a higher one, or fewer bodies at a time")
	is.Equal(inUse(s), use{0, 600}) // the refused one has nothing
	second, err := s.ReadAll(bytes.NewReader(make([]byte, 400)), -1, l)
	is.NoErr(err)
	is.NoErr(first.Close())
	is.NoErr(second.Close())
	is.Equal(inUse(s), use{})
}

func TestNegativeLimitsOfAStoreAreNone(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{Dir: t.TempDir(), MaxMemory: -1, MaxSpool: -1})
	b, err := s.ReadAll(strings.NewReader("hello"), -1, buffer.Limits{Memory: 3})
	is.NoErr(err)
	is.Equal(inUse(s), use{4 * kib, 2})
	is.NoErr(b.Close())
}

func TestFolderThatCannotBeUsedIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := nowhere(t)
	want := ": want a folder that uid " + strconv.Itoa(os.Geteuid()) + " may write"
	tests := []struct{ dir, want string }{
		{missing, "the body cannot be spooled: no file can be made in " + missing + ": no such file or directory" + want},
		{file, "the body cannot be spooled: no file can be made in " + file + ": not a directory" + want},
	}
	for _, tt := range tests {
		is := is.New(t)
		s := buffer.New(buffer.Options{Dir: tt.dir})
		_, err := s.ReadAll(strings.NewReader("hello"), 5, buffer.Limits{Memory: 3})
		is.True(errors.Is(err, buffer.ErrSpool))
		is.Equal(err.Error(), tt.want)
		is.Equal(inUse(s), use{}) // all is given back
	}
}

func TestSpoolFilesHaveNoName(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	s := buffer.New(buffer.Options{Dir: dir})
	b, err := s.ReadAll(strings.NewReader("hello"), 5, buffer.Limits{Memory: -1})
	is.NoErr(err)
	entries, err := os.ReadDir(dir)
	is.NoErr(err)
	is.Equal(len(entries), 0)
	is.Equal(rest(t, b), "hello")
	is.NoErr(b.Close())
}

func TestWithoutAFolderItIsTheSystems(t *testing.T) {
	is := is.New(t)
	t.Setenv("TMPDIR", nowhere(t))
	s := buffer.New(buffer.Options{})
	_, err := s.ReadAll(strings.NewReader("hello"), 5, buffer.Limits{Memory: -1})
	is.True(errors.Is(err, os.ErrNotExist))
	is.True(strings.Contains(err.Error(), os.TempDir()))
}

// Many bodies at once never take more than there is, some fail for it, each has
// its own bytes, and in the end nothing is taken.
func TestBodiesShareTheLimitsOfTheirStore(t *testing.T) {
	is := is.New(t)
	o := buffer.Options{Dir: t.TempDir(), MaxMemory: 100 * kib, MaxSpool: 200 * kib}
	s := buffer.New(o)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				data := random(rand.IntN(80 * kib))
				b, err := s.ReadAll(bytes.NewReader(data), -1, buffer.Limits{Memory: 50 * kib})
				if u := inUse(s); u.memory > o.MaxMemory || u.spool > o.MaxSpool {
					t.Errorf("%+v in use", u)
				}
				if err != nil {
					if !errors.Is(err, buffer.ErrSpool) {
						t.Error(err)
					}
					continue
				}
				if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, data) {
					t.Errorf("read %d bytes of %d, or others: %v", len(got), len(data), err)
				}
				b.Close()
			}
		})
	}
	wg.Wait()
	is.Equal(inUse(s), use{})
}

// A use is what InUse returns.
type use struct{ memory, spool int64 }

func inUse(s *buffer.Store) use {
	memory, spool := s.InUse()
	return use{memory, spool}
}

// nowhere returns the name of a folder that is not there.
func nowhere(t *testing.T) string { return filepath.Join(t.TempDir(), "nowhere") }

func random(n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(rand.Uint32())}).Read(data)
	return data
}

// rest returns what b has from where it stands.
func rest(t *testing.T, b io.Reader) string {
	t.Helper()
	data, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func BenchmarkReadAll(b *testing.B) {
	for name, size := range map[string]int{"1KiB": kib, "100KiB": 100 * kib, "2MiB": 2 * mib} {
		b.Run(name, func(b *testing.B) {
			s := buffer.New(buffer.Options{Dir: b.TempDir()})
			data := make([]byte, size)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				body, err := s.ReadAll(bytes.NewReader(data), int64(size), buffer.Limits{})
				if err != nil {
					b.Fatal(err)
				}
				body.Close()
			}
		})
	}
}
