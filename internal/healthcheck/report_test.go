package healthcheck_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/healthcheck"
)

// takes returns an exchange that s answers after a while.
func (s *server) takes(d time.Duration) healthcheck.Exchange {
	return func(r *http.Request, target string, header field.View, interim func(int, http.Header)) (*http.Response, error) {
		select {
		case <-time.After(d):
			return s.exchange(r, target, header, interim)
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
}

// as returns the explanation of any error: its text, and cause.
func as(cause healthcheck.Cause) func(error) (string, healthcheck.Cause) {
	return func(err error) (string, healthcheck.Cause) { return err.Error(), cause }
}

func TestReportOfAnAnswerHasWhatCameAndWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		c := healthcheck.Get("app.test", "/up", nil, 200, 299, 5*time.Second)
		begin := time.Now()
		r := c.Report(t.Context(), answering(302, http.Header{"Location": {"/login"}}, nil, "moved").takes(time.Second), nil)
		is.Equal(r, healthcheck.Report{Began: begin, Took: time.Second, Cause: healthcheck.Redirect,
			Answer: healthcheck.Answer{Status: 302, Location: "/login", Body: "moved", Decided: begin.Add(time.Second)}})
		r = c.Report(t.Context(), answering(204, nil, nil, "").exchange, nil)
		is.True(r.Passed)
		is.Equal(r.Cause, healthcheck.Cause(""))
	})
}

func TestReportShowsTheBeginningOfABodyAsText(t *testing.T) {
	is := is.New(t)
	c := healthcheck.Get("app.test", "/up", nil, 200, 299, time.Second)
	for body, want := range map[string]string{
		strings.Repeat("x", 199):       strings.Repeat("x", 199),
		strings.Repeat("x", 300):       strings.Repeat("x", 200),
		strings.Repeat("x", 199) + "é": strings.Repeat("x", 199) + "\uFFFD", // cut in two
		"a\xffb":                       "a\uFFFDb",
	} {
		is.Equal(c.Report(t.Context(), answering(500, nil, nil, body).exchange, nil).Body, want)
	}
}

func TestReportSaysWhyThereWasNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		get := healthcheck.Get("app.test", "/up", nil, 200, 299, 5*time.Second)
		call := healthcheck.Call("app.test", "", nil, 5*time.Second)
		failing := (&server{err: errors.New("it broke")}).takes(time.Second)
		for _, tt := range []struct {
			check       *healthcheck.Check
			cause, want healthcheck.Cause
		}{
			{get, "refused", "refused"},
			{get, healthcheck.Malformed, healthcheck.Malformed},
			{call, healthcheck.Malformed, healthcheck.NotGRPC}, // for HTTP alone would not do
			{call, "refused", "refused"},
		} {
			begin := time.Now()
			is.Equal(tt.check.Report(t.Context(), failing, as(tt.cause)),
				healthcheck.Report{Began: begin, Took: time.Second, Error: "it broke", Cause: tt.want})
		}
	})
}

func TestCheckIsGivenUpAfterItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		c := healthcheck.Get("app.test", "/up", nil, 200, 299, 5*time.Second)
		begin := time.Now()
		late := answering(200, nil, nil, "").takes(5*time.Second + 1)
		is.Equal(c.Report(t.Context(), late, as("refused")),
			healthcheck.Report{Began: begin, Took: 5 * time.Second, Error: "none within 5s", Cause: healthcheck.Timeout})

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		is.Equal(c.Report(ctx, late, as("refused")).Took, time.Second)
	})
}

func TestSettingsSayWhatIsAsked(t *testing.T) {
	is := is.New(t)
	ask := func(s healthcheck.Settings) (*server, bool) {
		s, err := s.Normalize()
		is.NoErr(err)
		server := answering(302, nil, nil, "")
		c := s.Check("app.test:80", http.Header{"User-Agent": {"probe"}})
		is.Equal(c.Timeout(), s.Timeout)
		a, err := c.Ask(t.Context(), server.exchange)
		is.NoErr(err)
		return server, a.Passed
	}
	s, passed := ask(healthcheck.Settings{})
	is.Equal(s.target, "/up")
	is.Equal(s.request.Host, "app.test:80")
	is.Equal(s.header, http.Header{"User-Agent": {"probe"}})
	is.True(!passed)

	s, passed = ask(healthcheck.Settings{Path: "/healthz", Host: "app1.example.com", Status: "200-399",
		Headers: []string{"x-probe: yes", "X-Probe:no", "user-agent:  mine "}})
	is.Equal(s.target, "/healthz")
	is.Equal(s.request.Host, "app1.example.com")
	is.Equal(s.header, http.Header{"User-Agent": {"probe", "mine"}, "X-Probe": {"yes", "no"}})
	is.True(passed)

	s, passed = ask(healthcheck.Settings{GRPC: true, GRPCService: "web.v1.Web"})
	is.Equal(s.target, "/grpc.health.v1.Health/Check")
	is.Equal(s.request.Method, http.MethodPost)
	is.True(strings.HasSuffix(s.body, "web.v1.Web"))
	is.True(!passed)
}
