package upstream_test

import (
	"crypto/tls"
	"fmt"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/upstream"
)

func TestTransportIsThatOfTheScheme(t *testing.T) {
	for scheme, want := range map[string]upstream.Transport{
		"http":  (*upstream.Pool)(nil),
		"h2c":   (*upstream.H2C)(nil),
		"https": (*upstream.Secure)(nil),
		"":      (*upstream.Pool)(nil),
	} {
		t.Run(scheme, func(t *testing.T) {
			is := is.New(t)
			transport := upstream.For(scheme, upstream.Options{Network: "tcp", Address: "app:80", TLS: new(tls.Config)})
			defer transport.Close()
			is.Equal(fmt.Sprintf("%T", transport), fmt.Sprintf("%T", want))
		})
	}
}
