package urlpath_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/urlpath"
)

func TestPrefixIsCutInTheBytesThatCame(t *testing.T) {
	for _, tt := range []struct{ target, prefix, want string }{
		{"/api/a%2fb", "/api", "/a%2fb"},
		{"/api/a%2Fb?c=%zz", "/api", "/a%2Fb?c=%zz"},
		{"/api", "/api", "/"},
		{"/api?a", "/api", "/?a"},
		{"/api?", "/api", "/?"},
		{"/api/", "/api", "/"},
		{"/api/x", "/api/", "/x"},
		{"/api/x", "/", "/api/x"},
		{"//api//x", "/", "//api//x"},
		{"*", "", "*"},
		{"/%61pi/x", "/api", "/x"},
		{"/%61%70%69", "/api", "/"},
		{"/api//evil.test/", "/api", "/evil.test/"},
		{"/api////x//y", "/api", "/x//y"},
		{"/api//", "/api", "/"},
		{"/api/%2fevil.test/", "/api", "/%2fevil.test/"},
		{"/a/b/c", "/a/b", "/c"},
		{"/caf%C3%A9/x", "/café", "/x"},
		{"/%30%39%6a%6f%6A%6F/x", "/09jojo", "/x"}, // the digits at both ends, in either case
		{"/api/{}", "/api", "/{}"},
		{"/%/x", "/%", "/x"},
		{"/%4", "/%4", "/"},
		{"/%4g/x", "/%4g", "/x"},
		{"/%g4/x", "/%g4", "/x"},
		{"/%:4%4:%/4", "/%:4%4:%", "/4"}, // beside the digits
		{"/%@4%4@%`4%4`", "/%@4%4@%`4%4`", "/"},
		{"/%G4%4G%g4%4g", "/%G4%4G%g4%4g", "/"},
		{"/%af%AF%fa%FA/x", "/\xaf\xaf\xfa\xfa", "/x"},
	} {
		t.Run(tt.target, func(t *testing.T) {
			is := is.New(t)
			rest, ok := urlpath.CutPrefix(tt.target, tt.prefix)
			is.True(ok)
			is.Equal(rest, tt.want)
		})
	}
}

func TestWhatIsNotBelowThePrefixIsNotCut(t *testing.T) {
	for _, tt := range [][2]string{
		{"/apiary", "/api"}, {"/API/x", "/api"}, {"/api%2fx", "/api"}, {"//api/x", "/api"}, {"/ap", "/api"}, {"/", "/api"}, {"*", "/api"},
		{"/?/api/", "/api"}, {"/ap%", "/api"}, {"/ap%2", "/api"}, {"/api%3Fx", "/api"}, {"/x/api", "/api"}, {"/ap?i/x", "/api"},
		{"/%2fapi/x", "/api"}, {"/a%2fb/c", "/a/b"}, {"%2fapi", "/api"},
	} {
		t.Run(tt[0], func(t *testing.T) {
			is := is.New(t)
			rest, ok := urlpath.CutPrefix(tt[0], tt[1])
			is.True(!ok)
			is.Equal(rest, "")
		})
	}
}

func TestDotsAreFoundHoweverTheyAreWritten(t *testing.T) {
	for target, want := range map[string]bool{
		"/.": true, "/..": true, "/a/./b": true, "/a/../b": true, "/a/..": true, "/%2e": true, "/.%2E/x": true, "/%2e%2e?x": true, "/..?": true, "/a/%2e/": true,
		"/": false, "/a.b": false, "/...": false, "/.a": false, "/..a/": false, "/a../x": false, "/%2e%2e%2e": false, "/a?/../b": false, "/%2f../x": false,
		"/a//../b": true, "/a/%2e.?b": true, "/a/..?b": true, "/../a": true, "/a/.": true,
		"/..%2fx": false, "/%2": false, "": false, "/a%61/b": false, "/x/.?/..": true,
	} {
		t.Run(target, func(t *testing.T) {
			is.New(t).Equal(urlpath.HasDots(target), want)
		})
	}
}

func TestFirstSegmentIsWithoutWhatFollows(t *testing.T) {
	for target, want := range map[string]string{
		"/": "/", "/orders": "/orders", "/orders/7": "/orders", "/orders/": "/orders", "/orders?full=/x": "/orders", "/orders#x/y": "/orders",
		"//x": "/", "/?x": "/", "*": "*", "": "", "?x": "",
	} {
		t.Run(target, func(t *testing.T) {
			is.New(t).Equal(urlpath.FirstSegment(target), want)
		})
	}
}

// FuzzCutPrefix makes sure that what is left is what the client wrote, from some byte
// on, and never another host's.
func FuzzCutPrefix(f *testing.F) {
	f.Add("/api/a%2fb?c", "/api")
	f.Add("/%61pi//x", "/api")
	f.Add("/caf%C3%A9", "/café")
	f.Fuzz(func(t *testing.T, target, prefix string) {
		if !strings.HasPrefix(target, "/") || !strings.HasPrefix(prefix, "/") || strings.Contains(prefix, "?") {
			return
		}
		rest, ok := urlpath.CutPrefix(target, prefix)
		if !ok || strings.TrimSuffix(prefix, "/") == "" {
			return
		}
		if !strings.HasSuffix(target, rest[1:]) || rest[0] != '/' || strings.HasPrefix(rest, "//") {
			t.Errorf("%q below %q became %q", target, prefix, rest)
		}
		path, _, _ := strings.Cut(target, "?")
		decoded, err := url.PathUnescape(path)
		if err == nil && !strings.HasPrefix(decoded+"/", strings.TrimSuffix(prefix, "/")+"/") {
			t.Errorf("%q is not below %q", target, prefix)
		}
	})
}
