package parachute_test

import (
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

func TestAddressOfATargetIsMadeTheClients(t *testing.T) {
	for _, tt := range []struct {
		prefix          string
		keep, rewriting bool
		sent, want      string
	}{
		{"", false, false, "http://web.test/dir/", "/dir/"},
		{"", false, true, "/dir/", "/dir/"},
		{"/app", false, false, "http://web.test:80/dir/", "/app/dir/"},
		{"/app", false, false, "/dir/", "/dir/"},
		{"/app", false, true, "/dir/", "/app/dir/"},
		{"/app", true, true, "/dir/", "/dir/"},
		{"/app", true, true, "http://web.test/app/dir/", "/app/dir/"},
		{"/app", false, true, "https://web.test/dir/", "https://web.test/dir/"},
		{"/app", false, true, "http://proxy.test/dir/", "http://proxy.test/dir/"},
	} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			h := newHouse(t, parachute.Options{})
			d := parachute.Deployment{KeepPrefix: tt.keep, Headers: parachute.Headers{RewriteLocation: tt.rewriting}}
			if tt.prefix != "" {
				d.PathPrefixes = []string{tt.prefix}
			}
			is.NoErr(h.with(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", tt.sent)
				w.Header().Set("Content-Location", tt.sent)
				w.Header().Set("Refresh", "5; url="+tt.sent)
				w.WriteHeader(http.StatusFound)
			}, d))
			resp, _ := h.answer("GET", tt.prefix+"/x", "")
			is.Equal(resp.Header["Location"], []string{tt.want}) // tt
			is.Equal(resp.Header["Content-Location"], []string{tt.want})
			is.Equal(resp.Header["Refresh"], []string{"5; url=" + tt.want})
		})
	}
}
