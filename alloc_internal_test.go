//go:build !race

package parachute

import (
	"net/http"
	"testing"

	"github.com/matryer/is"
)

func TestLookupAndPickAllocateNothing(t *testing.T) {
	is := is.New(t)
	table, hosts := tableOf(1000)
	is.Equal(testing.AllocsPerRun(100, func() { table.lookup(hosts[7]) }), 0.0)
	v := newVersion(Status{}, nil, newGroup([]*target{idle(), idle(), idle()}, nil))
	is.Equal(testing.AllocsPerRun(100, func() { v.main.pick(0, nil, false) }), 0.0)
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
