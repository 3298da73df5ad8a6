package parachute_test

import (
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestCanonicalHostNeedsNoTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		k.app("web", "web.internal:80")
		is.NoErr(k.Deploy(t.Context(), parachute.Deployment{
			Service: "web", Targets: []string{"web.internal:80"}, Hosts: []string{"app.test", "www.app.test"}, CanonicalHost: "App.test",
		}))
		is.Equal(k.location("GET", "www.app.test:8080", "/x?y"), "301 http://app.test:8080/x?y")
		if !proxytest.HasHTTP1() { // which takes no such port
			is.Equal(k.location("GET", "www.app.test:99999", "/x"), "301 http://app.test/x")
		}
		is.Equal(k.location("GET", "www.app.test", "/x", "X-Forwarded-Proto", "https"), "301 https://app.test/x")
		is.Equal(k.location("GET", "app.test", "/"), "200")
	})
}

func TestCanonicalHostOfAServiceForEveryHostIsAnyName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		k.app("web", "web.internal:80")
		k.app("api", "api.internal:80")
		is.NoErr(k.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"web.internal:80"}, CanonicalHost: "App.test"}))
		is.NoErr(k.Deploy(t.Context(), parachute.Deployment{Service: "api", Targets: []string{"api.internal:80"}, Hosts: []string{"api.test"}}))
		is.Equal(k.location("GET", "other.test:8080", "/x?y"), "301 http://app.test:8080/x?y")
		is.Equal(k.location("POST", "192.0.2.1", "/"), "308 http://app.test/")
		is.Equal(k.location("GET", "app.test", "/"), "200")
		is.Equal(k.location("GET", "APP.test.", "/"), "200")
		is.Equal(k.location("GET", "api.test", "/"), "200") // which is another service's
	})
}
