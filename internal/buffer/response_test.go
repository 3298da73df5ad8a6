package buffer_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/buffer"
)

// response returns an answer of five bytes, and the source that they come from.
func response(length int64, header ...string) (*http.Response, *source) {
	src := &source{Reader: strings.NewReader("hello")}
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{ContentLength: length, Header: h, Body: src}, src
}

func TestResponseIsReadAheadIfNobodyWaitsForItPieceByPiece(t *testing.T) {
	for name, tt := range map[string]struct {
		method string
		length int64
		header []string
		asIs   bool
	}{
		"known length":    {method: "GET", length: 5},
		"HTML":            {method: "POST", length: 5, header: []string{"Content-Type", "text/html"}},
		"accel buffering": {method: "GET", length: 5, header: []string{"X-Accel-Buffering", "yes"}},
		"unknown length":  {method: "GET", length: -1, asIs: true},
		"no body":         {method: "GET", length: 0, asIs: true},
		"HEAD":            {method: "HEAD", length: 5, asIs: true},
		"event stream":    {method: "GET", length: 5, header: []string{"Content-Type", "text/event-stream"}, asIs: true},
		"gRPC":            {method: "POST", length: 5, header: []string{"Content-Type", "application/grpc"}, asIs: true},
		"opted out":       {method: "GET", length: 5, header: []string{"X-Accel-Buffering", "No"}, asIs: true},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			s := buffer.New(buffer.Options{Dir: t.TempDir()})
			res, src := response(tt.length, tt.header...)
			full, err := s.BufferResponse(res, tt.method, true, buffer.Limits{Size: 5})
			is.NoErr(err)
			is.NoErr(full)
			is.Equal(src.closed, !tt.asIs) // who sent it is free
			is.Equal(rest(t, res.Body), "hello")
			res.Body.Close()

			res, src = response(tt.length, tt.header...)
			full, err = s.BufferResponse(res, tt.method, false, buffer.Limits{})
			is.NoErr(err)
			is.NoErr(full)
			is.True(res.Body == io.ReadCloser(src)) // nobody has asked for it
		})
	}
}

func TestResponseKeepsToItsLimitUnlessItIsAStream(t *testing.T) {
	for name, tt := range map[string]struct {
		method string
		length int64
		header []string
		size   int64
		err    error  // at once
		read   string // "": all of it
	}{
		"as large as may be":         {method: "GET", length: 5, size: 5},
		"too large":                  {method: "GET", length: 5, size: 4, err: buffer.ErrTooLarge},
		"too large, as it turns out": {method: "GET", length: -1, size: 4, read: "hell"},
		"unknown, but not too large": {method: "GET", length: -1, size: 5},
		"no limit":                   {method: "GET", length: -1},
		"HEAD":                       {method: "HEAD", length: 5, size: 4},
		"event stream":               {method: "GET", length: -1, header: []string{"Content-Type", "text/event-stream"}, size: 4},
	} {
		for _, ahead := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				is := is.New(t)
				s := buffer.New(buffer.Options{Dir: t.TempDir()})
				res, src := response(tt.length, tt.header...)
				_, err := s.BufferResponse(res, tt.method, ahead, buffer.Limits{Size: tt.size})
				is.Equal(err, tt.err)
				if err != nil {
					is.True(res.Body == io.ReadCloser(src))
					is.True(!src.closed) // which is for the caller
					return
				}
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				if tt.read != "" {
					is.Equal(err, buffer.ErrTooLarge)
					is.Equal(string(got), tt.read)
					return
				}
				is.NoErr(err)
				is.Equal(string(got), "hello")
			})
		}
	}
}

func TestResponseWithoutRoomTellsWhyItIsNotBuffered(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{Dir: t.TempDir(), MaxMemory: 1, MaxSpool: 1})
	res, _ := response(5)
	full, err := s.BufferResponse(res, "GET", true, buffer.Limits{})
	is.NoErr(err)
	is.True(errors.Is(full, buffer.ErrSpool))
	is.Equal(rest(t, res.Body), "hello") // all the same
	res.Body.Close()
	is.Equal(inUse(s), use{})
}

func TestResponseThatBreaksOffIsAnError(t *testing.T) {
	is := is.New(t)
	s := buffer.New(buffer.Options{Dir: t.TempDir()})
	res, src := response(5)
	broken := errors.New("connection reset")
	src.Reader = io.MultiReader(strings.NewReader("he"), iotest.ErrReader(broken))
	full, err := s.BufferResponse(res, "GET", true, buffer.Limits{})
	is.NoErr(full)
	is.True(errors.Is(err, broken))
	is.True(res.Body == io.ReadCloser(src))
}
