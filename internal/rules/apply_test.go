package rules_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"golang.org/x/crypto/bcrypt"

	"github.com/shahnk19/parachute/internal/buffer"
	"github.com/shahnk19/parachute/internal/grpc"
	"github.com/shahnk19/parachute/internal/reason"
	"github.com/shahnk19/parachute/internal/rules"
)

var (
	inside  = netip.MustParseAddr("10.0.0.7")
	outside = netip.MustParseAddr("192.0.2.7")
)

// guarded are Settings that let ann in, from 10.0.0.0/8 alone.
func guarded(t *testing.T) rules.Settings {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte("ann:"+strings.Replace(string(hash), "$2a$", "$2y$", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return rules.Settings{
		Access:    rules.Access{Allow: []string{"10.0.0.0/8"}, BasicAuthFile: users},
		Redirects: []rules.Redirect{{From: "/old", To: "/new"}},
	}
}

func TestRequestIsAdmittedByAddressThenPasswordThenPath(t *testing.T) {
	r := newRules(t, guarded(t))
	for _, tt := range []struct {
		name, password, method, target string
		addr                           netip.Addr
		want                           reason.Reason
		header                         http.Header // of the answer
	}{
		{"stranger", "secret", "GET", "/old", outside, reason.Denied, http.Header{}},
		{"no password", "", "GET", "/old", inside, reason.Unauthorized, http.Header{"Www-Authenticate": {`Basic realm="restricted", charset="UTF-8"`}}},
		{"wrong password", "sesame", "GET", "/", inside, reason.Unauthorized, http.Header{"Www-Authenticate": {`Basic realm="restricted", charset="UTF-8"`}}},
		{"moved", "secret", "GET", "/old?x=1", inside, reason.Moved, http.Header{"Location": {"/new?x=1"}}},
		{"moved on", "secret", "PUT", "/old", inside, reason.MovedOn, http.Header{"Location": {"/new"}}},
		{"admitted", "secret", "GET", "/", inside, reason.None, http.Header{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			q := httptest.NewRequest(tt.method, "/", nil)
			if tt.password != "" {
				q.SetBasicAuth("ann", tt.password)
			}
			w := httptest.NewRecorder()
			v := r.Admit(w, q, tt.addr, tt.target)
			is.Equal(v.Reason, tt.want)
			is.NoErr(v.Err)
			is.True(!v.IsLast)
			is.Equal(w.Header(), tt.header)
		})
	}
}

func TestNothingSaidAdmitsEverybodyAtOnce(t *testing.T) {
	is := is.New(t)
	q := httptest.NewRequest("GET", "/", nil)
	is.Equal(new(rules.Rules).Admit(httptest.NewRecorder(), q, outside, "/old"), rules.Verdict{})
	is.Equal(newRules(t, rules.Settings{}).Admit(httptest.NewRecorder(), q, netip.Addr{}, "/old"), rules.Verdict{})
}

// newBusy returns the Rules of s, which are checking as many passwords as they may.
func newBusy(t *testing.T, s rules.Settings) *rules.Rules {
	t.Helper()
	with := shared
	with.Checks = make(chan struct{}) // nobody's turn comes
	r, err := rules.New(&s, with)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPasswordIsWaitedForTenSeconds(t *testing.T) {
	s := guarded(t)
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		q := httptest.NewRequest("GET", "/", nil).WithContext(t.Context())
		q.SetBasicAuth("ann", "secret")
		v := newBusy(t, s).Admit(httptest.NewRecorder(), q, inside, "/old")
		is.Equal(v, rules.Verdict{Reason: reason.Busy, Err: context.DeadlineExceeded, Waited: 10 * time.Second})
	})
}

func TestPasswordIsNotWaitedForOnceTheClientHasLeft(t *testing.T) {
	s := guarded(t)
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		q := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
		q.SetBasicAuth("ann", "secret")
		v := newBusy(t, s).Admit(httptest.NewRecorder(), q, inside, "/old")
		is.Equal(v, rules.Verdict{Reason: reason.Gone, Err: context.Canceled, Waited: time.Second})
	})
}

// upload returns a request with a body of known length; or of unknown, if that is -1.
func upload(body string, length int64) *http.Request {
	q := httptest.NewRequest("POST", "/", io.NopCloser(strings.NewReader(body)))
	q.ContentLength = length
	return q
}

func never() bool { return false }

func TestBodyPassesAsItComesUnlessSomethingIsSaid(t *testing.T) {
	is := is.New(t)
	for _, r := range []*rules.Rules{new(rules.Rules), newRules(t, rules.Settings{}), newRules(t, rules.Settings{MaxResponseBody: 1, Buffer: rules.Buffer{Responses: true}})} {
		q := upload("hello", 5)
		out, body, v := r.TakeBody(httptest.NewRecorder(), q, never)
		is.True(out == q && body == nil)
		is.Equal(v, rules.Verdict{})
	}
	q := httptest.NewRequest("GET", "/", nil)
	out, body, v := newRules(t, rules.Settings{MaxRequestBody: 1, Buffer: rules.Buffer{Requests: true}}).TakeBody(httptest.NewRecorder(), q, never)
	is.True(out == q && body == nil) // it has none
	is.Equal(v, rules.Verdict{})
}

func TestBodyThatSaysItIsTooLargeIsNotRead(t *testing.T) {
	for name, ahead := range map[string]bool{"limited": false, "buffered": true} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			r := newRules(t, rules.Settings{MaxRequestBody: 4, Buffer: rules.Buffer{Requests: ahead}})
			q := upload("hello", 5)
			_, _, v := r.TakeBody(httptest.NewRecorder(), q, never)
			is.Equal(v, rules.Verdict{Reason: reason.RequestTooLarge, Err: buffer.ErrTooLarge, IsLast: true})
			rest, _ := io.ReadAll(q.Body)
			is.Equal(string(rest), "hello")

			out, body, v := r.TakeBody(httptest.NewRecorder(), upload("hell", 4), never)
			is.Equal(v.Reason, reason.None) // it is just as long as it may be
			if ahead {
				defer body.Close()
			}
			whole, err := io.ReadAll(out.Body)
			is.NoErr(err)
			is.Equal(string(whole), "hell")
		})
	}
}

func TestBodyThatTurnsOutTooLargeIsCutOff(t *testing.T) {
	is := is.New(t)
	q := upload("hello", -1)
	out, body, v := newRules(t, rules.Settings{MaxRequestBody: 4}).TakeBody(httptest.NewRecorder(), q, never)
	is.True(out != q && body == nil)
	is.Equal(v, rules.Verdict{})
	_, err := io.ReadAll(out.Body)
	is.True(errors.Is(err, buffer.ErrTooLarge))

	_, _, v = newRules(t, rules.Settings{MaxRequestBody: 4, Buffer: rules.Buffer{Requests: true}}).TakeBody(httptest.NewRecorder(), upload("hello", -1), never)
	is.Equal(v.Reason, reason.RequestTooLarge)
	is.True(errors.Is(v.Err, buffer.ErrTooLarge))
	is.True(v.IsLast)
}

func TestBufferedBodyIsReadToItsEnd(t *testing.T) {
	r := newRules(t, rules.Settings{Buffer: rules.Buffer{Requests: true}})
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		piped, client := io.Pipe()
		go func() {
			time.Sleep(time.Second)
			io.WriteString(client, "hello")
			client.Close()
		}()
		q := httptest.NewRequest("POST", "/", piped)
		q.ContentLength = -1
		out, body, v := r.TakeBody(httptest.NewRecorder(), q, never)
		defer body.Close()
		is.Equal(v, rules.Verdict{Waited: time.Second})
		is.Equal(out.ContentLength, int64(5))
		whole, err := io.ReadAll(out.Body)
		is.NoErr(err)
		is.Equal(string(whole), "hello")
	})
}

func TestBodyOfACallIsNotBufferedForATargetThatTakesCalls(t *testing.T) {
	is := is.New(t)
	r := newRules(t, rules.Settings{Buffer: rules.Buffer{Requests: true}})
	call := func() *http.Request {
		q := upload("hello", -1)
		q.ProtoMajor = 2
		q.Header.Set("Content-Type", grpc.ContentType)
		return q
	}
	q := call()
	out, body, v := r.TakeBody(httptest.NewRecorder(), q, func() bool { return true })
	is.True(out == q && body == nil)
	is.Equal(v, rules.Verdict{})

	_, body, _ = r.TakeBody(httptest.NewRecorder(), call(), never)
	is.Equal(body.Len(), int64(5))
	body.Close()

	_, body, _ = r.TakeBody(httptest.NewRecorder(), upload("hello", 5), func() bool { t.Error("asked about what is no call"); return true })
	is.Equal(body.Len(), int64(5))
	body.Close()
}

func TestBodyThatCannotBeReadEndsTheConnection(t *testing.T) {
	is := is.New(t)
	failure := errors.New("malformed")
	q := httptest.NewRequest("POST", "/", iotest.ErrReader(failure))
	_, body, v := newRules(t, rules.Settings{Buffer: rules.Buffer{Requests: true}}).TakeBody(httptest.NewRecorder(), q, never)
	is.True(body == nil)
	is.Equal(v.Reason, reason.BufferedBody)
	is.True(errors.Is(v.Err, failure))
	is.True(v.IsLast)
}
