package parachute

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/affinity"
	"github.com/shahnk19/parachute/internal/certificate"
	"github.com/shahnk19/parachute/internal/histogram"
	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/upstream"
)

// tableOf returns a table of n services with a host each.
func tableOf(n int) (*table, []string) {
	services := make(map[string]*version, n)
	var hosts []string
	for i := range n {
		name := fmt.Sprintf("service-%d", i)
		host := name + ".example.com"
		services[name] = newVersion(Status{Service: name}, wants{claims: []claim{{Host: host}}}, group{})
		hosts = append(hosts, host)
	}
	return newTable(services), hosts
}

// idle returns a target that is not probed and to which nothing is sent.
func idle() *target {
	t := &target{address: "web-1:3000", conns: upstream.New(upstream.Options{}), traffic: new(histogram.Traffic)}
	t.served.Store(new(histogram.Total))
	return t
}

func TestLookupFindsEachOfManyHosts(t *testing.T) {
	is := is.New(t)
	table, hosts := tableOf(1000)
	for i, host := range hosts {
		is.Equal(table.lookup(host + ":443").routes[0].version.status.Service, fmt.Sprintf("service-%d", i))
	}
	is.True(table.lookup("service-1000.example.com") == nil)
}

// It takes seconds to find out what it would be in ASCII.
func TestNameThatIsTooLongForOneIsNobodys(t *testing.T) {
	is := is.New(t)
	v := newVersion(Status{Service: "web"}, wants{claims: []claim{{Host: hostname.Any}, {Host: "*.test"}}}, group{})
	table := newTable(map[string]*version{"web": v})
	for _, letter := range []string{"a", "A", "ü", "中"} {
		name := strings.Repeat(letter, 253/len(letter))
		is.True(table.lookup(name+":443") == table.sites.Get(hostname.Any)) // as long as may be
		for _, name := range []string{name + letter, name + "a" + letter + ".test", strings.Repeat(letter, 20000)} {
			is.Equal(table.lookup(name+".:443"), nil)
		}
	}
}

// A request may have chosen its lane just before Shutdown looks.
func TestShutdownClosesTheGatesOfIdleVersionsToo(t *testing.T) {
	is := is.New(t)
	p := New(Options{})
	v := newVersion(Status{Service: "web"}, wants{claims: []claim{{}}}, newGroup([]*target{idle()}, nil, ""))
	is.True(p.router.routes.PublishFirst(newTable(map[string]*version{"web": v}), 1))
	lane := v.main.pick(0, nil, false, affinity.Visitor{})
	is.NoErr(p.Shutdown(t.Context()))
	_, ok := lane.Enter()
	is.True(!ok) // it looks again, and finds the newer version
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000} {
		table, hosts := tableOf(n)
		b.Run(fmt.Sprintf("hosts=%d/hot", n), func(b *testing.B) {
			b.ReportAllocs()
			host := hosts[n/2]
			for b.Loop() {
				if table.lookup(host) == nil {
					b.Fatal("not found")
				}
			}
		})
		b.Run(fmt.Sprintf("hosts=%d/spread", n), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if table.lookup(hosts[i]) == nil {
					b.Fatal("not found")
				}
				if i += 7919; i >= n { // a prime: the order is not that of memory
					i %= n
				}
			}
		})
	}
}

// A change makes a table of the one before, for to make it anew takes as long as
// there are services.
func TestTableThatWasChangedIsTheOneThatIsMadeAnew(t *testing.T) {
	is := is.New(t)
	random := rand.New(rand.NewPCG(1, 2))
	hosts := []string{hostname.Any, "a.test", "b.test", "*.test", "c.test"}
	prefixes := []string{"", "/api", "/api/v1", "/web"}
	services := make(map[string]*version)
	changed := newTable(services)
	for range 2000 {
		name := fmt.Sprint("service-", random.IntN(6))
		var next *version
		if random.IntN(4) > 0 {
			var w wants
			for _, host := range hosts {
				prefix := prefixes[random.IntN(len(prefixes))]
				taken := slices.ContainsFunc(slices.Collect(maps.Values(services)), func(v *version) bool {
					return v.status.Service != name && slices.Contains(v.claims, hostname.Claim{Host: host, Prefix: prefix})
				})
				if random.IntN(3) == 0 && !taken {
					w.claims = append(w.claims, hostname.Claim{Host: host, Prefix: prefix})
				}
			}
			if random.IntN(2) == 0 {
				w.policy.tls = TLS{Mode: TLSFiles}
			}
			next = newVersion(Status{Service: name}, w, group{})
			next.certificates = new(certificate.Set)
			services[name] = next
		} else {
			delete(services, name)
		}
		changed = changed.with(map[string]*version{name: next})
		made := newTable(services)
		is.Equal(changed.services, made.services)
		for _, host := range hosts {
			is.Equal(changed.sites.Get(host), made.sites.Get(host)) // the same routes, policy and certificates
		}
		is.Equal(len(slices.Collect(changed.sites.All())), len(slices.Collect(made.sites.All())))
		is.Equal(changed.unnamed, made.unnamed)
	}
}
