package buffer

import (
	"io"
	"net/http"
	"strings"

	"github.com/shahnk19/parachute/internal/field"
)

// BufferResponse limits the body of res, the answer to a request with method, to l.Size.
// If ahead is true, it also reads the body with ReadAhead, and returns the full and err
// of that. ReadAhead is used because the app has done its work already: it is better to
// wait for the client than to answer with an error. After an error res.Body is
// unchanged.
//
// An event stream has no limit. It is not read ahead, nor is a body of unknown length,
// which the client may want piece by piece, an answer to a gRPC call, or one with
// X-Accel-Buffering: no.
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
