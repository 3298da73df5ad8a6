package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	// maxQueue is how many messages wait for one receiver. If more do, the oldest are
	// dropped.
	maxQueue = 100

	// attemptTimeout is how long a receiver may take for one message.
	attemptTimeout = 10 * time.Second

	// The pauses between attempts begin with firstPause and double up to lastPause, also
	// where a receiver asks for a longer one.
	firstPause = time.Second
	lastPause  = time.Minute

	// giveUpAfter is how long a message is tried, once it is its turn.
	giveUpAfter = 10 * time.Minute

	idleTimeout = 30 * time.Second
	maxAnswer   = 64 << 10 // of an answer that is read, so that the connection can be used again
)

// A receiver is one URL, with what waits for it. One goroutine sends that.
type receiver struct {
	url    *url.URL
	host   string
	client *http.Client
	key    []byte
	agent  string
	encode func(message) ([]byte, error)
	logger *slog.Logger

	wake  chan struct{} // has an element if queue was empty
	ended chan struct{} // closed by finish

	mu            sync.Mutex // guards the fields below
	queue         []message  // the oldest first
	finished      bool
	sent, dropped uint64
}

func newReceiver(u *url.URL, client *http.Client, key []byte, agent string, c encoder, logger *slog.Logger) *receiver {
	return &receiver{
		url: u, host: hostOf(u), client: client, key: key, agent: agent, encode: c.encode, logger: logger,
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
}

// enqueue adds a message to those that wait.
func (r *receiver) enqueue(m message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == maxQueue {
		r.queue = r.queue[1:]
		r.dropped++
	}
	m.id = newID()
	r.queue = append(r.queue, m)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// next takes the oldest message that waits; ok is false if there is none.
func (r *receiver) next() (m message, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return m, false
	}
	m, r.queue = r.queue[0], r.queue[1:]
	return m, true
}

func (r *receiver) counts() (sent, dropped uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent, r.dropped
}

// finish has run end when each message that waits was tried once more.
func (r *receiver) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.finished {
		r.finished = true
		close(r.ended)
	}
}

func (r *receiver) isFinished() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.finished
}

// run sends what is enqueued until finish is called, and then what is left until ctx ends.
func (r *receiver) run(ctx context.Context) {
	s := sender{receiver: r, pause: firstPause}
	for {
		m, ok := r.next()
		if ok {
			s.send(ctx, m)
			continue
		}
		select {
		case <-r.wake:
		case <-r.ended:
			if m, ok := r.next(); ok { // came with the end
				s.send(ctx, m)
				continue
			}
			return
		}
	}
}

// A sender is the state of run.
type sender struct {
	*receiver
	pause  time.Duration // before the next attempt, if this one fails
	failed bool          // the last attempt has
}

// send posts m until it was taken, or is given up.
func (s *sender) send(ctx context.Context, m message) {
	body, err := s.encode(m)
	if err != nil {
		s.drop(m, err)
		return
	}
	for began := time.Now(); ; {
		isLast := s.isFinished()
		err := s.post(ctx, body)
		if err == nil {
			s.noteSuccess()
			return
		}
		var final *refusal
		if errors.As(err, &final) && final.isFinal() || isLast || time.Since(began) >= giveUpAfter {
			s.drop(m, err)
			return
		}
		if !s.failed {
			s.failed = true
			s.logger.Warn("a notification could not be sent, and is tried again", "host", s.host, "kind", string(m.event.Kind), "error", err)
		}
		s.wait(err)
	}
}

// wait waits for the pause after an attempt that ended with err, or until finish is called.
func (s *sender) wait(err error) {
	pause := s.pause
	s.pause = min(2*s.pause, lastPause)
	var refused *refusal
	if errors.As(err, &refused) {
		pause = min(max(pause, refused.after), lastPause)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ended:
	}
}

func (s *sender) noteSuccess() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent++
	if s.failed {
		s.logger.Info("notifications are taken again", "host", s.host, "dropped", s.dropped)
	}
	s.failed, s.pause = false, firstPause
}

func (s *sender) drop(m message, err error) {
	s.logger.Warn("a notification is dropped", "host", s.host, "kind", string(m.event.Kind), "service", m.event.Service, "error", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped++
}

// A refusal is an answer other than 2xx.
type refusal struct {
	status int
	after  time.Duration // Retry-After
}

func (e *refusal) Error() string { return fmt.Sprintf("it was answered %d", e.status) }

// isFinal reports whether the same request would be answered likewise at any time.
func (e *refusal) isFinal() bool {
	switch e.status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return e.status < 500
}

// post makes one attempt. No error of it tells the URL.
func (r *receiver) post(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeoutCause(ctx, attemptTimeout, fmt.Errorf("there was no answer within %v", attemptTimeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("its URL cannot be used")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", r.agent)
	if len(r.key) > 0 {
		mac := hmac.New(sha256.New, r.key)
		mac.Write(body)
		req.Header.Set("X-Parachute-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	resp, err := r.client.Do(req)
	if err != nil {
		var about *url.Error
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &about):
			return about.Err
		}
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return nil
	}
	return &refusal{resp.StatusCode, retryAfter(resp.Header.Get("Retry-After"))}
}

// retryAfter returns how long a server asks to wait (RFC 9110, section 10.2.3); 0: it does
// not.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 16); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}
