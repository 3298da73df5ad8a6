package healthcheck_test

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

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/grpc"
	"github.com/shahnk19/parachute/internal/healthcheck"
)

// A server answers as its fields say, and keeps what it was asked.
type server struct {
	answer *http.Response
	err    error

	request *http.Request
	target  string
	header  http.Header
	body    string
}

func (s *server) exchange(r *http.Request, target string, header field.View, _ func(int, http.Header)) (*http.Response, error) {
	s.request, s.target, s.header = r, target, header.Clone()
	if r.Body != nil {
		b, _ := io.ReadAll(r.Body)
		s.body = string(b)
	}
	return s.answer, s.err
}

func answering(status int, header http.Header, trailer http.Header, body string) *server {
	return &server{answer: &http.Response{
		StatusCode: status, Header: header, Trailer: trailer,
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
	}}
}

func TestGetPassesForTheStatusesOfItsRange(t *testing.T) {
	c := healthcheck.Get("app.test", "/up", http.Header{"X-Probe": {"yes"}}, 200, 299, time.Second)
	for status, want := range map[int]bool{199: false, 200: true, 299: true, 300: false} {
		is := is.New(t)
		s := answering(status, http.Header{"Location": {"/login"}}, nil, "hello")
		a, err := c.Ask(t.Context(), s.exchange)
		is.NoErr(err)
		is.True(!a.Decided.IsZero())
		a.Decided = time.Time{}
		is.Equal(a, healthcheck.Answer{Status: status, Location: "/login", Body: "hello", Passed: want})
		is.Equal(s.request.Method, http.MethodGet)
		is.Equal(s.request.Host, "app.test")
		is.Equal(s.target, "/up")
		is.Equal(s.header, http.Header{"X-Probe": {"yes"}})
	}
}

func TestStatusIsOneOrARange(t *testing.T) {
	for text, want := range map[string][2]int{
		"204": {204, 204}, "200-399": {200, 399}, "100-599": {100, 599}, "200-200": {200, 200},
		"": {}, "2xx": {}, "200-": {}, "-299": {}, "200-2xx": {}, "299-200": {}, "99-200": {}, "200-600": {}, "200-300-400": {},
	} {
		t.Run(text, func(t *testing.T) {
			is := is.New(t)
			first, last, ok := healthcheck.ParseStatus(text)
			is.Equal(ok, want != [2]int{})
			if ok {
				is.Equal([2]int{first, last}, want)
			}
		})
	}
}

func TestNoMoreOfABodyIsReadThanHelps(t *testing.T) {
	is := is.New(t)
	s := answering(200, http.Header{}, nil, "")
	for _, length := range []int64{-1, 64<<10 - 1, 64 << 10, 100 << 10} { // whatever it says of itself
		s.answer.ContentLength, s.answer.Body = length, io.NopCloser(strings.NewReader(strings.Repeat("x", 100<<10)))
		a, err := healthcheck.Get("app.test", "/", nil, 200, 200, time.Second).Ask(t.Context(), s.exchange)
		is.NoErr(err)
		is.Equal(len(a.Body), 64<<10)
	}
	s.answer.ContentLength, s.answer.Body = 10, io.NopCloser(strings.NewReader("short"))
	a, err := healthcheck.Get("app.test", "/", nil, 200, 200, time.Second).Ask(t.Context(), s.exchange)
	is.NoErr(err) // the head is what counts
	is.Equal(a.Body, "short")
}

func TestCallPassesIfTheServerIsServing(t *testing.T) {
	call := http.Header{"Content-Type": {"application/grpc"}}
	ok := http.Header{"Grpc-Status": {"0"}}
	tests := []struct {
		name            string
		status          int
		header, trailer http.Header
		body            string
		want            healthcheck.Answer
	}{
		{"serving", 200, call, ok, string(grpc.HealthAnswer(grpc.HealthServing)), healthcheck.Answer{Status: 200, Passed: true, IsGRPC: true, GRPC: "SERVING"}},
		{"not serving", 200, call, ok, string(grpc.HealthAnswer(2)), healthcheck.Answer{Status: 200, IsGRPC: true, GRPC: "NOT_SERVING"}},
		{"error", 200, call, http.Header{"Grpc-Status": {"12"}}, "", healthcheck.Answer{Status: 200, IsGRPC: true, Code: grpc.Unimplemented, GRPC: "UNIMPLEMENTED"}},
		{"no status", 200, call, nil, "", healthcheck.Answer{Status: 200, GRPC: "no grpc-status"}},
		{"no gRPC", 200, http.Header{}, nil, "hello", healthcheck.Answer{Status: 200, Body: "hello"}},
		{"no 200", 404, call, ok, "hello", healthcheck.Answer{Status: 404, Body: "hello"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			s := answering(tt.status, tt.header, tt.trailer, tt.body)
			c := healthcheck.Call("app.test", "web.v1.Web", http.Header{"X-Probe": {"yes"}}, 2*time.Second)
			a, err := c.Ask(t.Context(), s.exchange)
			is.NoErr(err)
			is.True(!a.Decided.IsZero())
			a.Decided = time.Time{}
			is.Equal(a, tt.want)
			is.Equal(s.request.Method, http.MethodPost)
			is.Equal(s.target, grpc.HealthPath)
			is.Equal(s.body, string(grpc.HealthRequest("web.v1.Web")))
			is.Equal(s.header.Get("Te"), "trailers")
			is.Equal(s.header.Get("Grpc-Timeout"), "2000m")
			is.Equal(s.header.Get("X-Probe"), "yes")
		})
	}
}

func TestAnswerThatBreaksOffIsNoneToACall(t *testing.T) {
	is := is.New(t)
	broken := errors.New("broken")
	s := answering(200, http.Header{"Content-Type": {"application/grpc"}}, nil, "")
	s.answer.ContentLength, s.answer.Body = -1, io.NopCloser(io.MultiReader(strings.NewReader("x"), failing{broken}))
	_, err := healthcheck.Call("app.test", "", nil, time.Second).Ask(t.Context(), s.exchange)
	is.Equal(err, broken)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestExchangeThatFailsIsNoAnswer(t *testing.T) {
	is := is.New(t)
	s := &server{err: context.DeadlineExceeded}
	_, err := healthcheck.Get("app.test", "/", nil, 200, 200, time.Second).Ask(t.Context(), s.exchange)
	is.Equal(err, context.DeadlineExceeded)
}

func TestChecksThatAskTheSameHaveOneKey(t *testing.T) {
	is := is.New(t)
	get := func(change func(host, path *string, h http.Header, last *int, timeout *time.Duration)) healthcheck.Key {
		host, path, h, last, timeout := "app.test", "/up", http.Header{"A": {"1"}, "B": {"2"}}, 299, time.Second
		if change != nil {
			change(&host, &path, h, &last, &timeout)
		}
		return healthcheck.Get(host, path, h, 200, last, timeout).Key()
	}
	is.Equal(get(nil), get(nil))
	for _, change := range []func(host, path *string, h http.Header, last *int, timeout *time.Duration){
		func(host, _ *string, _ http.Header, _ *int, _ *time.Duration) { *host = "other.test" },
		func(_, path *string, _ http.Header, _ *int, _ *time.Duration) { *path = "/" },
		func(_, _ *string, h http.Header, _ *int, _ *time.Duration) { h["B"] = []string{"3"} },
		func(_, _ *string, _ http.Header, last *int, _ *time.Duration) { *last = 399 },
		func(_, _ *string, _ http.Header, _ *int, timeout *time.Duration) { *timeout = time.Minute },
	} {
		is.True(get(change) != get(nil))
	}
	a, b := healthcheck.Call("app.test", "a", nil, time.Second), healthcheck.Call("app.test", "b", nil, time.Second)
	is.True(a.Key() != b.Key())
	is.True(a.IsCall())
}

func TestTimeoutOfACallIsToldIfItHasEightDigitsAtMost(t *testing.T) {
	for timeout, want := range map[time.Duration]string{
		time.Millisecond:               "1m",
		time.Microsecond:               "",
		99_999_999 * time.Millisecond:  "99999999m",
		100_000_000 * time.Millisecond: "",
	} {
		is := is.New(t)
		s := answering(404, http.Header{}, nil, "")
		_, err := healthcheck.Call("app.test", "", nil, timeout).Ask(t.Context(), s.exchange)
		is.NoErr(err)
		is.Equal(s.header.Get("Grpc-Timeout"), want)
	}
}

// An endless body has a part that is there, and nothing behind it until it is closed.
type endless struct {
	part   io.Reader
	closed chan struct{}
}

func (b *endless) Read(p []byte) (int, error) {
	if n, _ := b.part.Read(p); n > 0 {
		return n, nil
	}
	<-b.closed
	return 0, errors.New("closed")
}

func (b *endless) Close() error {
	select {
	case <-b.closed:
	default:
		close(b.closed)
	}
	return nil
}

func TestBodyWithoutEndIsReadForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := answering(200, http.Header{}, nil, "")
		s.answer.ContentLength, s.answer.Body = -1, &endless{strings.NewReader("so far"), make(chan struct{})}
		begin := time.Now()
		a, err := healthcheck.Get("app.test", "/", nil, 200, 200, time.Minute).Ask(t.Context(), s.exchange)
		is.NoErr(err)
		is.True(a.Passed)
		is.Equal(a.Body, "so far")
		is.Equal(time.Since(begin), 100*time.Millisecond)
	})
}
