package server

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// closingBody knows whether it was closed.
type closingBody struct {
	io.Reader
	closed bool
}

func (b *closingBody) Close() error {
	b.closed = true
	return nil
}

// The server of HTTP/2 lets go of what is unread when the body is closed, and not
// when its request or its connection ends.
func TestUnreadBodyIsClosedWhenItsRequestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		ordered bool // HTTP/2
		end     func()
		closed  bool
	}{
		"HTTP/2":             {true, func() {}, true},
		"HTTP/2, broken off": {true, func() { panic(http.ErrAbortHandler) }, true},
		"HTTP/3":             {false, func() {}, false}, // closed by its server, as one that was not wanted
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			u := newUploadLimiter(1<<20, slog.New(slog.DiscardHandler))
			body := &closingBody{Reader: strings.NewReader("body")}
			conn := &uploadConn{limiter: u, window: connWindow, ordered: c.ordered}
			r := httptest.NewRequest("POST", "/", nil)
			r.Body, r.ContentLength, r.ProtoMajor = body, -1, 2
			r = r.WithContext(context.WithValue(t.Context(), uploadConnKey{}, conn))
			func() {
				defer func() { recover() }()
				u.countBodies(func(_ http.ResponseWriter, r *http.Request) {
					is.NoErr(readOne(r.Body))
					is.Equal(u.total.Load(), int64(streamWindow))
					is.True(!body.closed) // it may be read still
					c.end()
				})(httptest.NewRecorder(), r)
			}()
			is.Equal(body.closed, c.closed)
			is.Equal(u.total.Load(), int64(0))
		})
	}
}

func readOne(r io.Reader) error {
	_, err := r.Read(make([]byte, 1))
	return err
}
