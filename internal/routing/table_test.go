package routing_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/routing"
)

// A version is one of a service with that name.
type version struct {
	routing.Wants
	name string
}

// on returns a version that has claims, each a host with a prefix behind it.
func on(name string, policy routing.Policy, claims ...string) *version {
	return &version{routing.Wants{Claims: claimsOf(claims...), Policy: policy}, name}
}

func claimsOf(all ...string) (claims []hostname.Claim) {
	for _, s := range all {
		host, prefix, isBelow := strings.Cut(s, "/")
		if isBelow {
			prefix = "/" + prefix
		}
		claims = append(claims, hostname.Claim{Host: host, Prefix: prefix})
	}
	return claims
}

// tableOf returns the table of these versions.
func tableOf(versions ...*version) routing.Table[*version] {
	services := make(map[string]*version)
	for _, v := range versions {
		services[v.name] = v
	}
	return routing.New(services)
}

func nameOf(v *version) string {
	if v == nil {
		return "nobody"
	}
	return v.name
}

var (
	open   = routing.Policy{}
	secure = routing.Policy{TLS: routing.TLS{Mode: "files"}}
)

func TestZeroTableAnswersForNothing(t *testing.T) {
	is := is.New(t)
	var table routing.Table[*version]
	is.Equal(table.Match("app.test"), nil)
	is.Equal(table.Unnamed(), nil)
	is.Equal(len(slices.Collect(table.Sites())), 0)
	is.Equal(len(table.Services()), 0)
	is.Equal(table.Conflict("web", routing.Wants{Claims: claimsOf("app.test")}, nobody), nil)
	changed := table.WithVersions(map[string]*version{"web": on("web", open, "app.test"), "gone": nil})
	v, _, _ := changed.Match("app.test").Route("/")
	is.Equal(nameOf(v), "web")
	is.Equal(len(table.Services()), 0) // it has not changed itself
}

func TestEachOfManyHostsHasItsSite(t *testing.T) {
	is := is.New(t)
	var all []*version
	for i := range 1000 {
		name := fmt.Sprintf("service-%d", i)
		all = append(all, on(name, open, name+".example.com"))
	}
	table := tableOf(all...)
	for _, want := range all {
		s := table.Match(want.name + ".example.com:443")
		v, _, _ := s.Route("/")
		is.Equal(nameOf(v), want.name)
		is.Equal(s.Host, want.name+".example.com")
	}
	is.Equal(table.Match("service-1000.example.com"), nil)
	is.Equal(len(slices.Collect(table.Sites())), 1000)
}

func TestSitesOfAServiceAreThoseOfItsHostsEachOnce(t *testing.T) {
	is := is.New(t)
	table := tableOf(on("web", open, "app.test", "app.test/shop", "*.app.test", hostname.Any), on("api", open, "app.test/api", "api.test"))
	hosts := func(service string) (all []string) {
		for s := range table.SitesOf(service) {
			all = append(all, s.Host)
		}
		return all
	}
	is.Equal(hosts("web"), []string{"app.test", "*.app.test", hostname.Any})
	is.Equal(hosts("api"), []string{"app.test", "api.test"})
	is.Equal(hosts("gone"), nil)
	for s := range table.SitesOf("web") { // until nobody wants more
		is.Equal(s, table.Match("app.test"))
		break
	}
}

// It takes seconds to find out what it would be in ASCII.
func TestNameThatIsTooLongForOneIsNobodys(t *testing.T) {
	is := is.New(t)
	table := tableOf(on("web", open, hostname.Any, "*.test"))
	for _, letter := range []string{"a", "A", "ü", "中"} {
		name := strings.Repeat(letter, 253/len(letter))
		is.Equal(table.Match(name+":443").Host, hostname.Any) // as long as may be
		for _, name := range []string{name + letter, name + "a" + letter + ".test", strings.Repeat(letter, 20000)} {
			is.Equal(table.Match(name+".:443"), nil)
		}
	}
}

func TestLongestPrefixAnswers(t *testing.T) {
	table := tableOf(
		on("web", open, "app.test"),
		on("api", open, "app.test/api", "app.test/caf\u00e9 au lait"),
		on("v1", open, "app.test/api/v1", "app.test/old"),
		on("else", open, "other.test/api"),
	)
	for _, tt := range []struct{ host, target, service, prefix, rest string }{
		{"app.test", "/", "web", "", "/"},
		{"app.test", "/apiary", "web", "", "/apiary"},
		{"app.test", "/api", "api", "/api", "/"},
		{"app.test", "/api/v10?x", "api", "/api", "/v10?x"},
		{"app.test", "/api/v1?x", "v1", "/api/v1", "/?x"},
		{"app.test", "/old//x", "v1", "/old", "/x"},
		{"app.test", "/caf%C3%A9%20au%20lait/x", "api", "/caf%C3%A9%20au%20lait", "/x"}, // it may stand in a header
		{"app.test", "*", "web", "", "*"},
		{"other.test", "/", "nobody", "", ""},
		{"other.test", "/api/x", "else", "/api", "/x"},
	} {
		t.Run(tt.host+tt.target, func(t *testing.T) {
			is := is.New(t)
			v, prefix, rest := table.Match(tt.host).Route(tt.target)
			is.Equal(nameOf(v), tt.service)
			is.Equal(prefix, tt.prefix)
			is.Equal(rest, tt.rest)
		})
	}
}

func TestSiteHasThePolicyOfAllItsServicesAndTheFirstThatIsSecure(t *testing.T) {
	is := is.New(t)
	canonical := routing.Policy{Canonical: "app.test"}
	table := tableOf(
		on("a", canonical, "app.test/a", "*.app.test"),
		on("b", secure, "app.test/long/prefix", "app.test/b"),
		on("c", secure, "app.test"),
		on("off", routing.Policy{TLS: routing.TLS{Mode: routing.Off}}, "plain.test"),
	)
	s := table.Match("app.test")
	is.Equal(s.Policy, routing.Policy{TLS: secure.TLS, Canonical: "app.test"})
	is.Equal(nameOf(s.Secure), "b")
	is.True(s.Has(func(v *version) bool { return v.name == "c" }))
	is.True(!s.Has(func(v *version) bool { return v.name == "off" }))
	is.Equal(table.Match("x.app.test").Policy, canonical)
	is.Equal(nameOf(table.Match("x.app.test").Secure), "nobody")
	is.Equal(nameOf(table.Match("plain.test").Secure), "nobody")
}

func TestUnnamedIsTheFirstSiteByHostThatIsSecure(t *testing.T) {
	is := is.New(t)
	any := on("any", secure, hostname.Any)
	alone := tableOf(any)
	is.Equal(alone.Unnamed(), nil) // nobody knows which name is meant
	table := tableOf(any, on("a", open, "a.test"), on("c", secure, "c.test"), on("b", secure, "b.test", "d.test"))
	is.Equal(table.Unnamed().Host, "b.test")
	table = table.WithVersions(map[string]*version{"b": nil})
	is.Equal(table.Unnamed().Host, "c.test")
	table = table.WithVersions(map[string]*version{"a": on("a", secure, "a.test")})
	is.Equal(table.Unnamed().Host, "a.test")
}

// isSame requires that two tables answer alike.
func isSame(is *is.I, a, b routing.Table[*version]) {
	is.Helper()
	is.Equal(a.Services(), b.Services())
	hosts := func(t routing.Table[*version]) map[string]*routing.Site[*version] {
		sites := make(map[string]*routing.Site[*version])
		for s := range t.Sites() {
			sites[s.Host] = s
		}
		return sites
	}
	is.Equal(hosts(a), hosts(b)) // the same routes, policy and version with TLS
	is.Equal(a.Unnamed(), b.Unnamed())
}

// A change makes a table of the one before, for to make it anew takes as long as
// there are services.
func TestTableThatWasChangedIsTheOneThatIsMadeAnew(t *testing.T) {
	is := is.New(t)
	random := rand.New(rand.NewPCG(1, 2))
	hosts := []string{hostname.Any, "a.test", "b.test", "*.test", "c.test"}
	prefixes := []string{"", "/api", "/api/v1", "/web"}
	services := make(map[string]*version)
	changed := routing.New(maps.Clone(services))
	for range 2000 {
		changes := make(map[string]*version)
		for range 1 + random.IntN(2) {
			name := fmt.Sprint("service-", random.IntN(6))
			if changes[name] = nil; random.IntN(4) == 0 {
				delete(services, name)
				continue
			}
			next := &version{name: name}
			for _, host := range hosts {
				claim := hostname.Claim{Host: host, Prefix: prefixes[random.IntN(len(prefixes))]}
				isTaken := slices.ContainsFunc(slices.Collect(maps.Values(services)), func(v *version) bool {
					return v.name != name && slices.Contains(v.Claims, claim)
				})
				if random.IntN(3) == 0 && !isTaken {
					next.Claims = append(next.Claims, claim)
				}
			}
			if random.IntN(2) == 0 {
				next.Policy = secure
			}
			services[name], changes[name] = next, next
		}
		before, kept := changed, routing.New(maps.Clone(changed.Services()))
		changed = changed.WithVersions(changes)
		isSame(is, before, kept) // what readers see stays as it is
		isSame(is, changed, routing.New(maps.Clone(services)))
	}
}

func TestChangeBuildsNoSiteAnewThatItIsNotAbout(t *testing.T) {
	is := is.New(t)
	table := tableOf(on("a", open, "a.test", "shared.test/a"), on("b", open, "b.test", "shared.test"))
	changed := table.WithVersions(map[string]*version{"a": on("a", open, "new.test")})
	is.True(changed.Match("b.test") == table.Match("b.test"))
	is.True(changed.Match("shared.test") != table.Match("shared.test"))
	is.Equal(changed.Match("a.test"), nil)
	v, _, _ := changed.Match("shared.test").Route("/a")
	is.Equal(nameOf(v), "b")
	is.Equal(slices.Sorted(maps.Keys(changed.Services())), []string{"a", "b"})
	is.True(changed.Services()["a"] != table.Services()["a"])
}
