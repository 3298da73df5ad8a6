package upstream

import (
	"net/http"

	"github.com/shahnk19/parachute/internal/field"
)

// A Transport carries exchanges with one address: it is a Pool, an H2C or a Secure, and
// does as their methods say.
type Transport interface {
	Exchange(r *http.Request, requestTarget string, header field.View, interim func(status int, h http.Header)) (*http.Response, error)
	NewExchanges() *Exchanges
	CloseStale()
	Close()
}

// For returns the Transport for a target that is named with that scheme: an H2C for
// "h2c", a Secure for "https", for which o must have a TLS configuration, and a Pool for
// any other.
func For(scheme string, o Options) Transport {
	switch scheme {
	case "h2c":
		return NewH2C(o)
	case "https":
		return NewSecure(o)
	}
	return New(o)
}
