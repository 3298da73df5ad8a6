package buffer_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/buffer"
)

// lateTrailer fills in a trailer of r at its end, as a server does.
type lateTrailer struct {
	io.Reader
	r *http.Request
}

func (b lateTrailer) Close() error { return nil }

func (b lateTrailer) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.r.Trailer = http.Header{"Sum": {"1"}}
	}
	return n, err
}

func chunkedRequest(content string) *http.Request {
	r := httptest.NewRequest("POST", "/", nil)
	r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
	r.Header = http.Header{"Expect": {"100-continue"}, "Accept": {"*/*"}}
	r.Body = lateTrailer{strings.NewReader(content), r}
	return r
}

func TestLimitedRequestGetsTheTrailersThatCameBehindItsBody(t *testing.T) {
	is := is.New(t)
	r := chunkedRequest("hello")
	limited := buffer.LimitRequest(r, 5)
	content, err := io.ReadAll(limited.Body)
	is.NoErr(err)
	is.Equal(string(content), "hello")
	is.Equal(limited.Trailer, http.Header{"Sum": {"1"}})
	_, err = io.ReadAll(buffer.LimitRequest(chunkedRequest("hello!"), 5).Body)
	is.Equal(err, buffer.ErrTooLarge)
}

func TestReadRequestHasTheWholeBodyAndItsLength(t *testing.T) {
	is := is.New(t)
	r := httptest.NewRequest("POST", "/", strings.NewReader("hello"))
	r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
	r.Header = http.Header{"Expect": {"100-continue"}, "Accept": {"*/*"}}
	whole, body, err := buffer.New(buffer.Options{}).ReadRequest(r, r.Body, buffer.Limits{})
	is.NoErr(err)
	defer body.Close()
	is.Equal(whole.ContentLength, int64(5))
	is.Equal(len(whole.TransferEncoding), 0)
	is.Equal(whole.Header, http.Header{"Accept": {"*/*"}})
	is.Equal(r.Header.Get("Expect"), "100-continue") // the client's request is as it was
	content, err := io.ReadAll(whole.Body)
	is.NoErr(err)
	is.Equal(string(content), "hello")
}

func TestReadRequestStaysChunkedWhereThereAreTrailers(t *testing.T) {
	is := is.New(t)
	store := buffer.New(buffer.Options{})
	r := chunkedRequest("hello")
	whole, body, err := store.ReadRequest(r, r.Body, buffer.Limits{})
	is.NoErr(err)
	defer body.Close()
	is.Equal(whole.ContentLength, int64(-1))
	is.Equal(whole.Trailer, http.Header{"Sum": {"1"}})

	_, _, err = store.ReadRequest(chunkedRequest("hello"), strings.NewReader("hello"), buffer.Limits{Size: 4})
	is.Equal(err, buffer.ErrTooLarge)
	memory, spool := store.InUse()
	is.Equal([]int64{memory, spool}, []int64{4096, 0}) // what body has
}
