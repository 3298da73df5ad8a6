package buffer

import (
	"io"
	"net/http"
	"strings"

	"github.com/shahnk19/parachute/internal/field"
)

// BufferResponse has the body of res, the answer to a request with that method, keep
// to l.Size; and if ahead is true it reads the body as ReadAhead does, whose full
// and errors are its own: the app has done its work, and a client that may have
// to be waited for is better than one that gets nothing. After an error res.Body
// is as it was.
//
// An event stream has no limit. It is not read ahead either, nor is a body of
// unknown length, which somebody may wait for piece by piece, an answer to a gRPC
// call, or one that says X-Accel-Buffering: no.
func (s *Store) BufferResponse(res *http.Response, method string, ahead bool, l Limits) (full, err error) {
	switch {
	case field.IsEventStream(res.Header) || method == http.MethodHead:
	case l.Size > 0 && res.ContentLength > l.Size:
		return nil, ErrTooLarge
	case l.Size > 0 && res.ContentLength < 0:
		res.Body = Limit(res.Body, l.Size)
	case ahead && res.ContentLength > 0 && !field.IsGRPC(res.Header) && !strings.EqualFold(res.Header.Get("X-Accel-Buffering"), "no"):
		var body io.ReadCloser
		if body, full, err = s.ReadAhead(res.Body, res.ContentLength, l); err == nil {
			res.Body = body
		}
	}
	return full, err
}
