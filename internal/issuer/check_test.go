package issuer_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/issuer"
)

func TestNamesThatNoAuthorityAnswersForAreTold(t *testing.T) {
	for name, want := range map[string]string{
		"192.0.2.1":   "a certificate for an address cannot be obtained automatically",
		"2001:db8::1": "a certificate for an address cannot be obtained automatically",
		"localhost":   "a certificate for a name of one label cannot be obtained automatically",
		"*.localhost": "a certificate for a name of one label cannot be obtained automatically",
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(issuer.CheckName(name).Error(), want)
		})
	}
	is := is.New(t)
	is.NoErr(issuer.CheckName("app.test"))
	is.NoErr(issuer.CheckName("*.app.test"))
}
