package forward_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/reason"
)

var errAny = errors.New("any")

// because returns an error that tells why, which is so because of err.
func because(why reason.Reason, err error) error { return &told{err, why} }

type told struct {
	error
	why reason.Reason
}

func (t *told) Why() reason.Reason { return t.why }
func (t *told) Unwrap() error      { return t.error }

// A failing exchange is one whose end is an error, and how much there was before.
type failingExchange struct {
	body     error // of a Read of the request's body; nil: there is none
	exchange error // nil: an answer begins
	isEvents bool  // that answer is an event stream
	answer   error // of a Read of the answer's body
	cut      bool  // the stream is closed as soon as it is one
	edit     error // of Options.Answer
	left     bool  // the client has
}

func (f failingExchange) run(t *testing.T) (forward.Result, error) {
	t.Helper()
	r := read(t, "POST", "/")
	if f.body != nil {
		r.Body, r.ContentLength = io.NopCloser(iotest.ErrReader(f.body)), 10
	}
	if f.left {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r = r.WithContext(ctx)
	}
	exchange := func(out *http.Request, _ string, _ field.View, _ func(int, http.Header)) (*http.Response, error) {
		if f.body != nil {
			io.Copy(io.Discard, out.Body)
		}
		if f.exchange != nil {
			return nil, f.exchange
		}
		res := response(200, "")
		if f.isEvents {
			res.Header["Content-Type"] = []string{"text/event-stream"}
		}
		res.Body, res.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader("data: 1\n\n"), iotest.ErrReader(f.answer))), -1
		return res, nil
	}
	return forward.Forward(newNoted(), r, exchange, &forward.Options{
		Answer: func(*http.Response) error { return f.edit },
		Stream: onStream(func(s io.Closer) {
			if f.cut {
				s.Close()
			}
		}),
	})
}

func TestErrorsHaveAReason(t *testing.T) {
	tooLarge := reason.New(reason.RequestTooLarge, "too large")
	for name, tt := range map[string]struct {
		failingExchange
		want reason.Reason
	}{
		"none": {failingExchange{answer: io.EOF}, reason.None},

		"before the answer, and tells nothing": {failingExchange{exchange: errAny}, reason.Target},
		"before the answer":                    {failingExchange{exchange: because(reason.Dial, errAny)}, reason.Dial},
		"wrapped":                              {failingExchange{exchange: fmt.Errorf("%w", because(reason.Broken, errAny))}, reason.Broken},
		"of the answer's editor":               {failingExchange{edit: errAny}, reason.Target},
		"no room for the answer":               {failingExchange{edit: reason.New(reason.Spool, "full")}, reason.Spool},
		"too large an answer":                  {failingExchange{edit: tooLarge}, reason.AnswerTooLarge},
		"too large an answer, found late":      {failingExchange{answer: tooLarge}, reason.AnswerTooLarge},

		"within the answer, and tells nothing": {failingExchange{answer: errAny}, reason.Untaken},
		"within the answer":                    {failingExchange{answer: because(reason.Broken, errAny)}, reason.Broken},
		"a cut":                                {failingExchange{answer: because(reason.Cut, errAny)}, reason.Cut},
		"a cut before the answer":              {failingExchange{exchange: because(reason.Cut, errAny)}, reason.Cut},
		"a stream that is cut":                 {failingExchange{isEvents: true, answer: because(reason.Cut, errAny)}, reason.StreamClosed},
		"a stream that breaks":                 {failingExchange{isEvents: true, answer: because(reason.Broken, errAny)}, reason.Broken},
		"a stream that is closed":              {failingExchange{isEvents: true, answer: errAny, cut: true}, reason.StreamClosed},
		"a stream that is closed and breaks":   {failingExchange{isEvents: true, answer: because(reason.Broken, errAny), cut: true}, reason.StreamClosed},

		"of the client's body":                 {failingExchange{exchange: because(reason.ClientBody, errAny)}, reason.ClientBody},
		"too large a body":                     {failingExchange{exchange: because(reason.ClientBody, tooLarge)}, reason.RequestTooLarge},
		"too large a body, wrapped":            {failingExchange{exchange: fmt.Errorf("%w", because(reason.ClientBody, tooLarge))}, reason.RequestTooLarge},
		"a body that stalls":                   {failingExchange{exchange: because(reason.ClientBody, os.ErrDeadlineExceeded)}, reason.Stalled},
		"a body whose client leaves":           {failingExchange{exchange: because(reason.ClientBody, errAny), left: true}, reason.Gone},
		"a body that stalls, till they leave":  {failingExchange{exchange: because(reason.ClientBody, os.ErrDeadlineExceeded), left: true}, reason.Stalled},
		"a client that leaves":                 {failingExchange{exchange: because(reason.Gone, errAny), left: true}, reason.Gone},
		"canceled, since the body stalls":      {failingExchange{body: os.ErrDeadlineExceeded, exchange: because(reason.Gone, errAny), left: true}, reason.Stalled},
		"canceled, since the body is too much": {failingExchange{body: tooLarge, exchange: because(reason.Gone, errAny), left: true}, reason.RequestTooLarge},
		"a body that does not matter":          {failingExchange{body: os.ErrDeadlineExceeded, exchange: because(reason.Dial, errAny)}, reason.Dial},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			result, err := tt.run(t)
			is.Equal(err != nil, tt.want != reason.None)
			is.Equal(result.Reason, tt.want)
		})
	}
}

func TestCallThatIsResetWhenItsTimeIsOverHasReachedItsDeadline(t *testing.T) {
	const limit = 2 * time.Second
	broken := because(reason.Broken, errAny)
	for name, tt := range map[string]struct {
		timeout string
		lasted  time.Duration
		plain   bool // it is no call
		err     error
		want    reason.Reason
	}{
		"when it is over":        {"2S", limit, false, broken, reason.Deadline},
		"later":                  {"2S", 2 * limit, false, broken, reason.Deadline},
		"before":                 {"2S", limit - time.Nanosecond, false, broken, reason.Broken},
		"without a limit":        {"", time.Hour, false, broken, reason.Broken},
		"which is not that":      {"2S", limit, true, broken, reason.Broken},
		"for what is no reset":   {"2S", limit, false, because(reason.Dial, errAny), reason.Dial},
		"for what tells nothing": {"2S", limit, false, errAny, reason.Target},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				r := read(t, "POST", "/")
				r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
				r.Header.Set("Content-Type", "application/grpc")
				if tt.timeout != "" {
					r.Header.Set("Grpc-Timeout", tt.timeout)
				}
				exchange := func(*http.Request, string, field.View, func(int, http.Header)) (*http.Response, error) {
					return nil, tt.err
				}
				result, err := forward.Forward(newNoted(), r, exchange, &forward.Options{GRPC: !tt.plain, Start: time.Now().Add(-tt.lasted)})
				is.True(err != nil)
				is.Equal(result.Reason, tt.want)
			})
		})
	}
}

func TestBodyThatCannotBeReadHasAReason(t *testing.T) {
	is := is.New(t)
	r := read(t, "POST", "/")
	is.Equal(forward.BodyReason(r, errAny, reason.BufferedBody), reason.BufferedBody)
	is.Equal(forward.BodyReason(r, os.ErrDeadlineExceeded, reason.BufferedBody), reason.Stalled)
	is.Equal(forward.BodyReason(r, because(reason.Spool, os.ErrDeadlineExceeded), reason.BufferedBody), reason.Spool)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	is.Equal(forward.BodyReason(r.WithContext(ctx), errAny, reason.BufferedBody), reason.Gone)
}
