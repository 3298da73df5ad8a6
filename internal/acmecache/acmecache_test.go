package acmecache_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/acmecache"
)

func TestAuthoritiesAreToldApartByTheirHosts(t *testing.T) {
	for directory, want := range map[string]string{
		"": "",
		"https://acme-v02.api.letsencrypt.org/directory":         "",
		"https://acme-staging-v02.api.letsencrypt.org/directory": "acme-staging-v02.api.letsencrypt.org+",
		"https://ca.test:14000/dir":                              "ca.test:14000+",
		"https://%":                                              "", // an address that cannot be asked anyway
	} {
		is := is.New(t)
		is.Equal(acmecache.Prefix(directory), want) // directory
	}
}
