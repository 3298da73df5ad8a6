//go:build !race

package parachute

import (
	"testing"

	"github.com/matryer/is"
)

func TestLookupAndPickAllocateNothing(t *testing.T) {
	is := is.New(t)
	table, hosts := tableOf(1000)
	is.Equal(testing.AllocsPerRun(100, func() { table.lookup(hosts[7]) }), 0.0)
	v := newVersion(Status{}, nil, []*target{{}, {}, {}})
	is.Equal(testing.AllocsPerRun(100, func() { v.pick(nil) }), 0.0)
}
