package forward_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/forward"
)

// read parses a request line as the server does.
func read(t *testing.T, method, target string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + target + " HTTP/1.1\r\nHost: app.test\r\n\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTargetGoesOnAsItCame(t *testing.T) {
	for _, target := range []string{
		"/", "/a", "/a?", "/a??", "/a?b=c&d", "/a%2Fb{}", "/a%2fb", "/a%20b", "/%41", "/a;params=1", `/a\b`, "/a?%zz",
		"/a?b{}|^`\"<>", "//api/x", "/a//b/", "/.a/..b/...", "/a/?../.", "/%2e%2e%2e/a.", "/\xff\xfe", "/a?\xff", "/*", "/a+b?c+d", "/a:80", "/a%25b", "/a%2541",
		"/..%2fx", "/http://evil.test/", "/a?http://evil.test/",
	} {
		t.Run(target, func(t *testing.T) {
			is := is.New(t)
			got, err := forward.RequestTarget(read(t, "GET", target), "")
			is.NoErr(err)
			is.Equal(got, target)
		})
	}
}

func TestTargetOfAbsoluteFormIsWhatFollowsTheAuthority(t *testing.T) {
	for target, want := range map[string]string{
		"http://app.test/a%2Fb?c=d":  "/a%2Fb?c=d",
		"HTTPS://app.test:8443/a":    "/a",
		"http://app.test":            "/",
		"http://app.test?a/b":        "/?a/b",
		"http://app.test?":           "/?",
		"http://app.test//b":         "//b",
		"http://[::1]:80/a":          "/a",
		"http://app.test/http://b/c": "/http://b/c",
	} {
		t.Run(target, func(t *testing.T) {
			is := is.New(t)
			got, err := forward.RequestTarget(read(t, "GET", target), "")
			is.NoErr(err)
			is.Equal(got, want)
		})
	}
}

func TestOptionsOfAnAuthorityAloneIsAboutTheWholeServer(t *testing.T) {
	for target, want := range map[string]string{
		"http://app.test":       "*",
		"HTTPS://app.test:8443": "*",
		"http://[::1]":          "*",
		"http://app.test/":      "/",
		"http://app.test?":      "/?",
		"http://app.test?a":     "/?a",
		"http://app.test/a":     "/a",
		"/":                     "/",
	} {
		t.Run(target, func(t *testing.T) {
			is := is.New(t)
			r := read(t, "OPTIONS", target)
			for _, prefix := range []string{"", "/"} {
				got, err := forward.RequestTarget(r, prefix)
				is.NoErr(err)
				is.Equal(got, want)
			}
			if want == "*" {
				_, err := forward.RequestTarget(r, "/api")
				is.True(err != nil) // it is not below a prefix
				r.URL.Path = "/api/a"
				got, err := forward.RequestTarget(r, "/api")
				is.NoErr(err)
				is.Equal(got, "/a") // an outer handler has made a path of it
			}
		})
	}
}

func TestTargetRefusesWhatIsNoPath(t *testing.T) {
	for _, target := range []string{
		"x:http://evil/admin", "http:.evil.test/", "http:/a", "http:///a", "ftp://app.test/a", "x://app.test/a", "mailto:a@b",
		"*", "/x#frag", "/x?a#frag", "/#", "http://app.test/#", "http://user@app.test/", "http://user:pw@app.test/a",
	} {
		t.Run(target, func(t *testing.T) {
			is := is.New(t)
			got, err := forward.RequestTarget(read(t, "GET", target), "")
			is.True(err != nil) // refused
			is.Equal(got, "")
		})
	}
}

// Whoever resolves them sees another path than the one that was routed. In which forms they
// are found, package urlpath tests.
func TestTargetRefusesDotSegments(t *testing.T) {
	for _, target := range []string{"/.", "/a/..?b", "/%2E%2e/a", "http://app.test/a/../b"} {
		t.Run(target, func(t *testing.T) {
			is := is.New(t)
			_, err := forward.RequestTarget(read(t, "GET", target), "")
			is.True(err != nil) // refused
		})
	}
}

// HTTP/2 has targets and methods come as they like.
func TestTargetRefusesWhatWouldEndTheRequestLine(t *testing.T) {
	for _, tt := range []struct{ method, uri string }{
		{"GET", "/a HTTP/1.1"}, {"GET", "/a b"}, {"GET", "/a\tb"}, {"GET", "/a\r\nX: y"}, {"GET", "/a\x7f"}, {"GET", "/a\x00"},
		{"GET", "admin"}, {"GET", "?a"}, {"GET", "app.test:80"},
		{"GET /admin HTTP/1.1", "/"}, {"", "/"}, {"GE\rT", "/"}, {"GÉT", "/"},
	} {
		t.Run(tt.method+" "+tt.uri, func(t *testing.T) {
			is := is.New(t)
			r := read(t, "GET", "/")
			r.Method, r.RequestURI = tt.method, tt.uri
			r.URL.Path = tt.uri
			_, err := forward.RequestTarget(r, "")
			is.True(err != nil) // refused
		})
	}
}

// What is below a prefix, package urlpath tests.
func TestTargetBelowAPrefixIsCutInTheBytesThatCame(t *testing.T) {
	for _, tt := range []struct{ target, prefix, want string }{
		{"/api/a%2Fb?c=%zz", "/api", "/a%2Fb?c=%zz"},
		{"/api/x", "/", "/api/x"},
		{"/%61pi?a", "/api", "/?a"},
		{"/api//evil.test/", "/api", "/evil.test/"},
		{"http://app.test/api/x", "/api", "/x"},
		{"http://app.test/api", "/api", "/"},
	} {
		t.Run(tt.target, func(t *testing.T) {
			is := is.New(t)
			got, err := forward.RequestTarget(read(t, "GET", tt.target), tt.prefix)
			is.NoErr(err)
			is.Equal(got, tt.want)
		})
	}
}

func TestTargetRefusesWhatIsNotBelowThePrefix(t *testing.T) {
	for _, target := range []string{"/apiary", "//api/x", "/", "/ap%2", "http://app.test/", "http://api/x"} {
		t.Run(target, func(t *testing.T) {
			is := is.New(t)
			r := read(t, "GET", "/")
			r.RequestURI, r.URL.Path, r.URL.RawPath = target, target, target
			got, err := forward.RequestTarget(r, "/api")
			is.True(err != nil) // refused
			is.Equal(got, "")
		})
	}
}

func TestTargetFollowsAnOuterHandler(t *testing.T) {
	strip := func(prefix string) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler { return http.StripPrefix(prefix, h) }
	}
	set := func(path, raw, query string) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.URL.Path, r.URL.RawPath, r.URL.RawQuery = path, raw, query
				h.ServeHTTP(w, r)
			})
		}
	}
	for _, tt := range []struct {
		name, target string
		outer        func(http.Handler) http.Handler
		want         string
	}{
		{"StripPrefix", "/api/a?b", strip("/api"), "/a?b"},
		{"StripPrefix and encoded bytes", "/api/a%2Fb{}", strip("/api"), "/a%2Fb{}"},
		{"StripPrefix and default encoding", "/api/a%20b", strip("/api"), "/a%20b"},
		{"StripPrefix of everything", "/api", strip("/api"), "/"},
		{"StripPrefix with the slash", "/api/a", strip("/api/"), "/a"},
		{"StripPrefix and question mark", "/api/a?", strip("/api"), "/a?"},
		{"other path, same query", "/a?%zz", set("/b c", "", "%zz"), "/b%20c?%zz"},
		{"stale raw path", "/a%2Fb", set("/c", "/a%2Fb", ""), "/c"},
		{"same path, otherwise encoded", "/a%2Fb", set("/a/b", "/a/b", ""), "/a/b"},
		{"same path, other query", "/a%2Fb{}?c", set("/a/b{}", "/a%2Fb{}", "d"), "/a%2Fb{}?d"},
		{"query removed", "/a?c", set("/a", "", ""), "/a"},
		{"query added", "/a", set("/a", "", "c"), "/a?c"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			var got string
			var err error
			h := tt.outer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got, err = forward.RequestTarget(r, "") }))
			h.ServeHTTP(httptest.NewRecorder(), read(t, "GET", tt.target))
			is.NoErr(err)
			is.Equal(got, tt.want)
		})
	}
	is := is.New(t)
	r := read(t, "GET", "/a")
	r.URL.Opaque = "//evil.test/"
	_, err := forward.RequestTarget(r, "")
	is.True(err != nil) // an opaque URL is refused
}

func TestTargetOfARequestThatAHandlerMadeIsItsURL(t *testing.T) {
	is := is.New(t)
	r, err := http.NewRequest("GET", "http://app.test/a%2Fb?c", nil)
	is.NoErr(err)
	got, err := forward.RequestTarget(r, "")
	is.NoErr(err)
	is.Equal(got, "/a%2Fb?c")
}
