package upstream

import (
	"net/http"

	"github.com/shahnk19/parachute/internal/field"
)

// A Group is some of the exchanges with one target: those that can be cut
// without the others. Its methods may be called from any goroutine.
type Group struct {
	of    exchanger
	calls *Group // of gRPC, where of is a Secure; nil: it is not
	cut   bool   // guarded by the exchanger's mu: nothing may begin any more
}

// An exchanger is a Pool, an H2C or a Secure.
type exchanger interface {
	exchange(g *Group, r *http.Request, target string, header field.View, interim func(int, http.Header)) (*http.Response, error)
	cutRequests(g *Group) (cut int64)
}

// Group returns a Group without exchanges.
func (p *Pool) Group() *Group { return &Group{of: p} }

// Group returns a Group without exchanges.
func (p *H2C) Group() *Group { return &Group{of: p} }

// Exchange is the Exchange of a Pool, for an exchange of the Group.
func (g *Group) Exchange(r *http.Request, target string, header field.View, interim func(status int, h http.Header)) (*http.Response, error) {
	return g.of.exchange(g, r, target, header, interim)
}

// CutRequests ends the Group's exchanges with the reason Cut, except those that
// have become streams, and lets none begin any more. It returns how many it
// ended of which the target may have got something; the others fail with a
// Repeatable error, as those do that want to begin later.
//
// An exchange becomes a stream, which somebody else ends, when BecomeStream is
// called on the body of its answer.
func (g *Group) CutRequests() (cut int64) { return g.of.cutRequests(g) }

// isOpen reports whether an exchange of g, which may be nil, may begin. The
// exchanger's mu must be held.
func (g *Group) isOpen() bool { return g == nil || !g.cut }
