package redirects_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/reason"
	"github.com/shahnk19/parachute/internal/redirects"
)

func TestQueryIsKeptWhereTheRuleHasNone(t *testing.T) {
	rules := redirects.Rules{}
	for from, to := range map[string]string{
		"/old": "/new", "/asked": "/new?a=1", "/away": "https://app.test/", "/caf%C3%A9": "http://other.test",
	} {
		if err := rules.Add(from, to); err != nil {
			t.Error(err)
		}
	}
	tests := []struct{ target, want string }{
		{"/old", "/new"},
		{"/old?x=1", "/new?x=1"},
		{"/old?", "/new?"},
		{"/asked?x=1", "/new?a=1"},
		{"/away?x=1", "https://app.test/?x=1"},
		{"/caf%C3%A9", "http://other.test"},
		{"/old/", ""},
		{"/", ""},
		{"*", ""},
	}
	for _, tt := range tests {
		t.Run(tt.target, func(t *testing.T) {
			is := is.New(t)
			to, ok := rules.Location(tt.target)
			is.Equal(to, tt.want)
			is.Equal(ok, tt.want != "")
		})
	}
	is := is.New(t)
	_, ok := redirects.Rules(nil).Location("/old")
	is.True(!ok)
}

func TestRuleThatLeadsNowhereIsRefused(t *testing.T) {
	tests := []struct{ from, to, fault string }{
		{"old", "/new", "redirect from"},
		{"", "/new", "redirect from"},
		{"/old?x", "/new", "redirect from"},
		{"/o ld", "/new", "redirect from"},
		{"/old", "", "redirect to"},
		{"/old", "new", "redirect to"},
		{"/old", "//evil.test/", "redirect to"},
		{"/old", "ftp://app.test/", "redirect to"},
		{"/old", "https:///new", "redirect to"},
		{"/old", "/new#part", "redirect to"},
		{"/old", "http://[::1", "redirect to"},
	}
	for _, tt := range tests {
		t.Run(tt.from+" to "+tt.to, func(t *testing.T) {
			is := is.New(t)
			rules := redirects.Rules{}
			err := rules.Add(tt.from, tt.to)
			is.True(err != nil && strings.HasPrefix(err.Error(), tt.fault))
			is.Equal(len(rules), 0)
		})
	}
}

func TestRedirectKeepsTheMethod(t *testing.T) {
	for method, want := range map[string]reason.Reason{"GET": reason.Moved, "HEAD": reason.Moved, "POST": reason.MovedOn, "DELETE": reason.MovedOn} {
		t.Run(method, func(t *testing.T) {
			is := is.New(t)
			h := http.Header{"Location": {"/old"}}
			is.Equal(redirects.Answer(h, method, "/new"), want)
			is.Equal(h["Location"], []string{"/new"})
		})
	}
}
