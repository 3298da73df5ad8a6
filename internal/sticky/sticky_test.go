package sticky_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/affinity"
	"github.com/shahnk19/parachute/internal/sticky"
)

// A service below / and one below /api may each have set one.
func TestAllCookiesOfTheNameAreLookedAt(t *testing.T) {
	is := is.New(t)
	const a, b, c = "AAAAAAAA", "BBBBBBBB", "CCCCCCCC"
	cookie, err := sticky.Parse("cookie=sid", nil)
	is.NoErr(err)
	v := cookie.Visitor(http.Header{"Cookie": {"sid=ABCD." + a + "; x=y; sid=no", "sid=EFGH." + b + "." + c}})
	is.True(v.IsKnown())
	is.True(v.Has(a))
	is.True(v.Has(b))
	is.True(v.Has(c))
	is.True(!v.Has("DDDDDDDD"))

	is.True(!cookie.Visitor(http.Header{"Cookie": {"other=ABCD." + a}}).IsKnown())
	is.True(!cookie.Visitor(nil).IsKnown())

	many := func(n int) http.Header {
		return http.Header{"Cookie": {strings.Repeat("sid=no; ", n) + "sid=ABCD." + a}}
	}
	is.True(cookie.Visitor(many(7)).IsKnown())
	is.True(!cookie.Visitor(many(8)).IsKnown()) // nobody has so many
}

func TestCookieIsForThePrefixesAndHiddenFromScripts(t *testing.T) {
	for _, tt := range []struct {
		prefixes []string
		secure   bool
		paths    []string
	}{
		{nil, false, []string{"/"}},
		{[]string{"/"}, true, []string{"/"}},
		{[]string{"/api/"}, true, []string{"/api"}},
		{[]string{"/b", "/a", "/b/"}, false, []string{"/a", "/b"}},
		{[]string{"/a%20b"}, false, []string{"/a%20b"}},
		{[]string{"/x/a;b"}, false, []string{"/x"}}, // a Path has none
		{[]string{"/a;b"}, false, []string{"/"}},
	} {
		is := is.New(t)
		c, err := sticky.Parse("cookie", tt.prefixes)
		is.NoErr(err)
		set := c.Set(affinity.Visitor{}, "AAAAAAAA", "BBBBBBBB", tt.secure)
		is.Equal(len(set), len(tt.paths)) // tt.prefixes
		for i, path := range tt.paths {
			cookie, err := http.ParseSetCookie(set[i])
			is.NoErr(err)
			is.NoErr(cookie.Valid())
			is.Equal(cookie.Name, "parachute-affinity")
			is.Equal(cookie.Path, path)
			is.Equal(cookie.MaxAge, 0) // it ends with the browser
			is.True(cookie.HttpOnly)
			is.Equal(cookie.SameSite, http.SameSiteLaxMode)
			is.Equal(cookie.Secure, tt.secure)
			is.Equal(cookie.Domain, "")
			is.Equal(cookie.Unparsed, nil)
			is.Equal(cookie.Value[4:], ".AAAAAAAA.BBBBBBBB")
			v := c.Visitor(http.Header{"Cookie": {cookie.Name + "=" + cookie.Value}})
			is.True(v.Has("AAAAAAAA") && v.Has("BBBBBBBB"))
			is.True(strings.HasPrefix(c.Set(v, "CCCCCCCC", "", false)[0], cookie.Name+"="+cookie.Value[:4]+".CCCCCCCC;")) // who moves is the same visitor
		}
	}
}

func TestRulesForCookiesAreParsed(t *testing.T) {
	is := is.New(t)
	c, err := sticky.Parse("cookie=sid", nil)
	is.NoErr(err)
	is.Equal(c.Name, "sid")
	_, err = sticky.Parse("cookie="+strings.Repeat("a", 128), nil)
	is.NoErr(err)
	for rule, want := range map[string]string{
		"":                         `affinity "": want "cookie", or "cookie=NAME" for a cookie of that name`,
		"ip":                       `affinity "ip": want "cookie", or "cookie=NAME" for a cookie of that name`,
		"Cookie":                   `affinity "Cookie": want "cookie", or "cookie=NAME" for a cookie of that name`,
		"cookie=":                  `affinity "cookie=": the name of a cookie is letters, digits and marks such as '-' and '_', without spaces`,
		"cookie=a b":               `affinity "cookie=a b": the name of a cookie is letters, digits and marks such as '-' and '_', without spaces`,
		"cookie=a=b":               `affinity "cookie=a=b": the name of a cookie is letters, digits and marks such as '-' and '_', without spaces`,
		"cookie=__Host-sid":        `affinity "cookie=__Host-sid": browsers take a cookie of such a name over https only: want another name`,
		"cookie=parachute-rollout": `affinity "cookie=parachute-rollout": the proxy uses this cookie for something else: want another name`,
	} {
		_, err := sticky.Parse(rule, nil)
		is.True(err != nil) // rule
		is.Equal(err.Error(), want)
	}
	_, err = sticky.Parse("cookie="+strings.Repeat("a", 129), nil)
	is.True(err != nil && strings.Contains(err.Error(), "a name of 129 bytes: want at most 128"))
}
