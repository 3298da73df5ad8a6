package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// newExchange returns one that has not begun.
func (s *soak) newExchange(kind string, on *service, again bool) *exchange {
	return &exchange{kind: kind, service: on.name, nonce: fmt.Sprintf("%s-%d", strings.ReplaceAll(kind, " ", "-"), s.nonces.Add(1)), again: again}
}

// A question is a request, and how its answer is checked.
type question struct {
	method, path string
	body         func() io.Reader // nil: none
	length       int64            // of the body; -1: it is sent in chunks
	check        func(x *exchange, resp *http.Response) error
}

// ask sends q to a service and checks the answer. What goes wrong, it enters in the
// ledger.
func (s *soak) ask(on *service, by http.RoundTripper, scheme, kind string, q question) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ctx, sent := watchSending(ctx)
	x := s.newExchange(kind, on, q.method == http.MethodGet)
	var body io.Reader
	if q.body != nil {
		body = q.body()
	}
	r, err := http.NewRequestWithContext(ctx, q.method, scheme+"://"+s.addressOf(scheme)+q.path, body)
	if err != nil {
		panic(err)
	}
	r.Host = on.host
	r.ContentLength = q.length
	r.Header.Set(nonceField, x.nonce)
	s.ledger.begun(x)
	resp, err := by.RoundTrip(r)
	if err != nil {
		x.sent = sent()
		s.ledger.failed(x, unanswered(err), err)
		return
	}
	defer resp.Body.Close()
	s.settle(on, x, resp, q.check)
}

// watchSending returns a context for a request, and what tells when that was sent.
func watchSending(ctx context.Context) (watched context.Context, sent func() time.Time) {
	var at atomic.Pointer[time.Time]
	watched = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(is httptrace.WroteRequestInfo) {
		if now := time.Now(); is.Err == nil {
			at.Store(&now)
		}
	}})
	return watched, func() time.Time {
		if t := at.Load(); t != nil {
			return *t
		}
		return time.Time{}
	}
}

// settle checks an answer whose head has come.
func (s *soak) settle(on *service, x *exchange, resp *http.Response, check func(*exchange, *http.Response) error) {
	x.first = time.Now()
	x.status, x.part = resp.StatusCode, resp.Header.Get("X-Parachute-Error")
	x.instance = resp.Header.Get(instanceField)
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 100))
		s.ledger.failed(x, refused, fmt.Errorf("%.60q", text))
		return
	}
	if err := check(x, resp); err != nil {
		s.ledger.failed(x, stageOf(err), err)
		return
	}
	if err := on.answered(x); err != nil {
		s.ledger.failed(x, checking, err)
		return
	}
	s.ledger.good(x)
}

// unanswered returns the stage of a request that ended with err, and without an answer.
func unanswered(err error) stage {
	var dial dialError
	var op *net.OpError
	if errors.As(err, &dial) || errors.As(err, &op) && op.Op == "dial" {
		return connecting
	}
	return asking
}

// A wrongError is about content that is not as it should be.
type wrongError struct{ error }

// An endedInOrder is about a stream that ended before its time in the way that clients
// are told to expect.
type endedInOrder struct{ error }

// A brokenStream is about a stream that ended in any other way.
type brokenStream struct{ error }

// stageOf returns the stage of an answer whose check ended with err.
func stageOf(err error) stage {
	switch err.(type) {
	case wrongError:
		return checking
	case endedInOrder, brokenStream:
		return streaming
	}
	return answering
}

// isReset reports whether err says that a connection was reset.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// get asks for the echo of nothing.
func get() question {
	return question{method: http.MethodGet, path: "/echo", check: checkEcho(sha256.New().Sum(nil), 0)}
}

// post sends a body of n bytes, which begins at once, in pieces with pauses in between.
func post(seed string, n int64, chunked bool, pauses int, pause time.Duration) question {
	sum := sha256.New()
	io.Copy(sum, content(seed, n))
	q := question{method: http.MethodPost, path: "/echo", length: n, check: checkEcho(sum.Sum(nil), n)}
	if chunked {
		q.length = -1
	}
	q.body = func() io.Reader {
		if pauses == 0 {
			return io.NopCloser(content(seed, n))
		}
		return &slowReader{in: content(seed, n), part: n/int64(pauses+1) + 1, pause: pause}
	}
	return q
}

// A slowReader pauses between parts of what it reads.
type slowReader struct {
	in    io.Reader
	part  int64
	pause time.Duration
	read  int64 // of this part
}

func (r *slowReader) Read(p []byte) (int, error) {
	if r.read >= r.part {
		time.Sleep(r.pause)
		r.read = 0
	}
	n, err := r.in.Read(p[:min(int64(len(p)), r.part-r.read)])
	r.read += int64(n)
	return n, err
}

// checkEcho returns a check that the target had exactly that body.
func checkEcho(sum []byte, n int64) func(*exchange, *http.Response) error {
	return func(x *exchange, resp *http.Response) error {
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if want := echoed(x.nonce, x.instance, sum, n); string(body) != want {
			return wrongError{fmt.Errorf("answered %q, and not %q", body, want)}
		}
		return nil
	}
}

// download asks for n bytes, which come in eight parts with pauses in between.
func download(n int64, chunked bool, pause time.Duration) question {
	path := fmt.Sprintf("/bytes?n=%d&pause=%v", n, pause)
	if chunked {
		path += "&chunked"
	}
	return question{method: http.MethodGet, path: path, check: func(x *exchange, resp *http.Response) error {
		got, want := sha256.New(), sha256.New()
		if _, err := io.Copy(got, resp.Body); err != nil {
			return err
		}
		io.Copy(want, content(x.nonce, n))
		if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
			return wrongError{errors.New("the hash of the content is another")}
		}
		return nil
	}}
}
