package parachute_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute"
)

// A shop is an app that says which names may have a certificate, and answers
// every other request with "web".
type shop struct {
	mu      sync.Mutex // guards what follows
	allowed []string
	asked   []string // Host and query of each question
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/allowed" {
		io.WriteString(w, "web")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.Host+"?"+r.URL.RawQuery)
	if !slices.Contains(s.allowed, r.URL.Query().Get("host")) {
		http.Error(w, "no", http.StatusForbidden)
	}
}

func (s *shop) allow(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allowed = names
}

// questions returns what was asked since it was last called.
func (s *shop) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// open deploys s with certificates on demand.
func (k *keep) open(s *shop) {
	k.t.Helper()
	k.net.Serve(k.t, "web.internal:80", s)
	k.net.Serve(k.t, "answers.test:80", s)
	if err := k.again("web", parachute.TLS{Mode: parachute.TLSOnDemand, AskURL: "/allowed"}); err != nil {
		k.t.Fatal(err)
	}
}

func TestPlainRequestsAreRedirectedToNamesOnDemandThatMayHaveACertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k, s := newKeep(t, parachute.Options{}), &shop{allowed: []string{"good.test"}}
		k.open(s)
		is.Equal(k.location("GET", "good.test:8080", "/x"), "301 https://good.test/x")
		is.Equal(k.getTLS("good.test", "good.test", "/x"), "200 web")
		is.Equal(k.location("GET", "bad.test", "/"), "200") // also the first time, for a browser remembers a 301
		is.Equal(k.location("POST", "bad.test", "/"), "200")
		is.Equal(len(s.questions()), 2) // what was answered is remembered, whoever asks

		for _, host := range []string{"192.0.2.1", "192.0.2.1:80", "[2001:db8::1]", "localhost", "no..name", "_"} {
			is.Equal(k.location("GET", host, "/"), "200") // host
		}
		is.Equal(len(s.questions()), 0) // nobody is asked about what could not be had

		time.Sleep(time.Minute)
		s.allow("good.test", "bad.test")
		is.Equal(k.location("GET", "bad.test", "/"), "301 https://bad.test/") // it is bad no longer
		is.Equal(k.getTLS("bad.test", "bad.test", "/"), "200 web")
		is.Equal(len(s.questions()), 1)

		s.allow()
		is.NoErr(k.again("web", parachute.TLS{Mode: parachute.TLSOnDemand, AskURL: "/allowed"}))
		is.Equal(k.location("GET", "good.test", "/"), "301 https://good.test/") // which has its certificate
		is.Equal(len(s.questions()), 0)
	})
}

func TestPlainRequestsAreServedWhereNobodySaysWhetherANameMayHaveACertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		k.net.Serve(t, "web.internal:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Query().Get("host") {
			case "hangs.test":
				<-r.Context().Done()
			case "fails.test":
				w.WriteHeader(http.StatusInternalServerError)
			}
		}))
		is.NoErr(k.again("web", parachute.TLS{Mode: parachute.TLSOnDemand, AskURL: "/allowed"}))
		is.Equal(k.location("GET", "fails.test", "/"), "200")
		began := time.Now()
		is.Equal(k.location("GET", "hangs.test", "/"), "200")
		is.Equal(time.Since(began), 2*time.Second)
		is.Equal(k.location("GET", "hangs.test", "/"), "200")
		is.True(time.Since(began) < 3*time.Second) // that nobody answers is remembered too
	})
}

func TestPlainRequestsAreServedWhereAnOrderOnDemandFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k, s := newKeep(t, parachute.Options{}), &shop{allowed: []string{"good.test"}}
		k.open(s)
		k.ca.Down(true)
		is.Equal(k.getTLS("good.test", "good.test", "/"), unrecognized)
		is.Equal(k.location("GET", "good.test", "/"), "200")

		k.ca.Down(false)
		time.Sleep(2 * time.Minute)
		is.Equal(k.location("GET", "good.test", "/"), "301 https://good.test/")
		is.Equal(k.getTLS("good.test", "good.test", "/"), "200 web")
	})
}

func TestAppIsAskedAboutANameByThatName(t *testing.T) {
	for ask, want := range map[string]string{
		"/allowed":                    "good.test?host=good.test",
		"http://answers.test/allowed": "answers.test?host=good.test", // which has a name of its own
	} {
		t.Run(ask, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				k, s := newKeep(t, parachute.Options{}), &shop{allowed: []string{"good.test"}}
				k.net.Serve(t, "web.internal:80", s)
				k.net.Serve(t, "answers.test:80", s)
				is.NoErr(k.Deploy(t.Context(), parachute.Deployment{
					Service: "web", Targets: []string{"web.internal:80"},
					TLS:         parachute.TLS{Mode: parachute.TLSOnDemand, AskURL: ask},
					HealthCheck: parachute.HealthCheck{Host: "checks.test"},
				}))
				is.Equal(k.getTLS("GOOD.test", "good.test", "/"), "200 web")
				is.Equal(s.questions(), []string{want})
			})
		})
	}
}

func TestRefusalOfANameIsToldOnceInAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var log bytes.Buffer // written under the Proxy's lock, and read when nothing goes on
		k, s := newKeep(t, parachute.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}), new(shop)
		k.open(s)
		const line = `level=INFO msg="no certificate" host=bad.test error="GET /allowed?host=bad.test: answered 403: the name is refused"`
		for minute := 1; minute <= 3; minute++ {
			for range 3 {
				is.Equal(k.getTLS("bad.test", "bad.test", "/"), unrecognized)
				is.Equal(k.location("GET", "bad.test", "/"), "200")
			}
			synctest.Wait()
			is.Equal(strings.Count(log.String(), line), minute)
			time.Sleep(time.Minute)
		}
		is.Equal(len(s.questions()), 3)
	})
}

func TestRefusalByARedirectTellsWhereTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		k.net.Serve(t, "web.internal:80", http.RedirectHandler("/login", http.StatusFound))
		is.NoErr(k.again("web", parachute.TLS{Mode: parachute.TLSOnDemand, AskURL: "/allowed"}))
		is.Equal(k.getTLS("bad.test", "bad.test", "/"), unrecognized)
		is.True(k.told("bad.test", "answered 302 to /login"))
	})
}

func TestCanonicalHostWithoutACertificateIsNotRedirectedToOverTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		is.NoErr(k.secure("web", automatic, "www.app.test"))
		is.Equal(k.getTLS("www.app.test", "www.app.test", "/"), "200 web")
		k.ca.Down(true)
		is.NoErr(k.Deploy(t.Context(), parachute.Deployment{
			Service: "web", Targets: []string{"web.internal:80"}, Hosts: []string{"app.test", "www.app.test"},
			TLS: automatic, CanonicalHost: "app.test",
		}))
		is.Equal(k.location("GET", "www.app.test", "/x"), "301 http://app.test/x")
		is.Equal(k.location("GET", "app.test", "/x"), "200")

		k.ca.Down(false)
		time.Sleep(2 * time.Minute)
		is.Equal(k.location("GET", "www.app.test", "/x"), "301 https://app.test/x")
	})
}

// A counted cache has nothing, and counts how often it is asked.
type countedCache struct{ asked atomic.Int64 }

func (c *countedCache) Get(context.Context, string) ([]byte, error) {
	c.asked.Add(1)
	return nil, autocert.ErrCacheMiss
}
func (c *countedCache) Put(context.Context, string, []byte) error { return nil }
func (c *countedCache) Delete(context.Context, string) error      { return nil }

// The cache may be far away.
func TestCacheIsNotAskedForANameThatWasJustRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		cache := new(countedCache)
		k, s := newKeep(t, parachute.Options{ACME: parachute.ACME{Cache: cache}}), new(shop)
		k.open(s)
		is.Equal(k.getTLS("bad.test", "bad.test", "/"), unrecognized)
		asked := cache.asked.Load()
		is.True(asked > 0) // it may have been admitted once
		is.Equal(k.getTLS("bad.test", "bad.test", "/"), unrecognized)
		is.Equal(cache.asked.Load(), asked)
	})
}

func TestNameOnDemandIsRedirectedToForAsLongAsItHasACertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k, s := newKeep(t, parachute.Options{}), &shop{allowed: []string{"good.test"}}
		k.ca.Lifetime = 3 * time.Hour
		k.open(s)
		is.Equal(k.getTLS("good.test", "good.test", "/"), "200 web")
		k.ca.Down(true)
		time.Sleep(2*time.Hour + 30*time.Minute)
		is.True(k.Certificates()[0].Error != "") // it cannot be renewed
		is.Equal(k.location("GET", "good.test", "/"), "301 https://good.test/")
		time.Sleep(time.Hour)
		is.Equal(k.location("GET", "good.test", "/"), "200") // it has expired
	})
}

func TestConnectionToACertificateAuthorityIsClosedOnceItIsOfNoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		is.NoErr(k.secure("web", automatic, "app.test"))
		is.Equal(k.getTLS("app.test", "app.test", "/"), "200 web")
		is.Equal(k.net.Conns("ca.test:443"), 1) // for the next order, if it comes soon
		time.Sleep(5 * time.Minute)             // an order may have ended some time after it was of use
		synctest.Wait()
		is.Equal(k.net.Conns("ca.test:443"), 0)
	})
}
