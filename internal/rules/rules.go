// Package rules has what an operator says of each request to a service, and of its
// answers, ready to be applied: who may use the service, what is changed in headers,
// which bodies are buffered, and what is answered in the service's place.
package rules

import (
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/shahnk19/parachute/internal/answer"
	"github.com/shahnk19/parachute/internal/buffer"
	"github.com/shahnk19/parachute/internal/credentials"
	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/headers"
	"github.com/shahnk19/parachute/internal/networks"
	"github.com/shahnk19/parachute/internal/pages"
	"github.com/shahnk19/parachute/internal/redirects"
	"github.com/shahnk19/parachute/internal/sticky"
)

// Settings are what the operator says. The zero value says nothing.
type Settings struct {
	Access
	Headers
	Buffer
	Redirects []Redirect

	Trust           string         // Everybody, Nobody, or empty for TrustedProxies
	ClientHeader    string         // has the client's address; empty: none has
	TrustedProxies  []netip.Prefix // who is believed what a request has been through
	ErrorPages      string         // the absolute path of a folder with pages; empty: there are none
	Affinity        string         // how visitors stay with a target; empty: they do not
	PathPrefixes    []string       // of the service
	WriterAffinity  time.Duration  // see answer.Rules
	MaxRequestBody  int64          // in bytes; 0: there is no limit
	MaxResponseBody int64          // likewise
}

// The values of Settings.Trust.
const (
	Everybody = "everybody"
	Nobody    = "nobody"
)

// Access says who may use the service.
type Access struct {
	Allow, Deny   []string // networks, or addresses
	BasicAuthFile string   // the absolute path of an htpasswd file; empty: no password is asked for
}

// Headers says what is changed in headers.
type Headers struct {
	Request, Response []string // rules, see [headers.ParseRequest]
	HSTS              string   // is sent over TLS; empty: what the target sends is
	Release           bool     // answers name it
	ScopeCookies      bool     // to the prefix that was stripped
	RewriteLocation   bool     // is for who forwards
}

// Buffer says which bodies are read to their end before they are passed on.
type Buffer struct {
	Requests, Responses bool
	Memory              int64 // of a body, in bytes
}

// A Redirect sends requests for a path elsewhere.
type Redirect struct{ From, To string }

// Check returns what is wrong with s, other than what New finds, and what would be right.
// It reads no file.
func (s *Settings) Check() error {
	switch {
	case s.MaxRequestBody < 0 || s.MaxResponseBody < 0:
		return fmt.Errorf("limits of %d bytes for a request and %d for a response: want 0 for no limit, or more", s.MaxRequestBody, s.MaxResponseBody)
	case s.ErrorPages != "" && !filepath.IsAbs(s.ErrorPages):
		return fmt.Errorf("error pages %q: want an absolute path of their folder", s.ErrorPages)
	case s.BasicAuthFile != "" && !filepath.IsAbs(s.BasicAuthFile):
		return fmt.Errorf("basic auth file %q: want an absolute path", s.BasicAuthFile)
	case s.Trust != "" && s.Trust != Everybody && s.Trust != Nobody:
		return fmt.Errorf("trust in forwarded headers %q: want %q, %q, or nothing for the trusted proxies", s.Trust, Everybody, Nobody)
	case s.ClientHeader != "" && !field.CanSend(s.ClientHeader, ""):
		return fmt.Errorf("client header %q: want the name of a header, such as CF-Connecting-IP", s.ClientHeader)
	case s.HSTS != "":
		return headers.CheckHSTS(s.HSTS)
	}
	return nil
}

// Shared is what all services have in common.
type Shared struct {
	Pages  *pages.Set    // which a service has where it has none of its own
	Checks chan struct{} // has room for as many passwords as are checked at once
	Spool  *buffer.Store
}

// Rules are Settings, ready to be applied. The zero value has everything pass as it is.
// They never change, and any number of goroutines may use them.
type Rules struct {
	Pages     *pages.Set // nil: Shared.Pages
	Networks  networks.Rules
	Users     *credentials.Users // nil: no password is asked for
	Redirects redirects.Rules
	Affinity  *sticky.Cookie    // nil: no visitor stays with a target
	Trusted   []netip.Prefix    // who is believed what a request has been through
	Request   func(http.Header) // changes what goes to a target; nil: nothing does
	Answer    answer.Rules

	body *bodyRule // nil: the bodies of requests pass as they come
}

// New returns the Rules of s, which Check has passed, and reads its files. An error says
// what would be right.
func New(s *Settings, with Shared) (*Rules, error) {
	r := &Rules{Trusted: s.TrustedProxies, Redirects: make(redirects.Rules, len(s.Redirects))}
	switch s.Trust {
	case Everybody:
		r.Trusted = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	case Nobody:
		r.Trusted = nil
	}
	for _, redirect := range s.Redirects {
		if err := r.Redirects.Add(redirect.From, redirect.To); err != nil {
			return nil, err
		}
	}
	parsed, err := headers.ParseRequest(s.Headers.Request)
	if err != nil {
		return nil, err
	}
	if len(s.Headers.Request) > 0 {
		r.Request = parsed.ApplyToRequest
	}
	if ahead := s.Buffer.Requests; ahead || s.MaxRequestBody > 0 {
		r.body = &bodyRule{with.Spool, ahead, buffer.Limits{Memory: s.Memory, Size: s.MaxRequestBody}}
	}
	if r.Answer, err = newAnswer(s, with.Spool); err != nil {
		return nil, err
	}
	if r.Networks, err = networks.Parse(s.Allow, s.Deny); err != nil {
		return nil, err
	}
	if s.BasicAuthFile != "" {
		if r.Users, err = credentials.Load(s.BasicAuthFile, with.Checks); err != nil {
			return nil, err
		}
	}
	if s.ErrorPages != "" {
		if r.Pages, err = with.Pages.Load(s.ErrorPages); err != nil {
			return nil, err
		}
	}
	if s.Affinity != "" {
		r.Affinity, err = sticky.Parse(s.Affinity, s.PathPrefixes)
	}
	return r, err
}

func newAnswer(s *Settings, spool *buffer.Store) (answer.Rules, error) {
	r := answer.Rules{Release: s.Release, ScopeCookies: s.ScopeCookies, WriterAffinity: s.WriterAffinity}
	if s.HSTS != "" {
		r.HSTS = []string{s.HSTS}
	}
	parsed, err := headers.ParseResponse(s.Headers.Response)
	if err == nil && len(s.Headers.Response) > 0 {
		r.Headers = parsed.Apply
	}
	if ahead := s.Buffer.Responses; ahead || s.MaxResponseBody > 0 {
		limits := buffer.Limits{Memory: s.Memory, Size: s.MaxResponseBody}
		r.Take = func(res *http.Response, method string) (full, err error) {
			return spool.BufferResponse(res, method, ahead, limits)
		}
	}
	return r, err
}
