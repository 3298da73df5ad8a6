package admission_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/admission"
)

// An answerer answers every question with one status, and keeps the last.
type answerer struct {
	status   int
	location string
	err      error // instead of an answer
	hangs    bool  // until the question ends

	asked  *http.Request
	unread body
}

func (a *answerer) RoundTrip(r *http.Request) (*http.Response, error) {
	a.asked = r
	if a.hangs {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if a.err != nil {
		return nil, a.err
	}
	resp := &http.Response{StatusCode: a.status, Header: http.Header{}, Body: &a.unread}
	if a.location != "" {
		resp.Header.Set("Location", a.location)
	}
	return resp, nil
}

// A body says whether it was closed.
type body struct{ closed bool }

func (b *body) Read([]byte) (int, error) { return 0, io.EOF }
func (b *body) Close() error             { b.closed = true; return nil }

func TestStatusOfTheAnswerDecides(t *testing.T) {
	const unknown = "whether it may have one could not be found out: "
	for _, tt := range []struct {
		status         int
		location, want string
	}{
		{200, "", ""},
		{199, "", "GET http://a.test/?host=n.test: answered 199: the name is refused"},
		{204, "", "GET http://a.test/?host=n.test: answered 204: the name is refused"},
		{302, "/login", "GET http://a.test/?host=n.test: answered 302 to /login: the name is refused"},
		{302, strings.Repeat("x", 300), "GET http://a.test/?host=n.test: answered 302 to " + strings.Repeat("x", 200) + ": the name is refused"},
		{404, "", "GET http://a.test/?host=n.test: answered 404: the name is refused"},
		{499, "", "GET http://a.test/?host=n.test: answered 499: the name is refused"},
		{500, "", unknown + "GET http://a.test/?host=n.test: answered 500"},
		{503, "/", unknown + "GET http://a.test/?host=n.test: answered 503 to /"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			is := is.New(t)
			a := &answerer{status: tt.status, location: tt.location}
			asker := admission.Asker{URL: "http://a.test/", Transport: a}
			err := asker.Ask(t.Context(), "n.test")
			is.True(a.unread.closed) // the answer's body
			if tt.want == "" {
				is.NoErr(err)
				return
			}
			is.Equal(err.Error(), tt.want)
			is.Equal(errors.Is(err, admission.ErrRefused), tt.status < 500)
		})
	}
}

func TestQuestionNamesTheHostInItsQuery(t *testing.T) {
	for url, want := range map[string]string{
		"http://a.test/allowed":       "http://a.test/allowed?host=n%26m.test",
		"http://a.test/allowed?token": "http://a.test/allowed?token&host=n%26m.test",
	} {
		t.Run(url, func(t *testing.T) {
			is := is.New(t)
			a := &answerer{status: 200}
			asker := admission.Asker{URL: url, Transport: a, UserAgent: "proxy/1"}
			is.NoErr(asker.Ask(t.Context(), "n&m.test"))
			is.Equal(a.asked.URL.String(), want)
			is.Equal(a.asked.Method, "GET")
			is.Equal(a.asked.UserAgent(), "proxy/1")
		})
	}
}

func TestPathIsAskedOfTheService(t *testing.T) {
	is := is.New(t)
	var asked []string
	asker := admission.Asker{URL: "/allowed?x", Service: func(_ context.Context, name, target string) (*http.Response, error) {
		asked = append(asked, name, target)
		return &http.Response{StatusCode: 403, Body: http.NoBody}, nil
	}}
	err := asker.Ask(t.Context(), "n.test")
	is.True(errors.Is(err, admission.ErrRefused))
	is.Equal(err.Error(), "GET /allowed?x&host=n.test: answered 403: the name is refused")
	is.Equal(asked, []string{"n.test", "/allowed?x&host=n.test"})
}

func TestErrorsOfQuestionsAreNotified(t *testing.T) {
	is := is.New(t)
	a := &answerer{status: 200}
	var names []string
	var errs []error
	asker := admission.Asker{URL: "http://a.test/", Transport: a, Notify: func(name string, err error) {
		names, errs = append(names, name), append(errs, err)
	}}
	is.NoErr(asker.Ask(t.Context(), "allowed.test"))
	is.Equal(len(names), 0)
	a.status = 403
	refused := asker.Ask(t.Context(), "refused.test")
	a.status = 500
	failed := asker.Ask(t.Context(), "failed.test")
	is.Equal(names, []string{"refused.test", "failed.test"})
	is.Equal(errs, []error{refused, failed})
	is.True(errors.Is(refused, admission.ErrRefused))
}

func TestQuestionThatFailsIsNoRefusal(t *testing.T) {
	const prefix = "whether it may have one could not be found out: GET "
	is := is.New(t)
	asker := admission.Asker{URL: "http://a.test/", Transport: &answerer{err: errBroken}}
	err := asker.Ask(t.Context(), "n.test")
	is.True(errors.Is(err, errBroken))
	is.Equal(err.Error(), prefix+"http://a.test/?host=n.test: connection refused")

	asker.URL = "http://a.test:x/" // which is no URL
	err = asker.Ask(t.Context(), "n.test")
	is.True(!errors.Is(err, admission.ErrRefused))
	is.True(strings.HasPrefix(err.Error(), prefix+"http://a.test:x/?host=n.test: ")) // what is wrong with it
}

func TestQuestionWithoutAnswerTellsHowLongItWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second+time.Microsecond)
		defer cancel()
		asker := admission.Asker{URL: "http://a.test/", Transport: &answerer{hangs: true}}
		err := asker.Ask(ctx, "n.test")
		is.Equal(err.Error(), "whether it may have one could not be found out: GET http://a.test/?host=n.test: no answer within 2s")

		stopped, stop := context.WithCancel(t.Context())
		stop()
		err = asker.Ask(stopped, "n.test") // nobody waits for it any more
		is.True(errors.Is(err, context.Canceled))
	})
}
