package buffer_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/buffer"
)

func TestLimitedReaderGivesAllUpToTheLimit(t *testing.T) {
	wraps := map[string]func(io.Reader) io.Reader{
		"whole":        func(r io.Reader) io.Reader { return r },
		"byte by byte": iotest.OneByteReader,
		"error early":  iotest.DataErrReader, // io.EOF comes with the last bytes
	}
	tests := []struct {
		limit int64
		want  string
		err   error
	}{
		{-1, "hello", nil},
		{0, "hello", nil},
		{1, "h", buffer.ErrTooLarge},
		{4, "hell", buffer.ErrTooLarge},
		{5, "hello", nil},
		{6, "hello", nil},
	}
	for name, wrap := range wraps {
		for _, tt := range tests {
			t.Run(name, func(t *testing.T) {
				is := is.New(t)
				r := buffer.Limit(io.NopCloser(wrap(strings.NewReader("hello"))), tt.limit)
				got, err := io.ReadAll(r)
				is.Equal(string(got), tt.want)
				is.Equal(err, tt.err)
				again, err := r.Read(make([]byte, 9))
				is.Equal(again, 0)
				is.True(err != nil) // it stays at its end
			})
		}
	}
}

func TestLimitedReaderPassesErrorsAndClose(t *testing.T) {
	is := is.New(t)
	gone, closed := errors.New("gone"), errors.New("closed")
	r := buffer.Limit(&failing{iotest.ErrReader(gone), closed}, 5)
	n, err := r.Read(nil)
	is.Equal(n, 0)
	is.NoErr(err)
	_, err = r.Read(make([]byte, 1))
	is.Equal(err, gone)
	is.Equal(r.Close(), closed)
}

type failing struct {
	io.Reader
	err error
}

func (f *failing) Close() error { return f.err }

func FuzzLimit(f *testing.F) {
	f.Add([]byte("hello"), int64(3), uint8(2))
	f.Add([]byte("hello"), int64(5), uint8(9))
	f.Fuzz(func(t *testing.T, data []byte, limit int64, chunk uint8) {
		is := is.New(t)
		var got bytes.Buffer
		r := buffer.Limit(io.NopCloser(bytes.NewReader(data)), limit)
		_, err := io.CopyBuffer(struct{ io.Writer }{&got}, struct{ io.Reader }{r}, make([]byte, int(chunk)+1))
		if limit > 0 && int64(len(data)) > limit {
			is.Equal(err, buffer.ErrTooLarge)
			data = data[:limit]
		} else {
			is.NoErr(err)
		}
		is.True(bytes.Equal(got.Bytes(), data))
	})
}
