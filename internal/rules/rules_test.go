package rules_test

import (
	"bytes"
	"html/template"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/buffer"
	"github.com/shahnk19/parachute/internal/pages"
	"github.com/shahnk19/parachute/internal/rules"
)

var shared = rules.Shared{
	Pages:  pages.New(template.New("")),
	Checks: make(chan struct{}, 1),
	Spool:  buffer.New(buffer.Options{}),
}

func newRules(t *testing.T, s rules.Settings) *rules.Rules {
	t.Helper()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	r, err := rules.New(&s, shared)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNothingSaidChangesNothing(t *testing.T) {
	is := is.New(t)
	r := newRules(t, rules.Settings{})
	is.True(r.Networks.Allows(netip.MustParseAddr("192.0.2.7")))
	is.True(r.Answer.IsZero())
	is.True(r.Request == nil && r.Users == nil && r.Pages == nil && r.Affinity == nil)
	_, ok := r.Redirects.Location("/old")
	is.True(!ok)
}

func TestEverythingThatIsSaidIsApplied(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	is.NoErr(os.WriteFile(users, []byte("ann:$2y$05$"+strings.Repeat("a", 53)+"\n"), 0o600))
	is.NoErr(os.WriteFile(filepath.Join(dir, "404.html"), []byte("gone"), 0o600))
	r := newRules(t, rules.Settings{
		Access:          rules.Access{Deny: []string{"192.0.2.0/24"}, BasicAuthFile: users},
		Headers:         rules.Headers{Request: []string{"set X-To: app"}, Response: []string{"set X-From: app"}, HSTS: "max-age=1", Release: true, ScopeCookies: true},
		Redirects:       []rules.Redirect{{From: "/old", To: "/new"}},
		ErrorPages:      dir,
		Affinity:        "cookie",
		WriterAffinity:  7,
		MaxResponseBody: 3,
	})
	is.True(!r.Networks.Allows(netip.MustParseAddr("192.0.2.7")))
	is.True(r.Users != nil)
	location, _ := r.Redirects.Location("/old")
	is.Equal(location, "/new")
	is.True(r.Pages != nil)
	is.Equal(r.Affinity.Name, "parachute-affinity")
	h := http.Header{}
	r.Request(h)
	is.Equal(h.Get("X-To"), "app")
	r.Answer.Headers(h)
	is.Equal(h.Get("X-From"), "app")
	is.Equal(r.Answer.HSTS, []string{"max-age=1"})
	is.True(r.Answer.Release && r.Answer.ScopeCookies && r.Answer.WriterAffinity == 7)
	res := &http.Response{Body: io.NopCloser(bytes.NewReader([]byte("long"))), ContentLength: 4, Header: http.Header{}}
	_, err := r.Answer.Take(res, "GET")
	is.True(err != nil) // it has a byte too many
}

func TestTrustIsThatOfTheService(t *testing.T) {
	is := is.New(t)
	own := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	is.Equal(newRules(t, rules.Settings{TrustedProxies: own}).Trusted, own)
	is.Equal(len(newRules(t, rules.Settings{TrustedProxies: own, Trust: rules.Nobody}).Trusted), 0)
	everybody := newRules(t, rules.Settings{TrustedProxies: own, Trust: rules.Everybody}).Trusted
	for _, addr := range []string{"192.0.2.7", "2001:db8::7"} {
		is.True(everybody[0].Contains(netip.MustParseAddr(addr)) || everybody[1].Contains(netip.MustParseAddr(addr)))
	}
}

func TestSettingsThatCannotBeAreRefusedWithWhatWouldBeRight(t *testing.T) {
	for want, s := range map[string]rules.Settings{
		"limits of -1 bytes for a request":      {MaxRequestBody: -1},
		"and -1 for a response":                 {MaxResponseBody: -1},
		`error pages "pages": want an absolute`: {ErrorPages: "pages"},
		`basic auth file "users": want an abs`:  {Access: rules.Access{BasicAuthFile: "users"}},
		`trust in forwarded headers "some": w`:  {Trust: "some"},
		`client header "X Y": want the name`:    {ClientHeader: "X Y"},
		"max-age":                               {Headers: rules.Headers{HSTS: "never"}},
		`header rule "add X: y"`:                {Headers: rules.Headers{Request: []string{"add X: y"}}},
		`want "set NAME: VALUE"`:                {Headers: rules.Headers{Response: []string{"add X: y"}}},
		"redirect from":                         {Redirects: []rules.Redirect{{From: "old", To: "/new"}}},
		"10.0.0":                                {Access: rules.Access{Allow: []string{"10.0.0"}}},
		"no such file":                          {Access: rules.Access{BasicAuthFile: "/nowhere"}},
		"/nowhere":                              {ErrorPages: "/nowhere"},
		"affinity":                              {Affinity: "always"},
	} {
		err := s.Check()
		if err == nil {
			_, err = rules.New(&s, shared)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", s, err, want)
		}
	}
}
