package buffer_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/buffer"
)

func TestBodyIsReadAsAnyReaderIs(t *testing.T) {
	data := random(40_000)
	for _, memory := range []int64{-1, 4 * kib, 38_000, mib} {
		for _, size := range []int64{-1, int64(len(data))} {
			s := buffer.New(buffer.Options{Dir: t.TempDir()})
			b, err := s.ReadAll(bytes.NewReader(data), size, buffer.Limits{Memory: memory})
			if err != nil {
				t.Fatal(err)
			}
			if err := iotest.TestReader(b, data); err != nil { // Read and Seek
				t.Errorf("memory %d, size %d: %v", memory, size, err)
			}
			b.Close()
		}
	}
}

func TestBodyCanBeSentAgain(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{Dir: t.TempDir()})
	b, err := s.ReadAll(strings.NewReader("hello world"), -1, buffer.Limits{Memory: 5})
	is.NoErr(err)
	defer b.Close()
	for range 3 {
		is.Equal(rest(t, b), "hello world")
		_, err = b.Seek(0, io.SeekStart)
		is.NoErr(err)
	}
}

func TestWrittenBodyIsReadBack(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{Dir: t.TempDir()})
	b := s.NewBody(buffer.Limits{Memory: 10})
	is.Equal(rest(t, b), "")
	for _, word := range []string{"more ", "than ", "", "ten ", "bytes"} {
		n, err := b.Write([]byte(word))
		is.NoErr(err)
		is.Equal(n, len(word))
	}
	n, err := b.ReadFrom(strings.NewReader(", and more"))
	is.NoErr(err)
	is.Equal(n, int64(10))
	is.Equal(b.Len(), int64(29))
	is.Equal(rest(t, b), "more than ten bytes, and more")
	is.Equal(inUse(s), use{4 * kib, 19})
	is.NoErr(b.Close())
	is.Equal(inUse(s), use{})
}

func TestWriteThatIsTooMuchEndsTheBody(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{Dir: t.TempDir()})
	b := s.NewBody(buffer.Limits{Memory: 3, Size: 5})
	_, err := b.Write([]byte("12345"))
	is.NoErr(err)
	n, err := b.Write([]byte("6"))
	is.Equal(n, 0)
	is.Equal(err, buffer.ErrTooLarge)
	is.Equal(inUse(s), use{}) // it is given back at once
	_, err = b.Write(nil)
	is.Equal(err, buffer.ErrTooLarge)
	_, err = b.ReadFrom(strings.NewReader(""))
	is.Equal(err, buffer.ErrTooLarge)
	_, err = b.Read(make([]byte, 1))
	is.Equal(err, buffer.ErrTooLarge)
	_, err = b.Seek(0, io.SeekStart)
	is.Equal(err, buffer.ErrTooLarge)
	is.NoErr(b.Close())
	is.Equal(inUse(s), use{})
}

func TestWriteThatCannotBeSpooledEndsTheBody(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{Dir: nowhere(t)})
	b := s.NewBody(buffer.Limits{Memory: 3})
	n, err := b.Write([]byte("12345"))
	is.Equal(n, 3) // went to memory
	is.True(errors.Is(err, buffer.ErrSpool))
	is.Equal(inUse(s), use{})
	is.NoErr(b.Close())
}

func TestReadThatFailedKeepsWhatCameBefore(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{})
	b := s.NewBody(buffer.Limits{})
	defer b.Close()
	broken := errors.New("broken")
	n, err := b.ReadFrom(io.MultiReader(strings.NewReader("hello"), iotest.ErrReader(broken)))
	is.Equal(n, int64(5))
	is.Equal(err, broken)
	is.Equal(rest(t, b), "hello")
}

func TestCloseGivesBackOnce(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{Dir: t.TempDir()})
	l := buffer.Limits{Memory: 3}
	b, err := s.ReadAll(strings.NewReader("hello"), -1, l)
	is.NoErr(err)
	other, err := s.ReadAll(strings.NewReader("hello"), -1, l)
	is.NoErr(err)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { b.Close() })
	}
	wg.Wait()
	is.Equal(inUse(s), use{4 * kib, 2}) // the other's
	_, err = b.Read(make([]byte, 1))
	is.Equal(err, os.ErrClosed)
	_, err = b.Write([]byte("x"))
	is.Equal(err, os.ErrClosed)
	is.NoErr(other.Close())
	is.Equal(inUse(s), use{})
}

// Memory that is given back is another's at once, so it must not be while a
// method runs.
func TestCloseLeavesARunningMethodItsMemory(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{})
	b := s.NewBody(buffer.Limits{})
	slow := &slowReader{begun: make(chan struct{}), end: make(chan struct{})}
	result := make(chan error)
	go func() {
		_, err := b.ReadFrom(slow)
		result <- err
	}()
	<-slow.begun
	is.NoErr(b.Close())
	is.Equal(inUse(s), use{4 * kib, 0})
	close(slow.end)
	is.Equal(<-result, os.ErrClosed)
	is.Equal(inUse(s), use{})
}

// A slowReader's first Read returns when end is closed.
type slowReader struct{ begun, end chan struct{} }

func (r *slowReader) Read(p []byte) (int, error) {
	close(r.begun)
	<-r.end
	return copy(p, "late"), nil
}

func TestBodyIsClosedWhileItIsRead(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{Dir: t.TempDir()})
	for _, memory := range []int64{-1, mib} {
		for range 20 {
			data := random(40_000)
			b, err := s.ReadAll(bytes.NewReader(data), -1, buffer.Limits{Memory: memory})
			is.NoErr(err)
			var wg sync.WaitGroup
			wg.Go(func() {
				got, err := io.ReadAll(b)
				if err != nil && err != os.ErrClosed || !bytes.HasPrefix(data, got) {
					t.Errorf("read %d bytes of others: %v", len(got), err)
				}
			})
			b.Close()
			wg.Wait()
		}
	}
	is.Equal(inUse(s), use{})
}

func TestSeekRefusesPlacesThatAreNotThere(t *testing.T) {
	is := is.New(t)
	b := buffer.New(buffer.Options{}).NewBody(buffer.Limits{})
	defer b.Close()
	_, err := b.Write([]byte("hello"))
	is.NoErr(err)
	_, err = b.Seek(-1, io.SeekStart)
	is.True(err != nil)
	_, err = b.Seek(0, 3)
	is.True(err != nil)
	n, err := b.Seek(-2, io.SeekEnd)
	is.NoErr(err)
	is.Equal(n, int64(3))
	is.Equal(rest(t, b), "lo") // refused ones changed nothing
	_, err = b.Seek(10, io.SeekStart)
	is.NoErr(err)
	is.Equal(rest(t, b), "") // behind the end is the end
}

// What comes out is what went in, whatever the pieces and the limits; or it is
// refused for a limit that was passed. Nothing is left taken.
func FuzzBody(f *testing.F) {
	f.Add([]byte("hello"), uint16(1), uint16(2), uint16(3), int32(4), int32(0), int32(-1), int32(-1))
	f.Add([]byte("abc"), uint16(20_000), uint16(4096), uint16(1000), int32(5000), int32(40_000), int32(50_000), int32(0))
	f.Add([]byte("x"), uint16(4096), uint16(4097), uint16(4096), int32(-1), int32(100), int32(4096), int32(4096))
	f.Fuzz(func(t *testing.T, word []byte, repeat, in, out uint16, memory, maxMemory, maxSpool, limit int32) {
		if len(word) > 64 {
			return
		}
		is := is.New(t)
		data := bytes.Repeat(word, int(repeat))
		if limit < 0 {
			limit = 0
		}
		s := buffer.New(buffer.Options{Dir: os.TempDir(), MaxMemory: int64(maxMemory), MaxSpool: int64(maxSpool)})
		l := buffer.Limits{Memory: int64(memory), Size: int64(limit)}
		crowded := maxSpool > 0 && 3*len(data) > int(maxSpool) // for three bodies

		written := s.NewBody(l)
		_, err := io.CopyBuffer(struct{ io.Writer }{written}, struct{ io.Reader }{bytes.NewReader(data)}, make([]byte, int(in)+1))
		check(t, written, err, data, l, crowded, int(out))
		read, err := s.ReadAll(&chunked{bytes.NewReader(data), int(in) + 1}, -1, l)
		check(t, read, err, data, l, crowded, int(out))
		told, err := s.ReadAll(bytes.NewReader(data), int64(len(data)), l)
		check(t, told, err, data, l, crowded, int(out))
		for _, b := range []*buffer.Body{written, read, told} {
			if b != nil {
				is.NoErr(b.Close())
			}
		}
		is.Equal(inUse(s), use{})
	})
}

func check(t *testing.T, b *buffer.Body, err error, data []byte, l buffer.Limits, crowded bool, out int) {
	t.Helper()
	tooLarge := l.Size > 0 && int64(len(data)) > l.Size
	switch {
	case errors.Is(err, buffer.ErrSpool) && crowded:
		return // how much fits depends on the pieces
	case err == buffer.ErrTooLarge && tooLarge:
		return
	case err != nil || tooLarge:
		t.Fatalf("%d bytes with %+v: %v", len(data), l, err)
	}
	var got bytes.Buffer
	if _, err := io.CopyBuffer(struct{ io.Writer }{&got}, struct{ io.Reader }{b}, make([]byte, out+1)); err != nil {
		t.Fatal(err)
	}
	if b.Len() != int64(len(data)) || !bytes.Equal(got.Bytes(), data) {
		t.Fatalf("%d bytes came out as %d, or others", len(data), got.Len())
	}
}

// A chunked reader returns at most size bytes at a time.
type chunked struct {
	r    io.Reader
	size int
}

func (c *chunked) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.size)]) }
