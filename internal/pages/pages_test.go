package pages_test

import (
	"encoding/json"
	"html"
	"html/template"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/pages"
)

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"

var statuses = []int{301, 400, 401, 403, 404, 405, 413, 418, 421, 429, 499, 500, 502, 503, 504, 599}

func TestBuiltInPageSaysWhatIsKnown(t *testing.T) {
	for _, status := range statuses {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			is := is.New(t)
			p := pages.Page{Status: status, Message: "Back at five.", RequestID: "4c1e"}
			w := answer(new(pages.Set), http.MethodGet, browser, p)
			is.Equal(w.Code, status)
			page := w.Body.String()
			is.True(strings.HasPrefix(page, "<!doctype html>\n"))
			is.True(strings.HasSuffix(page, "</html>\n"))
			title := http.StatusText(status)
			if title == "" {
				title = "Unknown Status"
			}
			is.True(strings.Contains(page, "<title>"+strconv.Itoa(status)+" "+html.EscapeString(title)+"</title>"))
			is.True(strings.Contains(page, ".</h1>")) // a sentence for the visitor
			is.True(strings.Contains(page, `<p class="message">Back at five.</p>`))
			is.True(!strings.Contains(page, "try again")) // the message knows when
			is.True(strings.Contains(page, `<p class="id">Request 4c1e</p>`))
			is.True(!strings.Contains(page, "//")) // nothing comes from elsewhere
		})
	}
}

func TestBuiltInPageLeavesOutWhatThereIsNot(t *testing.T) {
	is := is.New(t)
	page := answer(new(pages.Set), http.MethodGet, browser, pages.Page{Status: 503}).Body.String()
	is.True(!strings.Contains(page, "<p class=\"message\">"))
	is.True(!strings.Contains(page, "<p class=\"id\">"))
	is.True(strings.Contains(page, "<p>Please try again")) // where nobody says better
}

func TestEachStatusOfTheProxyHasASentenceOfItsOwn(t *testing.T) {
	is := is.New(t)
	seen := make(map[string]int)
	for _, status := range []int{301, 400, 401, 403, 404, 405, 413, 418, 421, 429, 500, 502, 503, 504} {
		var got struct{ Message string }
		w := answer(new(pages.Set), http.MethodGet, "application/json", pages.Page{Status: status})
		is.NoErr(json.Unmarshal(w.Body.Bytes(), &got))
		is.Equal(seen[got.Message], 0) // the sentence of another status
		seen[got.Message] = status
	}
}

func TestWhatOthersSaidIsEscaped(t *testing.T) {
	own := template.Must(template.New("503.html").Parse(`<p title="{{.Message}}">{{.Message}}</p><script>let id = {{.RequestID}}</script>`))
	p := pages.Page{Status: 503, Message: `<script>alert("1")</script>`, RequestID: `</script><script>alert(1)`}
	for _, s := range []*pages.Set{pages.New(nil), pages.New(own)} {
		for _, accept := range []string{browser, "application/json"} {
			is := is.New(t)
			page := answer(s, http.MethodGet, accept, p).Body.String()
			is.True(!strings.Contains(page, "<script>alert"))
			is.True(strings.Contains(page, "alert")) // it is there
		}
	}
}

func TestTextAndJSONHaveTheMessage(t *testing.T) {
	tests := []struct {
		accept string
		p      pages.Page
		want   string
	}{
		{"", pages.Page{Status: 404, RequestID: "4c1e"}, "404 Not Found\n"},
		{"", pages.Page{Status: 503, Message: "Back at <five>."}, "503 Service Unavailable: Back at <five>.\n"},
		{"", pages.Page{Status: 599}, "599 Unknown Status\n"},
		{"application/json", pages.Page{Status: 503, Message: `"five"`, RequestID: "4c1e"},
			`{"status":503,"error":"Service Unavailable","message":"\"five\"","request_id":"4c1e"}` + "\n"},
		{"application/json", pages.Page{Status: 404},
			`{"status":404,"error":"Not Found","message":"There is nothing at this address.","request_id":""}` + "\n"},
	}
	for _, tt := range tests {
		is := is.New(t)
		is.Equal(answer(new(pages.Set), http.MethodGet, tt.accept, tt.p).Body.String(), tt.want)
	}
}

func TestHeaderTellsHowToTakeThePage(t *testing.T) {
	for accept, kind := range map[string]string{
		browser:            "text/html; charset=utf-8",
		"application/json": "application/json",
		"*/*":              "text/plain; charset=utf-8",
	} {
		is := is.New(t)
		w := answer(new(pages.Set), http.MethodGet, accept, pages.Page{Status: 502})
		is.Equal(w.Header(), http.Header{
			"Content-Type":           {kind},
			"Content-Length":         {strconv.Itoa(w.Body.Len())},
			"Cache-Control":          {"no-store"},
			"Vary":                   {"Accept"},
			"X-Content-Type-Options": {"nosniff"},
		})
	}
}

func TestHeadHasTheHeaderOfGetAndNoBody(t *testing.T) {
	for _, accept := range []string{browser, "application/json", "*/*"} {
		is := is.New(t)
		p := pages.Page{Status: 404, RequestID: "4c1e"}
		get := answer(new(pages.Set), http.MethodGet, accept, p)
		head := answer(new(pages.Set), http.MethodHead, accept, p)
		is.Equal(head.Code, 404)
		is.Equal(head.Header(), get.Header())
		is.Equal(head.Body.Len(), 0)
	}
}

func TestHeaderOfTheCallerStaysUnlessItIsOfOtherContent(t *testing.T) {
	is := is.New(t)
	w := httptest.NewRecorder()
	h := w.Header()
	kept := http.Header{
		"Location":          {"https://app1.test/"},
		"Retry-After":       {"5"},
		"Www-Authenticate":  {`Basic realm="x"`},
		"X-Parachute-Error": {"stopped"},
		"Cache-Control":     {"max-age=60"},
	}
	for name, values := range kept {
		h[name] = values
	}
	h.Set("Vary", "Cookie")
	h.Set("Content-Type", "image/png")
	h.Set("Content-Length", "7")
	h.Set("Content-Encoding", "gzip")
	h.Set("ETag", `"1"`)
	n := new(pages.Set).Write(w, request(http.MethodGet, ""), pages.Page{Status: 503})
	is.Equal(n, int64(w.Body.Len())) // what was written
	for name, values := range kept {
		is.Equal(h[name], values) // as the caller set it
	}
	is.Equal(h["Vary"], []string{"Cookie", "Accept"})
	is.Equal(h["Content-Type"], []string{"text/plain; charset=utf-8"})
	is.Equal(h["Content-Length"], []string{strconv.Itoa(w.Body.Len())})
	is.Equal(len(h["Content-Encoding"])+len(h["Etag"]), 0)
}

func TestRedirectMayBeStored(t *testing.T) {
	is := is.New(t)
	w := answer(new(pages.Set), http.MethodGet, browser, pages.Page{Status: 301})
	is.Equal(w.Header()["Cache-Control"], nil)
}

func TestPagesOfTheEmbedderGoBeforeTheBuiltInOnes(t *testing.T) {
	own := template.New("site")
	for name, text := range map[string]string{
		"404.html":   "not found, {{.Status}} {{.Title}}: {{.Text}}",
		"5xx.html":   "down, {{.Status}} {{.Message}} {{.RequestID}}",
		"504.html":   "slow, {{.Status}}",
		"other.html": "other",
	} {
		template.Must(own.New(name).Parse(text))
	}
	s := pages.New(own)
	tests := []struct {
		status int
		want   string
	}{
		{404, "not found, 404 Not Found: There is nothing at this address."},
		{500, "down, 500 m id"},
		{503, "down, 503 m id"},
		{504, "slow, 504"},
		{599, "down, 599 m id"},
	}
	for _, tt := range tests {
		is := is.New(t)
		is.Equal(answer(s, http.MethodGet, browser, pages.Page{Status: tt.status, Message: "m", RequestID: "id"}).Body.String(), tt.want)
	}
	for _, status := range []int{301, 400, 403, 499, 600} {
		is := is.New(t)
		p := pages.Page{Status: status, Message: "m"}
		is.Equal(answer(s, http.MethodGet, browser, p).Body, answer(pages.New(nil), http.MethodGet, browser, p).Body) // the built-in one
	}
	is := is.New(t)
	is.Equal(answer(s, http.MethodGet, "text/plain", pages.Page{Status: 404}).Body.String(), "404 Not Found\n") // pages are HTML
}

func TestFailingTemplateSendsTheBuiltInPageWhole(t *testing.T) {
	own := template.New("site").Funcs(template.FuncMap{"broken": func() string { panic("broken") }})
	template.Must(own.New("404.html").Parse("half of it {{.Nothing}}"))
	template.Must(own.New("503.html").Parse("half of it {{broken}}"))
	own.New("502.html") // has no content at all
	s := pages.New(own)
	for _, status := range []int{404, 502, 503} {
		is := is.New(t)
		p := pages.Page{Status: status, Message: "m"}
		got := answer(s, http.MethodGet, browser, p)
		is.Equal(got.Body, answer(pages.New(nil), http.MethodGet, browser, p).Body)
		is.Equal(got.Header().Get("Content-Length"), strconv.Itoa(got.Body.Len()))
	}
}

func TestLargePagesAndSmallOnesDoNotMix(t *testing.T) {
	is := is.New(t)
	s := pages.New(template.Must(template.New("404.html").Parse(strings.Repeat("large ", 100_000))))
	for range 4 {
		is.Equal(answer(s, http.MethodGet, browser, pages.Page{Status: 404}).Body.Len(), 600_000)
		is.Equal(answer(s, http.MethodGet, "text/plain", pages.Page{Status: 404}).Body.String(), "404 Not Found\n")
	}
}

func request(method, accept string) *http.Request {
	r := httptest.NewRequest(method, "/", nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	return r
}

func answer(s *pages.Set, method, accept string, p pages.Page) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.Write(w, request(method, accept), p)
	return w
}

// A discard is a ResponseWriter that keeps nothing.
type discard http.Header

func (d discard) Header() http.Header         { return http.Header(d) }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkWrite(b *testing.B) {
	p := pages.Page{Status: 503, Message: "Back at five.", RequestID: "0123456789abcdef0123456789abcdef"}
	for name, accept := range map[string]string{"text": "*/*", "json": "application/json", "html": browser} {
		b.Run(name, func(b *testing.B) {
			r := request(http.MethodGet, accept)
			s := new(pages.Set)
			b.ReportAllocs()
			w := make(discard)
			for b.Loop() {
				clear(w)
				s.Write(w, r, p)
			}
		})
	}
}
