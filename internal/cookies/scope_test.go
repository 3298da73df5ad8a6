package cookies_test

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/cookies"
)

func TestScopeChangesThePathAlone(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"root", "a=1; Path=/", "a=1; Path=/api"},
		{"below", "a=1; Path=/x", "a=1; Path=/api/x"},
		{"slash at the end", "a=1; Path=/x/", "a=1; Path=/api/x/"},
		{"two slashes", "a=1; Path=//", "a=1; Path=/api//"},
		{"the prefix", "a=1; Path=/api", "a=1; Path=/api"},
		{"the prefix and a slash", "a=1; Path=/api/", "a=1; Path=/api/"},
		{"below the prefix already", "a=1; Path=/api/x", "a=1; Path=/api/x"},
		{"begins alike", "a=1; Path=/apiary", "a=1; Path=/api/apiary"},
		{"another case", "a=1; Path=/API", "a=1; Path=/api/API"},
		{"an odd path", "a=1; Path=/x y=%2F\xff,\"", "a=1; Path=/api/x y=%2F\xff,\""},
		{"none", "a=1; HttpOnly", "a=1; HttpOnly; Path=/api"},
		{"only a pair", "a=1", "a=1; Path=/api"},
		{"nothing", "", "; Path=/api"},
		{"empty", "a=1; Path=", "a=1; Path=; Path=/api"},
		{"without a sign", "a=1; Path; Secure", "a=1; Path; Secure; Path=/api"},
		{"relative", "a=1; Path=x", "a=1; Path=x; Path=/api"},
		{"quoted, which no browser takes", `a=1; Path="/x"`, `a=1; Path="/x"; Path=/api`},
		{"case and space", "a=1;  PATH \t= \t/x\t ;Secure", "a=1;  PATH \t= \t/api/x\t ;Secure"},
		{"root and space", "a=1; path=/ ; Secure", "a=1; path=/api ; Secure"},
		{"several, of which the last counts", "a=1; Path=/x; Path=/; Path=y", "a=1; Path=/api/x; Path=/api; Path=y; Path=/api"},
		{"in the value", "a=Path=/x", "a=Path=/x; Path=/api"},
		{"in the name", "Path=/x", "Path=/x; Path=/api"},
		{"in another attribute", "a=1; XPath=/x; X=Path=/x; Path-X=/", "a=1; XPath=/x; X=Path=/x; Path-X=/; Path=/api"},
		{
			"all else stays",
			"a=\"1\"; Expires=Wed, 21 Oct 2026 07:28:00 GMT; max-AGE=-x;;SameSite=lax;Domain=.a.test; Path=/;\x01=; Partitioned;",
			"a=\"1\"; Expires=Wed, 21 Oct 2026 07:28:00 GMT; max-AGE=-x;;SameSite=lax;Domain=.a.test; Path=/api;\x01=; Partitioned;",
		},
		{"of the whole host", "__Host-a=1; Secure; Path=/", "__Host-a=1; Secure; Path=/"},
		{"of the whole host, any case", " __hOST-a=1; Secure; Path=/", " __hOST-a=1; Secure; Path=/"},
		{"of the whole host, with nothing behind", "__Host-; Secure; Path=/", "__Host-; Secure; Path=/"},
		{"not of the whole host", "__Secure-a=1; Secure; Path=/", "__Secure-a=1; Secure; Path=/api"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(scoped(tt.in, "/api", "a.test"), tt.want)
			is.Equal(scoped(tt.want, "/api", "a.test"), tt.want) // and doing it again changes nothing
		})
	}
}

// A browser sends such a cookie to every host of its Domain, where the paths are
// other apps'.
func TestScopeLeavesACookieThatIsForOtherHosts(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"a wider one", "a=1; Domain=example.com; Path=/x", ""},
		{"a wider one, with a dot", "a=1; Domain=.example.com; Path=/x", ""},
		{"a wider one, without a path", "a=1; domain = example.com", ""},
		{"another one", "a=1; Path=/; Domain=other.test", ""},
		{"its end alone", "a=1; Path=/; Domain=p.example.com", ""},
		{"the last one", "a=1; Path=/; Domain=app.example.com; Domain=example.com", ""},
		{"the last one that is not empty", "a=1; Path=/; Domain=example.com; Domain=; Domain", ""},
		{"the host", "a=1; Domain=app.example.com; Path=/", "a=1; Domain=app.example.com; Path=/api"},
		{"the host, with a dot and in any case", "a=1; DOMAIN=.App.Example.com ; Path=/", "a=1; DOMAIN=.App.Example.com ; Path=/api"},
		{"the host in the end", "a=1; Domain=example.com; Domain=app.example.com", "a=1; Domain=example.com; Domain=app.example.com; Path=/api"},
		{"an empty one", "a=1; Domain=; Path=/", "a=1; Domain=; Path=/api"},
		{"in the value", "a=1 Domain=x.test; Path=/", "a=1 Domain=x.test; Path=/api"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(scoped(tt.in, "/api", "app.example.com"), cmp.Or(tt.want, tt.in))
		})
	}
}

func TestScopeLeavesWhatOthersShare(t *testing.T) {
	is := is.New(t)
	set := []string{"a=1; Path=/", "b=2", "c=3; Path=/x"}
	shared := slices.Clone(set)
	h := http.Header{"Set-Cookie": shared, "X-Path": {"a=1; Path=/"}}
	cookies.Scope(h, "/api", "a.test")
	is.Equal(shared, set)                                                                       // the slice itself
	is.Equal(h["Set-Cookie"], []string{"a=1; Path=/api", "b=2; Path=/api", "c=3; Path=/api/x"}) // in their order
	is.Equal(h["X-Path"], []string{"a=1; Path=/"})                                              // another field
}

func TestScopeDoesNothingWithoutAPrefixThatAPathCanHold(t *testing.T) {
	for _, prefix := range []string{"", "/a;b"} {
		is := is.New(t)
		is.Equal(scoped("a=1; Path=/", prefix, "a.test"), "a=1; Path=/")
	}
	is := is.New(t)
	h := http.Header{"Content-Type": {"text/html"}}
	before := maps.Clone(h)
	cookies.Scope(h, "/api", "a.test")
	is.Equal(h, before)
}

// FuzzScope takes a cookie to pieces before and after: only values of Path
// differ, and a browser takes the cookie for a path below the prefix.
func FuzzScope(f *testing.F) {
	f.Add("a=1; Path=/; HttpOnly", "/api", "a.test")
	f.Add("a=1;path = /api/x ;Path;=;;", "/api", "")
	f.Add("__Host-a=1; Path=/", "/a/b", "a.test")
	f.Add("a=1; Path=/b; Path=x; domain=.A.test", "/a", "a.test")
	f.Add("a=1; Path=/b; Domain=test", "/a", "a.test")
	f.Fuzz(func(t *testing.T, cookie, prefix, host string) {
		if len(prefix) < 2 || prefix[0] != '/' || strings.HasSuffix(prefix, "/") || strings.ContainsAny(prefix, "; \t\r\n") ||
			strings.ContainsAny(cookie, "\r\n") {
			return
		}
		got := scoped(cookie, prefix, host)
		before, after := strings.Split(cookie, ";"), strings.Split(got, ";")
		ofHost := strings.HasPrefix(strings.ToLower(strings.TrimLeft(before[0], " \t")), "__host-")
		if ofHost && got != cookie {
			t.Errorf("%q became %q", cookie, got)
		}
		if got == cookie && (ofHost || strings.Contains(strings.ToLower(cookie), "domain")) {
			return // it is for others, too
		}
		if len(after) == len(before)+1 {
			if last := after[len(before)]; last != " Path="+prefix {
				t.Errorf("%q was added to %q", last, cookie)
			}
		} else if len(after) != len(before) {
			t.Fatalf("%q became %q", cookie, got)
		}
		for i, piece := range before {
			path := ""
			if name, value, _ := strings.Cut(piece, "="); i > 0 && strings.EqualFold(strings.Trim(name, " \t"), "path") {
				path = strings.TrimLeft(value, " \t")
			}
			head := piece[:len(piece)-len(path)]
			switch rest, ok := strings.CutPrefix(after[i], head); {
			case !ok:
				t.Errorf("%q became %q", piece, after[i])
			case rest == path, rest == prefix+path:
			case strings.Trim(path, " \t") == "/" && rest == prefix+path[1:]:
			default:
				t.Errorf("%q became %q", piece, after[i])
			}
		}
		if path := pathOf(got); path != prefix && !strings.HasPrefix(path, prefix+"/") {
			t.Errorf("%q became %q, which is for %q", cookie, got, path)
		}
		if again := scoped(got, prefix, host); again != got {
			t.Errorf("%q became %q, and then %q", cookie, got, again)
		}
	})
}

// pathOf is where a browser sends a cookie if that is not up to the request's URL.
func pathOf(cookie string) (path string) {
	for _, attribute := range strings.Split(cookie, ";")[1:] {
		if name, value, _ := strings.Cut(attribute, "="); strings.EqualFold(strings.Trim(name, " \t"), "path") {
			path = strings.Trim(value, " \t")
		}
	}
	return path
}

func scoped(cookie, prefix, host string) string {
	h := http.Header{"Set-Cookie": {cookie}}
	cookies.Scope(h, prefix, host)
	return h["Set-Cookie"][0]
}

func BenchmarkScope(b *testing.B) {
	set := []string{"_session=0123456789abcdef; Path=/; HttpOnly; SameSite=Lax; Secure"}
	h := http.Header{"Set-Cookie": set}
	b.ReportAllocs()
	for b.Loop() {
		h["Set-Cookie"] = set
		cookies.Scope(h, "/api", "a.test")
	}
}
