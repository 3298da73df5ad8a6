package location_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/location"
)

func TestURLsOfTheTargetBecomeTheClients(t *testing.T) {
	own := location.NewOrigin(false, "10.0.0.7:3000")
	plain, secure := location.NewOrigin(false, "web-1:80"), location.NewOrigin(true, "web-1:443")
	for _, tt := range []struct {
		origin location.Origin
		prefix string
		paths  bool
		from   string
		want   string // "": as it was
	}{
		{origin: own, from: "http://10.0.0.7:3000/dir/", want: "/dir/"},
		{origin: own, from: "http://10.0.0.7:3000/dir/?a=b#c", want: "/dir/?a=b#c"},
		{origin: own, from: "HTTP://10.0.0.7:3000", want: "/"},
		{origin: own, from: "http://10.0.0.7:3000?a=b", want: "/?a=b"},
		{origin: own, from: "http://10.0.0.7:3000#c", want: "/#c"},
		{origin: own, prefix: "/app", from: "http://10.0.0.7:3000/dir/", want: "/app/dir/"},
		{origin: own, prefix: "/app", from: "http://10.0.0.7:3000", want: "/app/"},
		{origin: own, prefix: "/app", from: "http://10.0.0.7:3000/app/dir/", want: "/app/dir/"},
		{origin: own, prefix: "/app", from: "http://10.0.0.7:3000/apple", want: "/app/apple"},
		{origin: own, prefix: "/app", from: "http://10.0.0.7:3000/app?a=b", want: "/app?a=b"},

		{origin: own, from: "http://10.0.0.7:30000/"},
		{origin: own, from: "http://10.0.0.7/"},
		{origin: own, from: "https://10.0.0.7:3000/"},
		{origin: own, from: "//10.0.0.7:3000/"},
		{origin: own, from: "http://10.0.0.7:3000@evil.test/"},
		{origin: own, from: "http://10.0.0.7:3000.evil.test/"},
		{origin: own, from: "http://10.0.0.7:3000\\evil.test/"},
		{origin: own, from: "http://x@10.0.0.7:3000/"},
		{origin: own, from: "http://app.test/?next=http://10.0.0.7:3000/"},
		{origin: own, from: ""},
		{origin: location.Origin{}, from: "http:///dir/"},
		{origin: location.Origin{}, from: "/dir/"},

		{origin: own, from: "http://10.0.0.7:3000//evil.test/", want: "/.//evil.test/"},
		{origin: own, from: "http://10.0.0.7:3000/\\evil.test/", want: "/./\\evil.test/"},
		{origin: own, from: "http://10.0.0.7:3000/\t/evil.test/"},
		{origin: own, prefix: "/app", from: "http://10.0.0.7:3000//evil.test/", want: "/app//evil.test/"},

		{origin: plain, from: "http://web-1/x", want: "/x"},
		{origin: plain, from: "http://WEB-1:80/x", want: "/x"},
		{origin: plain, from: "http://web-1:8080/x"},
		{origin: plain, from: "https://web-1/x"},
		{origin: secure, from: "https://web-1/x", want: "/x"},
		{origin: secure, from: "https://web-1:443", want: "/"},
		{origin: secure, from: "http://web-1/x"},

		{origin: own, prefix: "/app", from: "/dir/"}, // paths are not asked for
		{origin: own, prefix: "/app", paths: true, from: "/dir/", want: "/app/dir/"},
		{origin: own, prefix: "/app", paths: true, from: "/", want: "/app/"},
		{origin: own, prefix: "/app", paths: true, from: "/app"},
		{origin: own, prefix: "/app", paths: true, from: "/app/dir"},
		{origin: own, prefix: "/app", paths: true, from: "/apple", want: "/app/apple"},
		{origin: own, prefix: "/app", paths: true, from: "//evil.test/"},
		{origin: own, prefix: "/app", paths: true, from: "/\\evil.test/"},
		{origin: own, prefix: "/app", paths: true, from: "dir/"},
		{origin: own, prefix: "/app", paths: true, from: "../dir/"},
		{origin: own, prefix: "/app", paths: true, from: "?a=b"},
		{origin: own, prefix: "/app", paths: true, from: "https://app.test/dir/"},
		{origin: own, paths: true, from: "/dir/"}, // nothing was cut off
	} {
		for _, name := range []string{"Location", "Content-Location"} {
			is := is.New(t)
			h := http.Header{name: {tt.from}}
			location.Rewrite(h, tt.origin, tt.prefix, tt.paths)
			want := tt.want
			if want == "" {
				want = tt.from
			}
			is.Equal(h, http.Header{name: {want}}) // tt.from
		}
	}
}

func TestPathInARefreshBecomesTheClients(t *testing.T) {
	own := location.NewOrigin(false, "10.0.0.7:3000")
	for from, want := range map[string]string{
		"5; url=http://10.0.0.7:3000/dir/":     "5; url=/app/dir/",
		"5;URL = /dir/":                        "5;URL = /app/dir/",
		"0, url='/dir/'; x":                    "0, url='/app/dir/'; x",
		`0; url="http://10.0.0.7:3000/dir/"`:   `0; url="/app/dir/"`,
		`0; url="/dir/`:                        `0; url="/app/dir/`,
		"5":                                    "5",
		"5; /dir/":                             "5; /dir/",
		"5; url":                               "5; url",
		"5; url=":                              "5; url=",
		"5; url=https://app.test/?url=/dir/":   "5; url=https://app.test/?url=/dir/",
		"5; url=/app/dir/":                     "5; url=/app/dir/",
		"url=/dir/":                            "url=/dir/",
		"5; x=1; url=http://10.0.0.7:3000/dir": "5; x=1; url=http://10.0.0.7:3000/dir",
	} {
		is := is.New(t)
		h := http.Header{"Refresh": {from}}
		location.Rewrite(h, own, "/app", true)
		is.Equal(h, http.Header{"Refresh": {want}}) // from
	}
}

func TestRewriteLeavesWhatOthersShare(t *testing.T) {
	is := is.New(t)
	values := []string{"http://10.0.0.7:3000/dir/"}
	h := http.Header{"Location": values}
	location.Rewrite(h, location.NewOrigin(false, "10.0.0.7:3000"), "", false)
	is.Equal(values, []string{"http://10.0.0.7:3000/dir/"})
	is.Equal(h, http.Header{"Location": {"/dir/"}})

	twice := http.Header{"Location": {"http://10.0.0.7:3000/a", "http://10.0.0.7:3000/b"}}
	location.Rewrite(twice, location.NewOrigin(false, "10.0.0.7:3000"), "", false)
	is.Equal(twice["Location"], []string{"http://10.0.0.7:3000/a", "http://10.0.0.7:3000/b"}) // clients take neither
}

// FuzzRewrite makes sure that no answer leads a client to another host by being
// rewritten.
func FuzzRewrite(f *testing.F) {
	f.Add("http://10.0.0.7:3000//evil.test/", "", true)
	f.Add("http://10.0.0.7:3000/\\evil.test", "/app", true)
	f.Add("/../x", "/app", true)
	f.Fuzz(func(t *testing.T, from, prefix string, paths bool) {
		if prefix != "" && (prefix[0] != '/' || strings.HasSuffix(prefix, "/") || len(prefix) > 1 && (prefix[1] == '/' || prefix[1] == '\\')) {
			return
		}
		h := http.Header{"Location": {from}}
		location.Rewrite(h, location.NewOrigin(false, "10.0.0.7:3000"), prefix, paths)
		to := h["Location"][0]
		if to == from {
			return
		}
		if to == "" || to[0] != '/' || len(to) > 1 && (to[1] == '/' || to[1] == '\\') {
			t.Errorf("%q below %q becomes %q", from, prefix, to)
		}
		if u, err := url.Parse(to); err == nil && u.Host != "" {
			t.Errorf("%q below %q becomes %q, of host %s", from, prefix, to, u.Host)
		}
	})
}

func TestRewriteLooksAtNoFieldThatDoesNotConcernIt(t *testing.T) {
	is := is.New(t)
	h := http.Header{}
	for _, name := range []string{"Location", "Content-Location", "Refresh", "Link", "X-Location"} {
		h[name] = []string{"http://10.0.0.7:3000/a"}
	}
	h["Refresh"] = []string{"5; url=http://10.0.0.7:3000/a"}
	before := h.Clone()
	location.Rewrite(h, location.NewOrigin(false, "10.0.0.7:3000"), "", false)
	for name := range h {
		is.Equal(h.Get(name) != before.Get(name), location.Concerns(name)) // name
	}
}
