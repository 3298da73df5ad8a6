package forward_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// A noted writer keeps what is written to it.
type noted struct {
	nowhere
	status int
	body   strings.Builder
}

func newNoted() *noted { return &noted{nowhere: nowhere{make(http.Header)}} }

func (w *noted) WriteHeader(status int)      { w.status = status }
func (w *noted) Write(b []byte) (int, error) { return w.body.Write(b) }

// A closed body tells whether it was.
type closed struct {
	io.Reader
	is bool
}

func (c *closed) Close() error {
	c.is = true
	return nil
}

func TestRequestOptionChangesWhatGoesOut(t *testing.T) {
	is := is.New(t)
	r := read(t, "GET", "/")
	r.Header = http.Header{"X-A": {"1"}, "X-B": {"2"}}
	got := outgoing(t, r, forward.Options{RequestID: "our-id", Request: func(h http.Header) {
		is.Equal(h["X-Request-Id"], []string{"our-id"}) // what we say is there already
		delete(h, "X-A")
		h["X-C"] = []string{"3"}
	}})
	is.Equal(got, http.Header{"X-B": {"2"}, "X-C": {"3"}, "X-Request-Id": {"our-id"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"app.test"}})
	is.Equal(r.Header, http.Header{"X-A": {"1"}, "X-B": {"2"}}) // the client's is left alone
}

func TestAnswerOptionChangesWhatIsPassedOn(t *testing.T) {
	is := is.New(t)
	w := newNoted()
	theirs, other := &closed{Reader: strings.NewReader("theirs")}, &closed{Reader: strings.NewReader("another")}
	res := response(200, "", "X-A", "1", "Connection", "X-Secret", "X-Secret", "a")
	res.Body = theirs
	result, err := forward.Forward(w, read(t, "GET", "/"), answering(func() *http.Response { return res }), &forward.Options{
		Answer: func(answer *http.Response) error {
			is.Equal(answer.Header["X-Secret"], nil) // what was meant for us is gone
			is.Equal(w.status, 0)                    // nothing is passed on yet
			answer.Header.Set("X-A", "2")
			answer.Body.Close()
			answer.Body = other
			return nil
		},
	})
	is.NoErr(err)
	is.Equal(w.status, 200)
	is.Equal(w.header["X-A"], []string{"2"})
	is.Equal(w.body.String(), "another")
	is.Equal(result.BytesOut, int64(len("another")))
	is.True(theirs.is)
	is.True(other.is) // whoever is passed on is closed
}

func TestAnswerOptionMayKeepAnAnswerFromTheClient(t *testing.T) {
	is := is.New(t)
	refused := errors.New("not this one")
	w := newNoted()
	body := &closed{Reader: strings.NewReader("hello")}
	res := response(200, "", "X-A", "1")
	res.Body = body
	result, err := forward.Forward(w, read(t, "GET", "/"), answering(func() *http.Response { return res }), &forward.Options{
		Answer: func(*http.Response) error { return refused },
	})
	is.Equal(err, refused)
	is.Equal(result.Status, 0) // the caller may answer
	is.Equal(w.status, 0)
	is.Equal(len(w.header), 0)
	is.Equal(w.body.String(), "")
	is.True(body.is)
}

func TestBodyOfAnotherLengthThanItSaysIsAnError(t *testing.T) {
	for name, tt := range map[string]struct {
		length int64
		body   string
		want   error
	}{
		"right":           {5, "hello", nil},
		"short":           {5, "hell", io.ErrUnexpectedEOF},
		"long":            {5, "hello, world", io.ErrUnexpectedEOF},
		"nothing was due": {0, "hello", io.ErrUnexpectedEOF},
		"nothing":         {0, "", nil},
		"of no length":    {-1, "hello", nil}, // as of an answer that was changed on its way
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			res := response(200, tt.body, "Content-Length", "any")
			res.ContentLength = tt.length
			result, err := forward.Forward(newNoted(), read(t, "GET", "/"), answering(func() *http.Response { return res }), &forward.Options{})
			is.Equal(err, tt.want)
			is.Equal(result.Status, 200)
		})
	}
}

// An unwilling writer can be written to, but nothing reaches its client.
type unwilling struct{ nowhere }

var errGone = errors.New("the client is gone")

func (w *unwilling) FlushError() error { return errGone }

// A hasty body has come to its end when it is about to wait.
type hasty struct{ before func() error }

func (b *hasty) BeforeWait(f func() error) { b.before = f }
func (b *hasty) Close() error              { return nil }

func (b *hasty) Read([]byte) (int, error) {
	b.before()
	return 0, io.EOF
}

func TestAnswerThatDidNotReachItsClientIsNotComplete(t *testing.T) {
	is := is.New(t)
	res := response(200, "")
	res.Body = new(hasty)
	_, err := forward.Forward(&unwilling{nowhere{make(http.Header)}}, read(t, "GET", "/"), answering(func() *http.Response { return res }), &forward.Options{})
	is.Equal(err, errGone)
}

// The target may be silent for as long as it likes, and nothing else would tell
// that nobody waits for it any more.
func TestTargetIsNotWaitedForOnceItsClientIsGone(t *testing.T) {
	for name, tt := range map[string]struct {
		kind  string
		minor int
	}{
		"any":      {"a/b", 1},
		"events":   {"text/event-stream", 1},
		"HTTP/1.0": {"a/b", 0},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			res, out := piped(response(200, ""))
			defer out.Close()
			res.Header.Set("Content-Type", tt.kind)
			r := read(t, "GET", "/")
			r.ProtoMinor = tt.minor
			result, err := forward.Forward(&unwilling{nowhere{make(http.Header)}}, r, answering(func() *http.Response { return res }), &forward.Options{})
			is.Equal(err, errGone)
			is.Equal(result.Status, 200)
			_, err = out.Write([]byte("late"))
			is.True(err != nil) // and it is told
		})
	}
}

// Where no body will follow there is nothing for trailers to stand behind; but
// the head of an answer to HEAD is that of a GET (RFC 9110, section 9.3.2).
func TestTrailersAreNamedWhereABodyWouldFollow(t *testing.T) {
	for _, tt := range []struct {
		method string
		status int
		want   []string
	}{
		{"GET", 200, []string{"X-Sum"}},
		{"HEAD", 200, []string{"X-Sum"}},
		{"GET", 204, nil},
		{"GET", 304, nil},
	} {
		is := is.New(t)
		w := newNoted()
		res := response(tt.status, "")
		res.Trailer = http.Header{"X-Sum": nil}
		_, err := forward.Forward(w, read(t, tt.method, "/"), answering(func() *http.Response { return res }), &forward.Options{})
		is.NoErr(err)
		is.Equal(w.header["Trailer"], tt.want)
	}
}

// Whatever the exchange did, the body of a request is not read twice.
func TestBodyThatWasBegunCannotBeSentAgain(t *testing.T) {
	is := is.New(t)
	r := read(t, "POST", "/")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader("hello")), 5
	w := newNoted()
	result, err := forward.Forward(w, r, func(r *http.Request, _ string, _ field.View, _ func(int, http.Header)) (*http.Response, error) {
		_, err := r.Body.Read(make([]byte, 2))
		return nil, errors.Join(err, errors.New("broken"))
	}, &forward.Options{})
	is.True(err != nil)
	is.True(result.BodyRead)
	is.Equal(result.BytesIn, int64(2))
	is.Equal(w.header["Connection"], []string{"close"}) // the rest of it is in there
}

// What was read from the client before has no say in what its connection does.
func TestBodyAtHandSetsNoDeadlineAndLeavesTheConnectionOpen(t *testing.T) {
	for name, begin := range map[string]func(io.Reader){
		"untouched": func(io.Reader) {},
		"begun":     func(body io.Reader) { body.Read(make([]byte, 2)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				n := new(proxytest.Net)
				left := make(chan error, 1)
				serve(t, n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					whole := *r
					whole.Body = io.NopCloser(bytes.NewReader(body))
					_, err := forward.Forward(w, &whole, func(r *http.Request, _ string, _ field.View, _ func(int, http.Header)) (*http.Response, error) {
						begin(r.Body)
						time.Sleep(time.Hour) // before the target takes more
						return nil, errors.New("no target")
					}, &forward.Options{BodyAtHand: true})
					time.Sleep(time.Hour)
					left <- r.Context().Err()
					http.Error(w, err.Error(), http.StatusBadGateway)
				}))
				client := dial(t, n)
				io.WriteString(client, post+"Content-Length: 5\r\n\r\nhello")
				got, state := hear(client, 3*time.Hour)
				is.NoErr(<-left)
				is.True(strings.HasPrefix(got, "HTTP/1.1 502 "))
				is.Equal(state, "open")
			})
		})
	}
}

func TestAnswerIsTakenForWhatIsPassedOnOfIt(t *testing.T) {
	const events = "text/event-stream"
	for name, tt := range map[string]struct {
		header []string
		change func(h http.Header) // by Options.Answer
		stream bool
		length bool
	}{
		"events":               {header: []string{"Content-Type", events}, stream: true},
		"events of a length":   {header: []string{"Content-Type", events, "Content-Length", "5"}, stream: true, length: true},
		"for this hop":         {header: []string{"Content-Type", events, "Connection", "content-type"}},
		"length for this hop":  {header: []string{"Content-Length", "5", "Connection", "content-length"}, length: true}, // which is not for it alone
		"made events":          {header: []string{"Content-Type", "a/b", "Content-Length", "5"}, change: func(h http.Header) { h["Content-Type"] = []string{events} }, stream: true, length: true},
		"no events any more":   {header: []string{"Content-Type", events}, change: func(h http.Header) { h["Content-Type"] = []string{"a/b"} }},
		"no length any more":   {header: []string{"Content-Length", "5"}, change: func(h http.Header) { delete(h, "Content-Length") }},
		"given a length":       {change: func(h http.Header) { h["Content-Length"] = []string{"5"} }, length: true},
		"without a type":       {change: func(h http.Header) { delete(h, "Content-Type") }},
		"with an empty type":   {header: []string{"Content-Type", ""}},
		"changed but for this": {header: []string{"Content-Type", events, "Content-Length", "5"}, change: func(h http.Header) { h["X-A"] = nil }, stream: true, length: true},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			res := response(200, "hello")
			if len(tt.header) > 0 {
				delete(res.Header, "Content-Type")
			}
			for i := 0; i < len(tt.header); i += 2 {
				res.Header.Set(tt.header[i], tt.header[i+1])
			}
			o := forward.Options{RequestTarget: "/"}
			streams := 0
			o.Stream = onStream(func(io.Closer) { streams++ })
			if tt.change != nil {
				o.Answer = func(res *http.Response) error { tt.change(res.Header); return nil }
			}
			a := &adopter{ResponseRecorder: httptest.NewRecorder()}
			result, err := forward.Forward(a, httptest.NewRequest("GET", "/", nil), answering(func() *http.Response { return res }), &o)
			is.NoErr(err)
			is.Equal(result.BytesOut, int64(5))
			is.Equal(streams == 1, tt.stream)
			is.Equal(a.adopted != nil, tt.length) // only what has a length is taken over as it is
		})
	}
}
