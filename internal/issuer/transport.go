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
	// responseTimeout bounds one answer of the authority.
	responseTimeout = 30 * time.Second

	// maxResponse bounds its size; a chain of certificates has a few KiB.
	maxResponse = 1 << 20

	// maxPoll bounds the pause between two looks at an order or a challenge,
	// which nothing ends early.
	maxPoll = 5 * time.Second
)

// A transport carries requests to the authority until it is closed. It
// remembers what went wrong, for autocert only says that something did.
type transport struct {
	base http.RoundTripper

	mu         sync.Mutex // guards what follows
	closed     bool
	cancels    map[*context.CancelFunc]struct{} // what close has to call
	rejections map[string]string                // by name, why the authority did not accept it
	lastErr    error                            // what else went wrong last, for any name; nil: nothing since forgive
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

// onClose has close call cancel, unless forget is called before. It reports
// false if it is too late for that.
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

// close ends what runs, and makes what comes later fail.
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

// RoundTrip returns when the whole answer is there.
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

// capRetryAfter makes the pause that an answer asks for one that Close can wait for.
func capRetryAfter(h http.Header) {
	const most = int(maxPoll / time.Second)
	if seconds, err := strconv.Atoi(h.Get("Retry-After")); h.Get("Retry-After") != "" && (err != nil || seconds > most) {
		h.Set("Retry-After", strconv.Itoa(most))
	}
}

// A problem is an error as RFC 7807 has it.
type problem struct {
	Detail string `json:"detail"`
}

// detail returns what a problem document says, or the beginning of whatever
// came in its place.
func detail(body []byte) string {
	var p problem
	if json.Unmarshal(body, &p) == nil && p.Detail != "" {
		return p.Detail
	}
	return strings.ToValidUTF8(strings.TrimSpace(string(body[:min(len(body), 200)])), "\uFFFD")
}

// recordRejection notes why the authority did not accept a name, if that is what body
// tells (RFC 8555, section 7.1.4).
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

// recordError remembers what went wrong.
func (t *transport) recordError(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastErr = err
}

// forgetErrors forgets what went wrong before an attempt for name.
func (t *transport) forgetErrors(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.rejections, name)
	t.lastErr = nil
}

// explain returns why an attempt for name came to nothing, of which autocert
// says err, or nothing at all.
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

// backoff says how long the acme package waits before it sends a request again
// that was answered with an error; 0: it does not. Whatever takes longer than
// moments is for Name to wait for, which can be ended.
func (t *transport) backoff(n int, _ *http.Request, resp *http.Response) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed || resp.StatusCode == http.StatusTooManyRequests:
		return 0
	case resp.StatusCode < 500 && n <= 5: // a nonce that the authority does not know any more
		return 10 * time.Millisecond
	case n <= 2:
		return time.Duration(n) * time.Second
	}
	return 0
}
