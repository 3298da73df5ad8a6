package forward_test

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/http1"
	"github.com/shahnk19/parachute/internal/location"
)

// An adopter is a ResponseWriter whose server takes over headers and limits how long
// clients may take nothing.
type adopter struct {
	*httptest.ResponseRecorder
	adopted   http.Header
	deadlines int
}

func (a *adopter) AdoptHeader(h http.Header)        { a.adopted = h }
func (a *adopter) ByteTimeout() time.Duration       { return time.Minute }
func (a *adopter) SetWriteDeadline(time.Time) error { a.deadlines++; return nil }

// forwarded returns what becomes of res, as the answer to a request, at a.
func forwarded(t *testing.T, a *adopter, res *http.Response) forward.Result {
	t.Helper()
	result, err := forward.Forward(a, httptest.NewRequest("GET", "/", nil), answering(func() *http.Response { return res }), &forward.Options{RequestTarget: "/"})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestHeaderOfACountedAnswerIsTakenOver(t *testing.T) {
	is := is.New(t)
	a := &adopter{ResponseRecorder: httptest.NewRecorder()}
	res := response(201, "abc", "Content-Length", "3", "Connection", "X-Hop", "X-Hop", "a")
	res.ContentLength = 3
	result := forwarded(t, a, res)
	want := http.Header{"Content-Type": {"a/b"}, "Content-Length": {"3"}}
	is.Equal(a.adopted, want) // without what is of the target's connection
	is.Equal(result.Header, want)
	is.Equal(a.Code, 201)
	is.Equal(a.Body.String(), "abc")
	is.Equal(a.deadlines, 0) // that is the server's business
}

// The header is kept for the log: nothing may be set in it.
func TestHeaderThatIsCompletedHereIsNotTakenOver(t *testing.T) {
	for name, change := range map[string]func(a *adopter, res *http.Response){
		"without a length":         func(_ *adopter, res *http.Response) { res.Header.Del("Content-Length") },
		"304":                      func(_ *adopter, res *http.Response) { res.StatusCode = 304 },
		"with trailers":            func(_ *adopter, res *http.Response) { res.Trailer = http.Header{"X": nil} },
		"with an outer handler's":  func(a *adopter, _ *http.Response) { a.Header().Set("Alt-Svc", "clear") },
		"with the outer one's nil": func(a *adopter, _ *http.Response) { a.Header()["Date"] = nil },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			a := &adopter{ResponseRecorder: httptest.NewRecorder()}
			res := response(200, "abc", "Content-Length", "3")
			res.ContentLength = 3
			change(a, res)
			before := res.Header.Clone()
			forwarded(t, a, res)
			is.Equal(a.adopted, nil)
			is.Equal(res.Header, before)
			is.True(reflect.DeepEqual(a.Header()["Content-Type"], []string{"a/b"}) || res.StatusCode == 304)
		})
	}
}

// Other answers may share the header that the exchange returns.
func TestHeaderOfTheExchangeIsNotChanged(t *testing.T) {
	edit := func(res *http.Response) error { res.Header.Set("X-A", "edited"); return nil }
	origin := location.NewOrigin(false, "app.internal:3000")
	for name, tt := range map[string]struct {
		o      forward.Options
		status int
		more   []string
	}{
		"plain":          {},
		"edited":         {o: forward.Options{Answer: edit}},
		"rewritten":      {o: forward.Options{Origin: origin}, more: []string{"Location", "http://app.internal:3000/x"}},
		"of a target":    {o: forward.Options{TargetHeader: "X-Target", Target: []string{"web-1"}}},
		"304":            {status: 304},
		"upgrade wanted": {status: 426, more: []string{"Upgrade", "h2c"}},
	} {
		for _, adopts := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " ", adopts), func(t *testing.T) {
				is := is.New(t)
				a := &adopter{ResponseRecorder: httptest.NewRecorder()}
				var w http.ResponseWriter = a
				if !adopts {
					w = a.ResponseRecorder
				}
				res := response(cmp.Or(tt.status, 200), "abc", append([]string{"Content-Length", "3", "Connection", "X-Hop", "X-Hop", "a", "X-A", "1"}, tt.more...)...)
				res.ContentLength = 3
				shared, before := res.Header, res.Header.Clone()
				tt.o.RequestTarget = "/"
				result, err := forward.Forward(w, httptest.NewRequest("GET", "/", nil), answering(func() *http.Response { return res }), &tt.o)
				is.NoErr(err)
				is.Equal(shared, before)
				is.Equal(result.Header["X-Hop"], nil)
			})
		}
	}
}

func TestHTTP1KeepsWhatA304Tells(t *testing.T) {
	for _, request := range []string{"GET / HTTP/1.1", "HEAD / HTTP/1.1", "GET / HTTP/1.0", "HEAD / HTTP/1.0"} {
		t.Run(request, func(t *testing.T) {
			is := is.New(t)
			server := &http1.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				answer := answering(func() *http.Response { return response(304, "", "Content-Length", "500", "Etag", "x") })
				forward.Forward(w, r, answer, &forward.Options{RequestTarget: "/"})
			})}
			client, conn := net.Pipe()
			served := make(chan struct{})
			go func() { defer close(served); server.ServeConn(conn) }()
			io.WriteString(client, request+"\r\nHost: h\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(client), nil)
			client.Close()
			<-served
			is.NoErr(err)
			is.Equal(res.StatusCode, 304)
			is.Equal(res.Header["Content-Length"], []string{"500"})
			is.Equal(res.Header["Content-Type"], []string{"a/b"})
			is.Equal(res.Header["Etag"], []string{"x"})
		})
	}
}
