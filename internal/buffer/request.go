package buffer

import (
	"io"
	"maps"
	"net/http"
)

// LimitRequest returns a copy of r whose Body is that of r behind [Limit]. The
// Trailer of the copy is that of r once its Body has been read to the end.
func LimitRequest(r *http.Request, size int64) *http.Request {
	limited := *r
	limited.Body = Limit(trailerBody{r.Body, r, &limited}, size)
	return &limited
}

// A trailerBody is the body of a request of which there is a copy. A server puts
// the trailers that were not announced into the request that it has made.
type trailerBody struct {
	io.ReadCloser
	original, copy *http.Request
}

func (b trailerBody) Read(p []byte) (n int, err error) {
	n, err = b.ReadCloser.Read(p)
	if err == io.EOF {
		b.copy.Trailer = b.original.Trailer
	}
	return n, err
}

// ReadRequest reads the body of r from body, which may be another reader of the
// same, and returns a copy of r that has all of it. The caller closes the Body.
// Errors are those of [Store.ReadAll].
func (s *Store) ReadRequest(r *http.Request, body io.Reader, l Limits) (*http.Request, *Body, error) {
	b, err := s.ReadAll(body, r.ContentLength, l)
	if err != nil {
		return nil, nil, err
	}
	whole := *r
	whole.Body, whole.ContentLength, whole.TransferEncoding = b, b.Len(), nil
	if len(r.Trailer) > 0 && r.ContentLength < 0 {
		whole.ContentLength = -1 // only a chunked body has a trailer section (RFC 9112, section 7.1.2)
	}
	whole.Header = maps.Clone(r.Header)
	delete(whole.Header, "Expect") // nobody has to be told to send the body
	return &whole, b, nil
}
