package split_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/split"
)

func newPreview(t *testing.T, header string) *split.Split {
	t.Helper()
	s, err := split.New(split.Options{Preview: header})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhoKnowsTheSecretSeesThePreviewAndStays(t *testing.T) {
	is := is.New(t)
	s := newPreview(t, "x-preview: open sesame")
	second, set := s.Previews(http.Header{"X-Preview": {"open sesame"}}, true)
	is.True(second)
	c, err := http.ParseSetCookie(set)
	is.NoErr(err)
	is.Equal(c.Name, split.PreviewCookie)
	is.True(c.HttpOnly && c.Secure && c.Path == "/" && c.SameSite == http.SameSiteLaxMode)
	is.True(!strings.Contains(set, "sesame")) // who steals the cookie does not learn the secret
	second, again := s.Previews(http.Header{"Cookie": {"a=b; " + c.Name + "=" + c.Value}}, true)
	is.True(second)
	is.Equal(again, "")
	_, set = s.Previews(http.Header{"X-Preview": {"open sesame"}}, false)
	is.True(!strings.Contains(set, "Secure"))
}

func TestNobodyElseSeesThePreview(t *testing.T) {
	is := is.New(t)
	s := newPreview(t, "X-Preview: open sesame")
	other := newPreview(t, "X-Preview: close sesame")
	_, set := other.Previews(http.Header{"X-Preview": {"close sesame"}}, false)
	cookie, _, _ := strings.Cut(set, ";")
	for _, h := range []http.Header{
		{},
		{"X-Preview": {""}},
		{"X-Preview": {"open"}},
		{"X-Other": {"open sesame"}},
		{"Cookie": {cookie}}, // of a secret that is not any more
		{"Cookie": {split.PreviewCookie + "=open sesame"}},
	} {
		second, set := s.Previews(h, false)
		is.True(!second) // h
		is.Equal(set, "")
	}
	none, err := split.New(split.Options{Percent: 10})
	is.NoErr(err)
	second, _ := none.Previews(http.Header{"": {""}, "Cookie": {split.PreviewCookie + "="}}, false)
	is.True(!second)
	second, set = s.Second("", "", false) // and the preview is all that there is
	is.True(!second)
	is.Equal(set, "")
}

func TestPreviewIsRefusedWithoutASecret(t *testing.T) {
	for _, header := range []string{"X-Preview", "X-Preview:", "X-Preview:  ", ": secret", "X Preview: secret", "X-Preview: a\nb"} {
		is := is.New(t)
		_, err := split.New(split.Options{Preview: header})
		is.True(err != nil) // header
		is.True(!strings.Contains(err.Error(), "secret\"") && strings.Contains(err.Error(), "X-Preview: SECRET"))
	}
}

func TestVisitorIsChosenByThePreviewFirstAndThenByTheirCookies(t *testing.T) {
	s, err := split.New(split.Options{Percent: 0, List: []string{"ann"}, Preview: "X-Preview: open sesame"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		h      http.Header
		second bool
		cookie string // that is set
	}{
		{"preview", http.Header{"X-Preview": {"open sesame"}}, true, split.PreviewCookie},
		{"preview of one of the list", http.Header{"X-Preview": {"open sesame"}, "Cookie": {split.Cookie + "=ann"}}, true, split.PreviewCookie},
		{"own cookie", http.Header{"Cookie": {split.Cookie + "=ann"}}, true, ""},
		{"kamal's cookie", http.Header{"Cookie": {split.KamalCookie + "=ann"}}, true, ""},
		{"another cookie", http.Header{"Cookie": {"other=ann"}}, false, ""},
		{"nobody", nil, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			second, set := s.Choose(tt.h, true)
			is.Equal(second, tt.second)
			name, _, _ := strings.Cut(set, "=")
			is.Equal(name, tt.cookie)
			is.Equal(strings.Contains(set, "; Secure"), tt.cookie != "")
		})
	}
	is := is.New(t)
	s = newSplit(t, 100)
	_, set := s.Choose(nil, true)
	is.True(strings.HasPrefix(set, split.Cookie+"=") && strings.HasSuffix(set, "; Secure"))
	_, set = s.Choose(nil, false)
	is.True(!strings.Contains(set, "Secure"))
}
