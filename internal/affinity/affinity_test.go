package affinity_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/affinity"
)

type candidate string

func (c candidate) Token() string { return affinity.Token([]byte("key"), "web", string(c)) }

func all(candidate) bool { return true }

// visitor returns who sends back the cookie of a visitor who was sent to c.
func visitor(t *testing.T, c candidate) affinity.Visitor {
	t.Helper()
	cookie, err := affinity.Parse("cookie", nil)
	if err != nil {
		t.Fatal(err)
	}
	value, _, _ := strings.Cut(cookie.Set(affinity.Visitor{}, c.Token(), "", false)[0], ";")
	return affinity.VisitorOf(http.Header{"Cookie": {value}}, affinity.DefaultCookie)
}

func TestTokensTellNothingWithoutTheKey(t *testing.T) {
	is := is.New(t)
	token := affinity.Token([]byte("key"), "web", "10.0.0.7:3000")
	is.Equal(token, affinity.Token([]byte("key"), "web", "10.0.0.7:3000")) // in every process
	for _, other := range []string{
		affinity.Token([]byte("kez"), "web", "10.0.0.7:3000"),
		affinity.Token([]byte("key"), "web", "10.0.0.8:3000"),
		affinity.Token([]byte("key"), "api", "10.0.0.7:3000"),
		affinity.Token([]byte("key"), `web" "10.0.0.7:3000`, ""),
	} {
		is.True(other != token)
	}
	key, other := affinity.NewKey(), affinity.NewKey()
	is.Equal(len(key), 32)
	is.True(string(key) != string(other))
}

func TestVisitorStaysWhereTheyAre(t *testing.T) {
	is := is.New(t)
	candidates := []candidate{"a", "b", "c"}
	for _, c := range candidates {
		for range 20 {
			picked, ok := affinity.Pick(visitor(t, c), candidates, all)
			is.True(ok)
			is.Equal(picked, c)
		}
	}
}

// They may all be under way at once.
func TestRequestsOfAVisitorMoveToTheSamePlace(t *testing.T) {
	is := is.New(t)
	next := []candidate{"d", "e", "f"}
	count := make(map[candidate]int)
	for range 300 {
		v := visitor(t, "a")
		first, ok := affinity.Pick(v, next, all)
		is.True(ok)
		for range 3 {
			again, _ := affinity.Pick(v, next, all)
			is.Equal(again, first)
		}
		count[first]++
	}
	for _, c := range next {
		is.True(count[c] > 50) // the visitors of one are spread over all
	}
}

func TestOnlyWhoSuitsIsPicked(t *testing.T) {
	is := is.New(t)
	candidates := []candidate{"a", "b"}
	picked, ok := affinity.Pick(visitor(t, "a"), candidates, func(c candidate) bool { return c != "a" })
	is.True(ok)
	is.Equal(picked, candidate("b"))
	_, ok = affinity.Pick(visitor(t, "a"), candidates, func(candidate) bool { return false })
	is.True(!ok)
	_, ok = affinity.Pick(visitor(t, "a"), nil, all)
	is.True(!ok)
}

func TestCookiesThatCannotBeOursCountForNothing(t *testing.T) {
	is := is.New(t)
	token := candidate("a").Token()
	for _, value := range []string{
		"", "ABCD", "ABCD.", "." + token, "ABC." + token, "ABCDE." + token, "ABCD" + token, "abcd." + token, "AB.D." + token,
		"ABCD." + token[:7], "ABCD." + token + "A", "ABCD." + token + ".", "ABCD." + token + "." + token + "." + token,
		"ABCD." + strings.ToLower(token), "ABC1." + token, "ABCD.10.0.0.7", "ABCD," + token, strings.Repeat("A", 10000),
	} {
		v := affinity.VisitorOf(http.Header{"Cookie": {"parachute-affinity=" + value}}, "parachute-affinity")
		is.True(!v.IsKnown())  // value
		is.True(!v.Has(token)) // value
		is.True(!v.Has(""))    // value
	}
	is.True(!affinity.VisitorOf(http.Header{"Cookie": {"other=ABCD." + token}}, "parachute-affinity").IsKnown())
	is.True(!affinity.VisitorOf(nil, "parachute-affinity").IsKnown())
}

// A service below / and one below /api may each have set one.
func TestAllCookiesOfTheNameAreLookedAt(t *testing.T) {
	is := is.New(t)
	a, b, c := candidate("a").Token(), candidate("b").Token(), candidate("c").Token()
	v := affinity.VisitorOf(http.Header{"Cookie": {"sid=ABCD." + a + "; x=y; sid=no", "sid=EFGH." + b + "." + c}}, "sid")
	is.True(v.IsKnown())
	is.True(v.Has(a))
	is.True(v.Has(b))
	is.True(v.Has(c))
	is.True(!v.Has(candidate("d").Token()))

	many := http.Header{"Cookie": {strings.Repeat("sid=no; ", 8) + "sid=ABCD." + a}}
	is.True(!affinity.VisitorOf(many, "sid").IsKnown()) // nobody has so many
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
		c, err := affinity.Parse("cookie", tt.prefixes)
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
			v := affinity.VisitorOf(http.Header{"Cookie": {cookie.Name + "=" + cookie.Value}}, cookie.Name)
			is.True(v.Has("AAAAAAAA") && v.Has("BBBBBBBB"))
			is.True(strings.HasPrefix(c.Set(v, "CCCCCCCC", "", false)[0], cookie.Name+"="+cookie.Value[:4]+".CCCCCCCC;")) // who moves is the same visitor
		}
	}
}

func TestRulesForCookiesAreParsed(t *testing.T) {
	is := is.New(t)
	c, err := affinity.Parse("cookie=sid", nil)
	is.NoErr(err)
	is.Equal(c.Name, "sid")
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
		_, err := affinity.Parse(rule, nil)
		is.True(err != nil) // rule
		is.Equal(err.Error(), want)
	}
	_, err = affinity.Parse("cookie="+strings.Repeat("a", 129), nil)
	is.True(err != nil && strings.Contains(err.Error(), "a name of 129 bytes: want at most 128"))
}

func BenchmarkPick(b *testing.B) {
	var candidates []candidate
	for i := range 10 {
		candidates = append(candidates, candidate(fmt.Sprintf("web-%d:3000", i)))
	}
	h := http.Header{"Cookie": {"a=b; parachute-affinity=ABCD.AAAAAAAA"}}
	b.ReportAllocs()
	for b.Loop() {
		affinity.Pick(affinity.VisitorOf(h, affinity.DefaultCookie), candidates[:0], all)
	}
}
