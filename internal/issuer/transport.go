package issuer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// responseTimeout is how long one answer of the authority may take.
	responseTimeout = 30 * time.Second

	// maxResponse is how many bytes an answer may have; a chain of certificates has a
	// few KiB.
	maxResponse = 1 << 20

	// maxPoll is the longest pause between two polls of an order or a challenge.
	// Nothing ends such a pause early.
	maxPoll = 5 * time.Second
)

// A transport sends requests to the authority until it is closed. It records errors,
// for those of autocert often do not say the reason.
type transport struct {
	base http.RoundTripper

	mu         sync.Mutex // guards what follows
	closed     bool
	cancels    map[*context.CancelFunc]struct{} // called by close
	rejections map[string]string                // why the authority could not verify a name, by name
	lastErr    error                            // the last other error, for any name; nil: none since forgetErrors
}

func newTransport(base http.RoundTripper) *transport {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{
		base:       base,
		cancels:    make(map[*context.CancelFunc]struct{}),
		rejections: make(map[string]string),
	}
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
	resp, body, err := t.exchange(r.WithContext(ctx))
	if err != nil {
		t.recordError(err)
		return nil, err
	}
	if resp.StatusCode >= 400 {
		t.recordError(fmt.Errorf("%s answered %s: %s", r.URL.Host, resp.Status, detail(body)))
	}
	t.recordRejection(body)
	if resp.StatusCode < 300 {
		capRetryAfter(resp.Header)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

func (t *transport) exchange(r *http.Request) (*http.Response, []byte, error) {
	resp, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	switch {
	case err != nil:
		return nil, nil, err
	case len(body) > maxResponse:
		return nil, nil, fmt.Errorf("the answer of %s has more than %d bytes", r.URL.Host, maxResponse)
	}
	return resp, body, nil
}

// capRetryAfter limits the Retry-After of an answer to maxPoll, for Close waits for that
// pause.
func capRetryAfter(h http.Header) {
	const most = int(maxPoll / time.Second)
	if seconds, err := strconv.Atoi(h.Get("Retry-After")); h.Get("Retry-After") != "" && (err != nil || seconds > most) {
		h.Set("Retry-After", strconv.Itoa(most))
	}
}

// A problem is a problem document (RFC 7807).
type problem struct {
	Detail string `json:"detail"`
}

// detail returns the detail of a problem document, or the beginning of body if it is
// none.
func detail(body []byte) string {
	var p problem
	if json.Unmarshal(body, &p) == nil && p.Detail != "" {
		return p.Detail
	}
	return strings.ToValidUTF8(strings.TrimSpace(string(body[:min(len(body), 200)])), "\uFFFD")
}

// recordRejection records why the authority could not verify a name, if body is an invalid
// authorization (RFC 8555, section 7.1.4).
func (t *transport) recordRejection(body []byte) {
	var authorization struct {
		Status     string
		Identifier struct{ Value string }
		Challenges []struct {
			Type  string
			Error *problem
		}
	}
	if json.Unmarshal(body, &authorization) != nil || authorization.Status != "invalid" {
		return
	}
	name := authorization.Identifier.Value
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range authorization.Challenges {
		if c.Error == nil || name == "" {
			continue
		}
		cause := c.Type + ": " + c.Error.Detail
		if before := t.rejections[name]; before != "" && before != cause {
			cause = before + "; " + cause
		}
		t.rejections[name] = cause
	}
}

func (t *transport) recordError(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastErr = err
}

// forgetErrors forgets the errors of earlier attempts for name, before a new one.
func (t *transport) forgetErrors(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.rejections, name)
	t.lastErr = nil
}

// explain returns why an attempt or renewal for name has failed. err is autocert's
// error; nil: unknown.
func (t *transport) explain(name string, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if cause := t.rejections[name]; cause != "" {
		return fmt.Errorf("the authority could not verify it: %s", cause)
	}
	if err == nil {
		return t.lastErr
	}
	return err
}

// backoff returns how long the acme package waits before it sends a request again that
// was answered with an error; 0: it does not send it again. Only short waits are done
// there, for they cannot be ended; obtain does the long ones.
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
