package hostname_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/hostname"
)

func TestPortIsTheOneThatIsToldKnownOrSentInThisOrder(t *testing.T) {
	none, assumed := hostname.Ports{}, hostname.Ports{Assumed: 8443}
	known := hostname.Ports{HTTP: 8080, HTTPS: 8444, Assumed: 8443}
	for name, tt := range map[string]struct {
		ports   hostname.Ports
		scheme  string
		told    int
		host    string
		isOther bool
		want    string
	}{
		"told":                     {known, "https", 9443, "app.test:80", true, "9443"},
		"told the standard one":    {known, "https", 443, "app.test:8080", true, ""},
		"told, plain":              {known, "http", 80, "app.test:8080", false, ""},
		"told that of the other":   {none, "http", 443, "app.test", false, "443"},
		"known":                    {known, "https", 0, "app.test:9999", false, "8444"},
		"known, plain":             {known, "http", 0, "app.test:9999", false, "8080"},
		"known, the standard one":  {hostname.Ports{HTTP: 80}, "http", 0, "app.test:9999", false, ""},
		"sent":                     {assumed, "https", 0, "app.test:9999", false, "9999"},
		"sent, none":               {assumed, "https", 0, "app.test", false, ""},
		"sent, the standard one":   {none, "http", 0, "app.test:80", false, "80"},
		"assumed":                  {assumed, "https", 0, "app.test:80", true, "8443"},
		"assumed, the standard":    {hostname.Ports{Assumed: 443}, "https", 0, "app.test:80", true, ""},
		"known goes before assume": {known, "https", 0, "app.test:80", true, "8444"},
	} {
		t.Run(name, func(t *testing.T) {
			is.New(t).Equal(tt.ports.Of(tt.scheme, tt.told, tt.host, tt.isOther), tt.want)
		})
	}
}

func TestPatternForOneHostIsNoWildcard(t *testing.T) {
	is := is.New(t)
	is.True(hostname.IsOne("app.test"))
	is.True(hostname.IsOne("192.0.2.1"))
	is.True(!hostname.IsOne("*.app.test"))
	is.True(!hostname.IsOne(hostname.Any))
}
