// Package healthcheck asks a server once whether it is healthy: with a GET, or with
// a call of grpc.health.v1.Health/Check.
package healthcheck

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/grpc"
)

// A Check says what is asked and what passes. It never changes, and may be made any
// number of times at once.
type Check struct {
	request *http.Request // but for its context, and its body
	path    string
	header  http.Header
	call    []byte // what is sent to a gRPC server; nil: it is a GET
	first   int    // of the statuses that pass
	last    int
	timeout time.Duration
}

// An Exchange sends a request to the server and returns its answer. It is one of package
// forward, but need not know 1xx.
type Exchange func(r *http.Request, requestTarget string, header field.View, interim func(status int, h http.Header)) (*http.Response, error)

// Get returns a Check that asks for a path, and passes for a status from first to
// last within the time of timeout. It keeps header, which nobody may change.
func Get(host, path string, header http.Header, first, last int, timeout time.Duration) *Check {
	return &Check{request: &http.Request{Method: http.MethodGet, Host: host}, path: path, header: header, first: first, last: last, timeout: timeout}
}

// ParseStatus returns the first and the last of the statuses that s names, which is
// one such as "204", or a range such as "200-399". ok is false if it is neither.
func ParseStatus(s string) (first, last int, ok bool) {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	first, err := strconv.Atoi(from)
	if err != nil {
		return 0, 0, false
	}
	last, err = strconv.Atoi(to)
	return first, last, err == nil && 100 <= first && first <= last && last <= 599
}

// Call returns a Check that asks a gRPC server for the health of a service, ""
// stands for the server as a whole, and passes if that is SERVING.
func Call(host, service string, header http.Header, timeout time.Duration) *Check {
	h := field.ViewOf(header).Clone()
	h["Content-Type"] = []string{grpc.ContentType}
	h["Te"] = []string{"trailers"}
	if ms := timeout.Milliseconds(); ms > 0 && ms < 1e8 { // eight digits are the most
		h["Grpc-Timeout"] = []string{strconv.FormatInt(ms, 10) + "m"}
	}
	call := grpc.HealthRequest(service)
	r := &http.Request{Method: http.MethodPost, Host: host, ContentLength: int64(len(call))}
	return &Check{request: r, path: grpc.HealthPath, header: h, call: call, timeout: timeout}
}

// Host returns the Host header that is sent.
func (c *Check) Host() string { return c.request.Host }

// Path returns the request target that is sent.
func (c *Check) Path() string { return c.path }

// Timeout returns how long the check may take in all.
func (c *Check) Timeout() time.Duration { return c.timeout }

// IsCall reports whether a gRPC server is asked.
func (c *Check) IsCall() bool { return c.call != nil }

// A Key is all that decides what comes of a Check: two with the same Key ask the
// same and pass for the same.
type Key struct {
	host, path, header, call string
	first, last              int
	timeout                  time.Duration
}

// Key returns that of c.
func (c *Check) Key() Key {
	var header bytes.Buffer
	c.header.Write(&header) // sorted
	return Key{c.request.Host, c.path, header.String(), string(c.call), c.first, c.last, c.timeout}
}

// An Answer is what a server said.
type Answer struct {
	Status   int
	Location string
	Body     string // what came within bodyLimit of its first 64 KiB; of a GET, or of what is no answer to a call
	Passed   bool
	Decided  time.Time // when Passed was known: with the head, but for answers to calls

	// Of a call. GRPC is what the server said, in words. IsGRPC is false for what
	// is no answer to a call; then the rest says nothing.
	IsGRPC bool
	Code   grpc.Code
	GRPC   string
}

// Ask makes the check by exchange. ctx bounds it; the Check's timeout is the
// caller's to apply. An error says why there was no answer.
func (c *Check) Ask(ctx context.Context, exchange Exchange) (Answer, error) {
	r := c.request.WithContext(ctx)
	if c.call != nil {
		r.Body = io.NopCloser(bytes.NewReader(c.call))
	}
	resp, err := exchange(r, c.path, field.ViewOf(c.header), nil)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	decided := time.Now()
	if c.call != nil && resp.StatusCode == http.StatusOK && field.IsGRPC(resp.Header) {
		body, err := readBody(resp)
		if err != nil {
			return Answer{}, err
		}
		return readCall(resp, body), nil
	}
	a := Answer{Status: resp.StatusCode, Location: resp.Header.Get("Location"), Body: string(readSome(resp)), Decided: decided}
	a.Passed = c.call == nil && c.first <= a.Status && a.Status <= c.last
	return a, nil
}

// readCall returns what a gRPC server has answered.
func readCall(resp *http.Response, body []byte) Answer {
	a := Answer{Status: resp.StatusCode, Decided: time.Now()}
	status, ok := grpc.StatusOf(resp.Header, resp.Trailer)
	if !ok {
		a.GRPC = "no grpc-status"
		return a
	}
	if a.Code = status.Code; a.Code != grpc.OK {
		a.IsGRPC, a.GRPC = true, status.String()
		return a
	}
	health, err := grpc.ParseHealth(body)
	if err != nil {
		a.GRPC = err.Error()
		return a
	}
	a.IsGRPC, a.GRPC, a.Passed = true, health.String(), health == grpc.HealthServing
	return a
}

// bodyLimit is how long the body of an answer is read although it decides nothing: so
// that there is something to show, and the server does not log a connection that
// broke. A body may have no end.
const bodyLimit = 100 * time.Millisecond

// readSome returns what comes of the body of an answer within bodyLimit.
func readSome(resp *http.Response) []byte {
	closed := make(chan struct{})
	timer := time.AfterFunc(bodyLimit, func() {
		defer close(closed)
		resp.Body.Close()
	})
	body, _ := readBody(resp)
	if !timer.Stop() {
		<-closed
	}
	return body
}

// maxBody bounds how much is read of the body of an answer.
const maxBody = 64 << 10

// readBody reads the body of an answer to its end, where trailers are.
func readBody(resp *http.Response) ([]byte, error) {
	n := resp.ContentLength
	if n < 0 || n >= maxBody {
		return io.ReadAll(io.LimitReader(resp.Body, maxBody))
	}
	body := make([]byte, n+1)
	read, err := io.ReadFull(resp.Body, body)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil // it is no longer than it says
	}
	return body[:read], err
}
