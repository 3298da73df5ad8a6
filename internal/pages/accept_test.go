package pages_test

import (
	"html/template"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/pages"
)

func TestClientGetsTheFormatItLikesBest(t *testing.T) {
	const text, json, html = "text/plain", "application/json", "text/html"
	tests := []struct {
		accept string // fields are set apart by |
		want   string
	}{
		// As clients send it.
		{"", text},
		{"*/*", text}, // curl, wget, many libraries
		{browser, html},
		{"application/json", json},
		{"application/json, text/plain, */*", json},                    // axios
		{"application/json, text/javascript, */*; q=0.01", json},       // jQuery
		{"text/html, */*; q=0.01", html},                               // jQuery, for HTML
		{"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", html}, // Java
		{"text/vnd.turbo-stream.html, text/html, application/xhtml+xml", html},
		{"image/avif,image/webp,image/png,*/*;q=0.8", text},
		{"text/event-stream", text},
		{"application/vnd.api+json", json},
		{"application/problem+json, application/json", json},

		// Weights.
		{"text/html;q=0.5, application/json", json},
		{"text/html;q=0.5, application/json;q=0.4", html},
		{"text/html;q=0.5, application/json;q=0.501", json},
		{"text/html;q=0.5, text/plain;q=0.7", text},
		{"text/html;q=0.9, */*", text},
		{"text/html;q=1.000, application/json;q=0.999", html},
		{"TEXT/HTML;Q=0.9, Application/JSON;q=0.8", html},
		{"application/json \t;\t q=0.3 , text/html ; q=0.2", json},
		{"text/plain;q=0.2|application/json;q=0.3", json},
		{",,application/json,,", json},

		// Ties go to what was named, and then to HTML.
		{"application/json, text/html", html},
		{"text/html, application/json", html},
		{"text/html, text/plain", html},
		{"text/plain, application/json", json},
		{"text/plain, */*", text},
		{"application/json, */*", json},
		{"text/html;q=0.3, */*;q=0.3", html},
		{"text/*", text},
		{"text/*, application/json", json},
		{"application/*", json},

		// The closest range counts.
		{"text/*;q=0.3, text/html;q=0.7, text/html;level=1, */*;q=0.5", html},
		{"text/html;q=0.1, text/*;q=0.3, application/*;q=0.2", text},
		{"*/*, text/plain;q=0.1, application/*;q=0.2, text/html;q=0.3", html},
		{"text/html;level=1;q=0.9, text/html;q=0.1, application/json;q=0.5", json},
		{"application/json;charset=utf-8", json},
		{"application/ld+json;q=0.1, application/json;q=0.9, text/html;q=0.5", json},

		// What is not wanted.
		{"*/*, text/plain;q=0", json},
		{"*/*, text/plain;q=0, application/json;q=0", html},
		{"*/*;q=0", text}, // nothing is left
		{"text/html;q=0", text},
		{"text/html;q=0, application/json;q=0.001", json},

		// What cannot be understood is passed over.
		{"text/html;q=2, application/json;q=0.1", json},
		{"text/html;q=-1, application/json;q=0.1", json},
		{"text/html;q=x, application/json;q=0.1", json},
		{"text/html;q=, application/json;q=0.1", json},
		{"text/html;q=., application/json;q=0.1", json},
		{"text/html;q=1.1, application/json;q=0.1", json},
		{"text/html;q=0.9999, application/json;q=0.1", json},
		{"text/html;q=NaN, application/json;q=0.1", json},
		{"text", text},
		{"+json", text},
		{";q=1", text},
		{"text/html charset=utf-8", text},

		// Quoted strings.
		{`text/html;a="x,application/json;q=1,";q=0.2, application/json;q=0.1`, html},
		{`text/html;a="\",application/json";q=0.2, application/json;q=0.1`, html},
		{`application/json;a="q=0;`, json},
		{`application/json;a="\`, json},
	}
	for _, tt := range tests {
		t.Run(tt.accept, func(t *testing.T) {
			is := is.New(t)
			is.Equal(chosen(new(pages.Set), strings.Split(tt.accept, "|")...), tt.want)
		})
	}
}

func TestPageOfOnesOwnIsForThoseWithoutAPreferenceToo(t *testing.T) {
	const text, json, html = "text/plain", "application/json", "text/html"
	own := pages.New(template.Must(template.New("404.html").Parse("gone")))
	for _, tt := range []struct{ accept, want string }{
		{"", html},
		{"*/*", html}, // curl
		{browser, html},
		{"image/avif,image/webp,image/png,*/*;q=0.8", html},
		{"text/*", html},
		{"*/*, text/plain;q=0", html},
		{"application/json", json},
		{"application/json, text/plain, */*", json},
		{"application/*", json},
		{"*/*, text/html;q=0.5", text}, // others are liked better
		{"text/plain", text},
		{"text/plain, */*", text},
		{"text/html, text/plain", html},
		{"text/event-stream", text},
		{"*/*;q=0", text},
		{"text/html;q=0", text},
	} {
		t.Run(tt.accept, func(t *testing.T) {
			is := is.New(t)
			var accept []string
			if tt.accept != "" {
				accept = strings.Split(tt.accept, "|")
			}
			is.Equal(chosen(own, accept...), tt.want)
		})
	}
}

// chosen returns what a client with these Accept fields gets from s for a 404.
func chosen(s *pages.Set, accept ...string) string {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header["Accept"] = accept
	w := make(discard)
	s.Write(w, r, pages.Page{Status: 404})
	kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
	return kind
}

// Whatever it holds, an Accept is understood without regard to letter case, to
// the order of its elements, and to their being one field or several.
func FuzzAccept(f *testing.F) {
	for _, seed := range []string{browser, "", `a/b;c="d,e\"";q=0.5,*/*;q=0`, "text/*;q=.3,application/x+json", `"`, ",;=,"} {
		f.Add(seed, "application/json;q=0.7")
	}
	built := new(pages.Set)
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.Contains(a, `"`) || strings.Contains(b, `"`) {
			chosen(built, a, b) // may swallow what follows, but not fail
			return
		}
		is := is.New(t)
		want := chosen(built, a, b)
		is.True(slices.Contains([]string{"text/plain", "text/html", "application/json"}, want))
		is.Equal(chosen(built, b, a), want)      // in other order
		is.Equal(chosen(built, a+" , "+b), want) // in one field
		is.Equal(chosen(built, upper(a), upper(b)), want)
		is.Equal(chosen(built, strings.Split(a+","+b, ",")...), want) // in a field each
	})
}

// upper makes ASCII letters large, and leaves other bytes alone.
func upper(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}
