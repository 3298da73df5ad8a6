//go:build !race

package parachute

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/affinity"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/targets"
)

func TestLookupAndPickAllocateNothing(t *testing.T) {
	is := is.New(t)
	table, hosts := tableOf(1000)
	is.Equal(testing.AllocsPerRun(100, func() { table.Match(hosts[7]) }), 0.0)
	v := newVersion(Status{}, wants{}, targets.NewGroup([]*target{idle(), idle(), idle()}, nil, ""))
	is.Equal(testing.AllocsPerRun(100, func() { v.Main.Pick(0, nil, false, affinity.Visitor{}) }), 0.0)
}

func TestServeAllocatesLittleOfItsOwn(t *testing.T) {
	is := is.New(t)
	p, host := serving(1)
	r, w := visitor(host), &sink{header: make(http.Header)}
	allocs := testing.AllocsPerRun(1000, func() {
		clear(w.header)
		p.ServeHTTP(w, r)
	})
	is.True(allocs <= 12) // see BenchmarkServeNothing
	t.Log("allocations of a small request:", allocs)
}

// A request with its answer is in the objects of the exchange, of the answer's header (its
// text, its values, and two of the map), and in the request's identifier.
func TestSmallRequestAllocatesSixObjects(t *testing.T) {
	is := is.New(t)
	is.True(testing.AllocsPerRun(2000, through(t)) <= 6)       // see BenchmarkThrough
	is.True(testing.AllocsPerRun(2000, throughMemory(t)) <= 6) // see BenchmarkThroughMemory
}

// serviceSize is what a service with one target may cost that nobody has asked
// anything of, stacks included. It takes about half of that.
const serviceSize = 10 << 10

func TestIdleServiceAllocatesLittle(t *testing.T) {
	for name, target := range map[string]string{"address": "10.0.%d.%d:80", "name": "web-%d-%d:80"} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			var network proxytest.Net
			network.Script(t, "10.0.0.0:80", func(conn net.Conn, _ int) {
				proxytest.ReadHead(conn)
				io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
			})
			dial := func(ctx context.Context, nw, _ string) (net.Conn, error) { return network.Dial(ctx, nw, "10.0.0.0:80") }
			p := New(Options{})
			defer p.Close()
			p.LookUpWith(func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("10.0.0.0")}, nil
			}, dial)
			p.backends.Dial = dial
			deploy := func(i int) {
				service := fmt.Sprintf("service-%d", i)
				is.NoErr(p.Deploy(t.Context(), Deployment{
					Service: service, Hosts: []string{service + ".example.com"}, Targets: []string{fmt.Sprintf(target, i>>8, i&255)},
					HealthCheck: HealthCheck{Interval: time.Hour}, Timeouts: Timeouts{Deploy: time.Minute},
				}))
			}
			const services = 2000
			deploy(0)
			before := inUse()
			for i := range services {
				deploy(i + 1)
			}
			size := (inUse() - before) / services
			t.Log("bytes of a service:", size)
			is.True(size <= serviceSize)
		})
	}
}

// inUse returns how many bytes of the heap and of stacks are in use.
func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
