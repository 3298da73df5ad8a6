package issuer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute/internal/issuer"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/zone"
)

// A dnsScene is a scene in which TXT records prove names of the zone app.test.
type dnsScene struct {
	*scene
	dns     *proxytest.DNS
	options issuer.DNS

	mu    sync.Mutex // guards calls
	calls []string
}

func newDNSScene(t *testing.T) *dnsScene {
	s := &dnsScene{scene: newScene(t), dns: new(proxytest.DNS)}
	s.dns.Zone("app.test", "192.0.2.1", "192.0.2.2")
	s.ca.TXT = s.dns.TXT
	s.options = issuer.DNS{
		Present: s.noting("present", s.dns.Present),
		Cleanup: s.noting("cleanup", s.dns.Cleanup),
		Zones:   zone.Finder{Resolvers: []string{proxytest.Resolver}, Dial: s.dns.Dial},
	}
	return s
}

// noting has f's calls among the calls.
func (s *dnsScene) noting(what string, f func(ctx context.Context, name, value string) error) func(ctx context.Context, name, value string) error {
	return func(ctx context.Context, name, value string) error {
		s.mu.Lock()
		s.calls = append(s.calls, what+" "+name)
		s.mu.Unlock()
		return f(ctx, name, value)
	}
}

// made returns what was called so far.
func (s *dnsScene) made() string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.calls, ", ")
}

func (s *dnsScene) open(cache autocert.Cache, notify func(string, error)) *issuer.Issuer {
	i := issuer.New(issuer.Options{
		Directory: s.url,
		Cache:     cache,
		DNS:       s.options,
		Transport: s.ca.Client(s.t, s.net).Transport,
		Notify:    notify,
	})
	s.t.Cleanup(i.Close)
	return i
}

// awaited returns the names of the certificate that n gets within limit.
func awaited(t *testing.T, n *issuer.Name, limit time.Duration) string {
	t.Helper()
	cert, err := n.Await(within(t, limit))
	if err != nil {
		return err.Error()
	}
	return strings.Join(cert.Leaf.DNSNames, " ")
}

func TestWildcardIsProvenByATXTRecordThatIsRemovedThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, told := newDNSScene(t), new(diary)
		n := s.open(nil, told.note).Want("*.app.test")
		defer n.Release()
		is.Equal(awaited(t, n, time.Minute), "*.app.test")
		is.Equal(s.made(), "present _acme-challenge.app.test, cleanup _acme-challenge.app.test")
		is.Equal(len(s.dns.TXT("_acme-challenge.app.test")), 0)
		is.Equal(told.lines, []string{"*.app.test: new certificate"})
	})
}

func TestNameAndItsWildcardAreOneOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, cache := newDNSScene(t), new(memory)
		s.ca.Lifetime = 90 * time.Hour
		i := s.open(cache, nil)
		all := i.WantAll([]string{"*.app.test", "app.test", "www.app.test"})
		s.answer(i, "http-01")
		is.Equal(awaited(t, all["app.test"], time.Minute), "app.test *.app.test")
		is.Equal(awaited(t, all["*.app.test"], time.Minute), "app.test *.app.test")
		is.Equal(all["app.test"].Certificate(), all["*.app.test"].Certificate())
		is.Equal(awaited(t, all["www.app.test"], time.Minute), "www.app.test") // as before, by HTTP-01
		is.Equal(s.ca.Orders("app.test"), 1)
		is.Equal(s.ca.Orders("*.app.test"), 1)
		const at = " _acme-challenge.app.test"
		is.Equal(s.made(), "present"+at+", present"+at+", cleanup"+at+", cleanup"+at) // both are there at a time

		time.Sleep(80 * time.Hour) // by then it was renewed, once for both
		is.Equal(s.ca.Orders("app.test"), 2)
		is.Equal(s.ca.Orders("*.app.test"), 2)
		is.Equal(all["app.test"].Certificate(), all["*.app.test"].Certificate())

		s.ca.Down(true)
		again := s.open(cache, nil).WantAll([]string{"*.app.test", "app.test"})
		is.Equal(awaited(t, again["app.test"], time.Second), "app.test *.app.test")
		is.Equal(awaited(t, again["*.app.test"], time.Second), "app.test *.app.test")
	})
}

func TestNameThatJoinsItsWildcardIsOrderedWithItOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newDNSScene(t)
		i := s.open(nil, nil)
		all := i.Want("*.app.test")
		is.Equal(awaited(t, all, time.Minute), "*.app.test")
		one := i.Want("app.test")
		is.Equal(awaited(t, one, time.Minute), "app.test *.app.test")
		synctest.Wait()
		is.Equal(all.Certificate(), one.Certificate())
		is.Equal(s.ca.TotalOrders(), 2)
	})
}

// Otherwise a provider of DNS that is broken would take a certificate from a name that
// never needed it.
func TestNameIsProvenOtherwiseWhereItsWildcardCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newDNSScene(t)
		s.options.Present = func(context.Context, string, string) error { return errors.New("no such zone") }
		i := s.open(nil, nil)
		s.answer(i, "tls-alpn-01")
		all := i.WantAll([]string{"*.app.test", "app.test"})
		is.Equal(awaited(t, all["app.test"], time.Minute), "app.test")
		is.Equal(awaited(t, all["*.app.test"], time.Minute), "it could not be verified: dns-01: no such zone; the next attempt would be in 1m")
		is.Equal(s.ca.Orders("*.app.test"), 1) // both took part in it
		is.Equal(s.ca.Orders("app.test"), 2)
	})
}

func TestAllNamesAreProvenByDNSIfThatIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newDNSScene(t)
		s.options.Always = true
		i := s.open(nil, nil) // which answers nothing else
		n := i.Want("www.app.test")
		is.Equal(awaited(t, n, time.Minute), "www.app.test")
		is.Equal(s.ca.TotalOrders(), 1)
		is.Equal(s.made(), "present _acme-challenge.www.app.test, cleanup _acme-challenge.www.app.test")
	})
}

func TestRecordIsSetWhereTheNameLeadsTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newDNSScene(t)
		s.dns.Zone("acme.elsewhere.test", "203.0.113.1")
		s.dns.Alias("_acme-challenge.app.test", "app.acme.elsewhere.test")
		n := s.open(nil, nil).Want("*.app.test")
		is.Equal(awaited(t, n, time.Minute), "*.app.test")
		is.Equal(s.made(), "present app.acme.elsewhere.test, cleanup app.acme.elsewhere.test")
		is.Equal(s.dns.Asked("203.0.113.1:53"), 1)
		is.Equal(s.dns.Asked("192.0.2.1:53"), 0)
	})
}

func TestAuthorityIsAskedOnceEveryServerOfTheZoneHasTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newDNSScene(t)
		s.dns.Lag("192.0.2.2:53", 40*time.Second)
		n := s.open(nil, nil).Want("*.app.test")
		_, err := n.Await(within(t, 30*time.Second))
		is.Equal(err.Error(), "the authority is not asked for it yet: 192.0.2.2:53 has no TXT record _acme-challenge.app.test")
		is.Equal(awaited(t, n, time.Minute), "*.app.test")
		is.Equal(s.ca.TotalOrders(), 1)
		is.True(s.dns.Asked("192.0.2.2:53") <= 8) // at 0, 1, 3, 7, 15, 25, 35, 45 s
	})
}

func TestRecordThatDoesNotGetThroughEndsTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newDNSScene(t)
		s.options.Present = s.noting("present", func(ctx context.Context, name, _ string) error { return s.dns.Present(ctx, name, "wrong") })
		n := s.open(nil, nil).Want("*.app.test")
		is.Equal(awaited(t, n, 6*time.Minute), `it could not be verified: dns-01: the record did not get through in 5m0s: `+
			`192.0.2.2:53 has another TXT record _acme-challenge.app.test, "wrong"; the next attempt would be in 1m`)
		is.Equal(s.made(), "present _acme-challenge.app.test, cleanup _acme-challenge.app.test")
	})
}

// From where the proxy is, the servers of a zone may not be in reach.
func TestAuthorityLooksForItselfWhereNoServerOfTheZoneCanBeAsked(t *testing.T) {
	for name, silent := range map[string][]string{
		"servers":  {"192.0.2.1:53", "192.0.2.2:53"},
		"resolver": {proxytest.Resolver, "192.0.2.1:53", "192.0.2.2:53"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				s := newDNSScene(t)
				for _, server := range silent {
					s.dns.Silence(server, true)
				}
				n := s.open(nil, nil).Want("*.app.test")
				is.Equal(awaited(t, n, time.Minute), "*.app.test")
				n.Release()

				s.ca.TXT = func(string) []string { return nil }
				other := s.open(nil, nil).Want("*.app.test")
				said := awaited(t, other, time.Minute)
				is.True(strings.HasPrefix(said, "the authority could not verify it: dns-01: the TXT records of _acme-challenge.app.test are []"))
				is.True(strings.Contains(said, "; nor could the servers of the zone be asked from here: "))
				is.True(strings.Contains(said, "connection refused"))
			})
		})
	}
}

func TestServerThatIsDownDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newDNSScene(t)
		s.dns.Silence("192.0.2.1:53", true)
		s.dns.Lag("192.0.2.2:53", time.Second)
		n := s.open(nil, nil).Want("*.app.test")
		is.Equal(awaited(t, n, time.Minute), "*.app.test")
	})
}

func TestWildcardWithoutAWayToSetRecordsAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, cache := newDNSScene(t), new(memory)
		n := s.open(cache, nil).Want("*.app.test")
		is.Equal(awaited(t, n, time.Minute), "*.app.test")

		synctest.Wait() // it is in the cache
		s.options, s.ca.TXT = issuer.DNS{}, nil
		is.Equal(awaited(t, s.open(cache, nil).Want("*.app.test"), time.Second), "*.app.test") // what the cache has serves on
		n = s.open(nil, nil).Want("*.app.test")
		is.Equal(awaited(t, n, time.Minute), "a certificate for a wildcard needs TXT records, and there is no way to set them; the next attempt would be in 1m")
		is.Equal(s.ca.TotalOrders(), 1)
	})
}

func TestOrderThatIsGivenUpRemovesItsRecords(t *testing.T) {
	for name, tt := range map[string]struct {
		cleanup func(context.Context, string, string) error
		atMost  time.Duration
	}{
		"at once":           {nil, 0},
		"as well as it can": {func(ctx context.Context, _, _ string) error { <-ctx.Done(); return ctx.Err() }, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				s := newDNSScene(t)
				s.dns.Lag("192.0.2.1:53", time.Hour)
				if tt.cleanup != nil {
					s.options.Cleanup = s.noting("cleanup", tt.cleanup)
				}
				i := s.open(nil, nil)
				n := i.Want("*.app.test")
				time.Sleep(time.Minute)
				began := time.Now()
				i.Close()
				is.Equal(time.Since(began), tt.atMost)
				is.Equal(s.made(), "present _acme-challenge.app.test, cleanup _acme-challenge.app.test")
				_, err := n.Await(within(t, time.Second))
				is.True(err != nil)
			})
		})
	}
}

func TestPresentThatHangsIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newDNSScene(t)
		s.options.Present = func(ctx context.Context, _, _ string) error { <-ctx.Done(); return ctx.Err() }
		s.options.Cleanup = func(context.Context, string, string) error { return nil }
		n := s.open(nil, nil).Want("*.app.test")
		began := time.Now()
		is.Equal(awaited(t, n, time.Second), "the authority is not asked for it yet: the TXT record that proves app.test is being set")
		is.Equal(awaited(t, n, 150*time.Second), "it could not be verified: dns-01: context deadline exceeded; the next attempt would be in 1m")
		is.Equal(time.Since(began), 2*time.Minute)
	})
}

// A provider that hangs must not hold up names that have nothing to do with it.
func TestOrdersByDNSHoldUpNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newDNSScene(t)
		s.dns.Lag("192.0.2.1:53", time.Hour)
		i := s.open(nil, nil)
		s.answer(i, "tls-alpn-01")
		var names []string
		for k := range 30 {
			names = append(names, fmt.Sprintf("*.w%d.app.test", k))
		}
		i.WantAll(names)
		synctest.Wait()
		is.Equal(s.ca.TotalOrders(), 20)
		is.Equal(awaited(t, i.Want("www.app.test"), time.Second), "www.app.test")
	})
}

func TestMachinesThatShareACacheOrderAWildcardOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newDNSScene(t)
		cache := &lockable{turn: make(chan struct{}, 1)}
		s.dns.Lag("192.0.2.1:53", 20*time.Second)
		var all []*issuer.Name
		for range 3 {
			for _, n := range s.open(cache, nil).WantAll([]string{"app.test", "*.app.test"}) {
				all = append(all, n)
			}
		}
		for _, n := range all {
			is.Equal(awaited(t, n, time.Minute), "app.test *.app.test")
			is.Equal(n.Certificate().Certificate, all[0].Certificate().Certificate)
		}
		is.Equal(s.ca.TotalOrders(), 1)
	})
}

func TestWildcardThatNobodyWantsIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newDNSScene(t)
		s.options.Present = func(context.Context, string, string) error { return errors.New("down") }
		all := s.open(nil, nil).WantAll([]string{"app.test", "*.app.test"})
		synctest.Wait()
		for _, n := range all {
			n.Release()
		}
		before := s.ca.TotalOrders()
		time.Sleep(48 * time.Hour)
		is.Equal(s.ca.TotalOrders(), before)
	})
}
