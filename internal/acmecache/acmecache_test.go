package acmecache_test

import (
	"strings"
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

func TestKeysOfOneOrderHaveOneLock(t *testing.T) {
	for key, want := range map[string]string{
		"app.test":                     "app.test",
		"*.app.test":                   "app.test",
		"app.test+rsa":                 "app.test",
		"app.test+token":               "app.test",
		"*.app.test+token":             "app.test",
		"ca.test:443+app.test":         "ca.test:443+app.test",
		"ca.test:443+*.app.test":       "ca.test:443+app.test",
		"ca.test:443+app.test+token":   "ca.test:443+app.test",
		"Ab-_9+http-01":                "",
		"ca.test:443+Ab-_9+http-01":    "",
		"acme_account+key":             "",
		"ca.test:443+acme_account+key": "",
		"ca.test:443+acme_account.key": "",
	} {
		is := is.New(t)
		is.Equal(acmecache.OrderOf(key), want)                                                                    // key
		is.Equal(acmecache.IsAccount(key), strings.Contains(key, "acme_account"))                                 // key
		is.Equal(acmecache.IsAnswer(key), strings.HasSuffix(key, "+token") || strings.HasSuffix(key, "+http-01")) // key
	}
	is := is.New(t)
	is.Equal(acmecache.Ordered("ca.test:443+app.test"), []string{"ca.test:443+app.test", "ca.test:443+*.app.test", "ca.test:443+acme_account+key"})
	is.Equal(acmecache.Ordered("app.test"), []string{"app.test", "*.app.test", "acme_account+key"})
}
