package forward_test

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/forward"
)

// A timed writer counts the deadlines that it is given.
type timed struct {
	nowhere
	reads, writes int
}

func (w *timed) SetReadDeadline(time.Time) error {
	w.reads++
	return nil
}

func (w *timed) SetWriteDeadline(time.Time) error {
	w.writes++
	return nil
}

// pieces writes n of them, 100 ms after each other.
func pieces(out *io.PipeWriter, n int) {
	for range n {
		time.Sleep(100 * time.Millisecond)
		io.WriteString(out, "x")
	}
	out.Close()
}

// Each costs as much as a small read.
func TestDeadlineIsNotSetForEachPiece(t *testing.T) {
	for _, tt := range []struct{ n, want int }{
		{9, 1},  // all within a second
		{15, 2}, // of which the first is spent then
	} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			res, out := piped(response(200, ""))
			go pieces(out, tt.n)
			w := &timed{nowhere: nowhere{make(http.Header)}}
			_, err := forward.Forward(w, read(t, "GET", "/"), answering(func() *http.Response { return res }), &forward.Options{})
			is.NoErr(err)
			is.Equal(w.writes, tt.want) // of an answer
		})
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			r := read(t, "POST", "/")
			in, out := io.Pipe()
			r.Body, r.ContentLength = in, -1
			go pieces(out, tt.n)
			w := &timed{nowhere: nowhere{make(http.Header)}}
			_, err := forward.Forward(w, r, func(r *http.Request, _ string, _ field.View, _ func(int, http.Header)) (*http.Response, error) {
				_, err := io.Copy(io.Discard, r.Body)
				return response(204, ""), err
			}, &forward.Options{})
			is.NoErr(err)
			is.Equal(w.reads, tt.want+1) // of a request, and none any more behind its end
		})
	}
}
