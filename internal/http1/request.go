package http1

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
)

// A requestSlot is where the requests of a connection are made, one after another,
// of the same objects.
type requestSlot struct {
	blank   http.Request // what all of them have
	request http.Request
	url     url.URL
	header  http.Header
	values  []string // those of header: it has a part of this for each name
	codings [1]string
}

// maxKeptFields is how many fields a header may have to be used again.
const maxKeptFields = 64

// setContext sets the context of the requests.
func (s *requestSlot) setContext(ctx context.Context) {
	all := http.Request{URL: &s.url, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody}
	s.blank = *all.WithContext(ctx)
}

// setPeer sets who sends the requests.
func (s *requestSlot) setPeer(remote string, secured *tls.ConnectionState) {
	s.blank.RemoteAddr, s.blank.TLS = remote, secured
}

// fill makes the request of h.
func (s *requestSlot) fill(h *head) *http.Request {
	r := &s.request
	*r = s.blank
	s.fillHeader(h)
	s.url = h.url
	r.Method = h.method
	if h.minor == 0 {
		r.Proto, r.ProtoMinor = "HTTP/1.0", 0
	}
	r.Header = s.header
	r.Host = h.authority()
	r.RequestURI = h.target
	r.Close = h.closes()
	r.ContentLength = max(h.length, 0)
	if h.coded {
		r.ContentLength = -1
		s.codings[0] = "chunked"
		r.TransferEncoding = s.codings[:]
		if h.hasTrailers {
			r.Trailer = h.announced()
		}
	}
	return r
}

// fillHeader fills the header. Host is not in it, nor are the fields that say how
// the body was sent, as it is with net/http.
func (s *requestSlot) fillHeader(h *head) {
	if s.header == nil || len(s.header) > maxKeptFields {
		s.header = make(http.Header, len(h.fields))
	}
	if len(s.header) > 0 {
		clear(s.header)
	}
	if cap(s.values) < len(h.fields) {
		s.values = make([]string, 0, len(h.fields))
	}
	values := s.values[:0]
	for i := range h.fields {
		f := &h.fields[i]
		if f.isApart(h) {
			continue
		}
		n := len(values)
		values = append(values, f.value)
		s.header[f.name] = values[n : n+1 : n+1]
		if len(s.header) == n { // there was one of that name
			s.refillHeader(h)
			return
		}
	}
}

// refillHeader fills the header where fields come more than once.
func (s *requestSlot) refillHeader(h *head) {
	clear(s.header)
	values := s.values[:0]
	for i := range h.fields {
		f := &h.fields[i]
		if f.isApart(h) {
			continue
		}
		if before, again := s.header[f.name]; again {
			s.header[f.name] = append(before, f.value)
			continue
		}
		n := len(values)
		values = append(values, f.value)
		s.header[f.name] = values[n : n+1 : n+1]
	}
}

// isApart reports whether f, a field of h, is not in the header.
func (f *fieldLine) isApart(h *head) bool {
	return f.name == "Host" || h.coded && (f.name == "Transfer-Encoding" || f.name == "Trailer")
}

// hasBody reports whether there is a body, which may be empty if its length is not
// known.
func (h *head) hasBody() bool { return h.coded || h.length > 0 }

// closes reports whether the client wants the connection to be closed behind the
// response (RFC 9112, section 9.3).
func (h *head) closes() bool { return h.close || h.minor == 0 && !h.keepAlive }

// announced returns the names of the trailer fields that are announced, without
// values.
func (h *head) announced() http.Header {
	trailer := make(http.Header)
	for i := range h.fields {
		if h.fields[i].name == "Trailer" {
			addNames(trailer, h.fields[i].value)
		}
	}
	if len(trailer) == 0 {
		return nil
	}
	return trailer
}
