package upstream

import (
	"net/http"

	"github.com/shahnk19/parachute/internal/field"
)

// Exchanges are a set of exchanges with one target, which can be cut without cutting
// others. Their methods may be called from any goroutine.
type Exchanges struct {
	of    exchanger
	calls *Exchanges // the gRPC calls among them, if of is a Secure; else nil
	cut   bool       // guarded by the exchanger's mu: nothing may begin any more
}

// An exchanger is a Pool, an H2C or a Secure.
type exchanger interface {
	exchange(e *Exchanges, r *http.Request, requestTarget string, header field.View, interim func(int, http.Header)) (*http.Response, error)
	cutRequests(e *Exchanges) (cut int64)
}

// NewExchanges returns an empty set of exchanges.
func (p *Pool) NewExchanges() *Exchanges { return &Exchanges{of: p} }

// NewExchanges returns an empty set of exchanges.
func (p *H2C) NewExchanges() *Exchanges { return &Exchanges{of: p} }

// Exchange is the Exchange of a Pool, for one of the Exchanges.
func (e *Exchanges) Exchange(r *http.Request, requestTarget string, header field.View, interim func(status int, h http.Header)) (*http.Response, error) {
	return e.of.exchange(e, r, requestTarget, header, interim)
}

// CutRequests ends these exchanges with the reason Cut, except those that
// have become streams, and lets none begin any more. It returns how many it
// ended of which the target may have got something; the others fail with a
// Repeatable error, as those do that want to begin later.
//
// An exchange becomes a stream, which somebody else ends, when BecomeStream is
// called on the body of its answer.
func (e *Exchanges) CutRequests() (cut int64) { return e.of.cutRequests(e) }

// isOpen reports whether an exchange of e, which may be nil, may begin. The
// exchanger's mu must be held.
func (e *Exchanges) isOpen() bool { return e == nil || !e.cut }
