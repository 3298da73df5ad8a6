package answer_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/answer"
)

func TestZeroRulesChangeNothing(t *testing.T) {
	is := is.New(t)
	h := http.Header{"Set-Cookie": {"id=1; Path=/"}, "X-Writer-Affinity": {"false"}}
	was := h.Clone()
	var r answer.Rules
	is.True(r.IsZero())
	r.Apply(h, &answer.Request{Method: "POST", Host: "a.test", Prefix: "/api", IsSecure: true})
	is.Equal(h, was)
}

func TestRulesThatChangeSomethingAreNotZero(t *testing.T) {
	is := is.New(t)
	is.True(!(&answer.Rules{ScopeCookies: true}).IsZero())
	is.True(!(&answer.Rules{HSTS: []string{"max-age=1"}}).IsZero())
	is.True(!(&answer.Rules{Headers: func(http.Header) {}}).IsZero())
	is.True((&answer.Rules{WriterAffinity: time.Second}).IsZero()) // which is for who has readers
}

func TestCookiesAreScopedToThePrefixThatWasCutOff(t *testing.T) {
	for _, tt := range []struct {
		scope        bool
		prefix, want string
	}{
		{true, "/api", "id=1; Path=/api"},
		{true, "", "id=1; Path=/"},
		{false, "/api", "id=1; Path=/"},
	} {
		is := is.New(t)
		h := http.Header{"Set-Cookie": {"id=1; Path=/", "all=1; Domain=a.test; Path=/"}}
		r := answer.Rules{ScopeCookies: tt.scope}
		r.Apply(h, &answer.Request{Method: "GET", Host: "App.A.test:8080", Prefix: tt.prefix})
		is.Equal(h["Set-Cookie"], []string{tt.want, "all=1; Domain=a.test; Path=/"}) // tt
		h = http.Header{"Set-Cookie": {"id=1; Path=/; Domain=app.a.test"}}
		r.Apply(h, &answer.Request{Method: "GET", Host: "App.A.test:8080", Prefix: tt.prefix})
		is.Equal(h["Set-Cookie"], []string{tt.want + "; Domain=app.a.test"}) // tt
	}
}

func TestHSTSIsForAnswersOverTLSInPlaceOfTheTargets(t *testing.T) {
	is := is.New(t)
	r := answer.Rules{HSTS: []string{"max-age=1"}}
	h := http.Header{"Strict-Transport-Security": {"max-age=0", "max-age=2"}}
	r.Apply(h, new(answer.Request))
	is.Equal(h["Strict-Transport-Security"], []string{"max-age=0", "max-age=2"})
	r.Apply(h, &answer.Request{IsSecure: true})
	is.Equal(h["Strict-Transport-Security"], []string{"max-age=1"})
	new(answer.Rules).Apply(h, &answer.Request{IsSecure: true})
	is.Equal(h["Strict-Transport-Security"], []string{"max-age=1"})
}

func TestHeadersHaveTheLastWord(t *testing.T) {
	is := is.New(t)
	r := answer.Rules{HSTS: []string{"max-age=1"}, WriterAffinity: time.Second, Headers: func(h http.Header) { clear(h) }}
	h := http.Header{"X": {"1"}}
	r.Apply(h, &answer.Request{Method: "POST", IsSecure: true, HasReaders: true})
	is.Equal(len(h), 0)
}

func TestWriterIsNotedWhereThereAreReaders(t *testing.T) {
	const long = 2 * time.Second
	wrote := answer.Request{Method: "POST", HasReaders: true}
	with := func(change func(*answer.Request)) answer.Request {
		r := wrote
		change(&r)
		return r
	}
	for name, tt := range map[string]struct {
		to       answer.Request
		affinity time.Duration
		says     string // in X-Writer-Affinity
		want     string // of the cookie
	}{
		"POST":        {to: wrote, affinity: long, want: "parachute-writer=946684802000; Path=/; Max-Age=2; HttpOnly; SameSite=Lax"},
		"over TLS":    {to: with(func(r *answer.Request) { r.IsSecure = true }), affinity: long, want: "parachute-writer=946684802000; Path=/; Max-Age=2; HttpOnly; Secure; SameSite=Lax"},
		"DELETE":      {to: with(func(r *answer.Request) { r.Method = "DELETE" }), affinity: long, want: "parachute-writer=946684802000; Path=/; Max-Age=2; HttpOnly; SameSite=Lax"},
		"other word":  {to: wrote, affinity: long, says: "true", want: "parachute-writer=946684802000; Path=/; Max-Age=2; HttpOnly; SameSite=Lax"},
		"GET":         {to: with(func(r *answer.Request) { r.Method = "GET" }), affinity: long},
		"HEAD":        {to: with(func(r *answer.Request) { r.Method = "HEAD" }), affinity: long},
		"no affinity": {to: wrote, affinity: -1},
		"none at all": {to: wrote},
		"app says no": {to: wrote, affinity: long, says: "False"},
		"app says 0":  {to: with(func(r *answer.Request) { r.Method = "GET" }), affinity: long, says: "false"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // whose clock is known
				is := is.New(t)
				h := http.Header{"Set-Cookie": {"id=1"}}
				if tt.says != "" {
					h.Set("X-Writer-Affinity", tt.says)
				}
				r := answer.Rules{WriterAffinity: tt.affinity}
				r.Apply(h, &tt.to)
				is.Equal(slices.Collect(maps.Keys(h)), []string{"Set-Cookie"}) // what the app says is for us
				is.Equal(h["Set-Cookie"][0], "id=1")
				is.Equal(strings.Join(h["Set-Cookie"][1:], " and "), tt.want)
			})
		})
	}
}

func TestWhatAnAppSaysOfItsWriterIsPassedOnWhereThereAreNoReaders(t *testing.T) {
	is := is.New(t)
	r := answer.Rules{WriterAffinity: time.Second}
	h := http.Header{"X-Writer-Affinity": {"false"}}
	r.Apply(h, &answer.Request{Method: "POST"})
	is.Equal(h, http.Header{"X-Writer-Affinity": {"false"}})
}
