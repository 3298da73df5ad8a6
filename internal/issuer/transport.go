package issuer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// responseTimeout is how long one answer of the authority may take.
	responseTimeout = 30 * time.Second

	// maxResponse is how many bytes an answer may have; a chain of certificates has a
	// few KiB.
	maxResponse = 1 << 20
)

// A transport sends requests to the authority until it is closed.
type transport struct {
	base http.RoundTripper

	mu      sync.Mutex // guards what follows
	closed  bool
	cancels map[*context.CancelFunc]struct{} // called by close
}

func newTransport(base http.RoundTripper) *transport {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{base: base, cancels: make(map[*context.CancelFunc]struct{})}
}

// onClose makes close call cancel, unless forget is called before. It reports false if
// t is closed already.
func (t *transport) onClose(cancel context.CancelFunc) (forget func(), open bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, false
	}
	key := &cancel
	t.cancels[key] = struct{}{}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.cancels, key)
	}, true
}

// close cancels the running requests, and makes later ones fail.
func (t *transport) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for cancel := range t.cancels {
		(*cancel)()
	}
	if idle, ok := t.base.(interface{ CloseIdleConnections() }); ok && t.base != http.DefaultTransport {
		idle.CloseIdleConnections()
	}
}

// RoundTrip returns when the whole answer has arrived.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), responseTimeout)
	defer cancel()
	forget, open := t.onClose(cancel)
	if !open {
		return nil, ErrClosed
	}
	defer forget()
	resp, err := t.base.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > maxResponse:
		return nil, fmt.Errorf("the answer of %s has more than %d bytes", r.URL.Host, maxResponse)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// backoff returns how long the acme package waits before it sends a request again that
// was answered with an error; 0: it does not send it again. Only short waits are done
// there, for the name is seen to be tried meanwhile; keep does the long ones.
func (t *transport) backoff(n int, _ *http.Request, resp *http.Response) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed || resp.StatusCode == http.StatusTooManyRequests:
		return 0
	case resp.StatusCode < 500 && n <= 5: // an expired nonce
		return 10 * time.Millisecond
	case n <= 2:
		return time.Duration(n) * time.Second
	}
	return 0
}
