package parachute

import (
	"fmt"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/affinity"
	"github.com/shahnk19/parachute/internal/backend"
	"github.com/shahnk19/parachute/internal/endpoint"
	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/targets"
)

// tableOf returns a table of n services with a host each.
func tableOf(n int) (*table, []string) {
	services := make(map[string]*version, n)
	var hosts []string
	for i := range n {
		name := fmt.Sprintf("service-%d", i)
		host := name + ".example.com"
		services[name] = newVersion(Status{Service: name}, wants{Claims: []hostname.Claim{{Host: host}}}, group{})
		hosts = append(hosts, host)
	}
	return newTable(services, nil, 10), hosts
}

// idle returns a target that is not probed and to which nothing is sent.
func idle() *target {
	at := endpoint.Target{Endpoint: endpoint.Endpoint{Scheme: "http", Network: "tcp", Address: "web-1:3000"}, Given: "web-1:3000"}
	return targets.New(new(backend.Shared).New(at, backend.Settings{}), at.Given, "", 1, 1, nil)
}

// A request may have chosen its lane just before Shutdown looks.
func TestShutdownClosesTheGatesOfIdleVersionsToo(t *testing.T) {
	is := is.New(t)
	p := New(Options{})
	v := newVersion(Status{Service: "web"}, wants{Claims: []hostname.Claim{{}}}, targets.NewGroup([]*target{idle()}, nil, ""))
	is.True(p.router.routes.PublishFirst(newTable(map[string]*version{"web": v}, nil, 10), 1))
	lane := v.Main.Pick(0, nil, false, affinity.Visitor{})
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
				if table.Match(host) == nil {
					b.Fatal("not found")
				}
			}
		})
		b.Run(fmt.Sprintf("hosts=%d/spread", n), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if table.Match(hosts[i]) == nil {
					b.Fatal("not found")
				}
				if i += 7919; i >= n { // a prime: the order is not that of memory
					i %= n
				}
			}
		})
	}
}
