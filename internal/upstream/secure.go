package upstream

import (
	"net/http"

	"github.com/shahnk19/parachute/internal/field"
)

// A Secure does what a Pool does, with a target that speaks TLS: over HTTP/2 for
// gRPC calls, which know nothing else (see [field.IsCall]), over HTTP/1 for all other requests.
type Secure struct {
	pool  *Pool
	calls *H2C
}

// NewSecure returns a Secure for the target that o describes, which has TLS.
// Nothing is dialled yet.
func NewSecure(o Options) *Secure { return &Secure{New(o), NewH2C(o)} }

// Exchange is the Exchange of a Pool.
func (s *Secure) Exchange(r *http.Request, requestTarget string, header field.View, interim func(status int, h http.Header)) (*http.Response, error) {
	if field.IsCall(r) {
		return s.calls.Exchange(r, requestTarget, header, interim)
	}
	return s.pool.Exchange(r, requestTarget, header, interim)
}

// NewExchanges returns an empty set of exchanges.
func (s *Secure) NewExchanges() *Exchanges { return &Exchanges{of: s, calls: s.calls.NewExchanges()} }

func (s *Secure) exchange(g *Exchanges, r *http.Request, requestTarget string, header field.View, interim func(int, http.Header)) (*http.Response, error) {
	if field.IsCall(r) {
		return s.calls.exchange(g.calls, r, requestTarget, header, interim)
	}
	return s.pool.exchange(g, r, requestTarget, header, interim)
}

func (s *Secure) cutRequests(g *Exchanges) (cut int64) {
	return s.pool.cutRequests(g) + s.calls.cutRequests(g.calls)
}

// CloseIdle is the CloseIdle of a Pool.
func (s *Secure) CloseIdle() {
	s.pool.CloseIdle()
	s.calls.CloseIdle()
}

// CloseStale is the CloseStale of a Pool.
func (s *Secure) CloseStale() {
	s.pool.CloseStale()
	s.calls.CloseStale()
}

// Close is the Close of a Pool.
func (s *Secure) Close() {
	s.pool.Close()
	s.calls.Close()
}
