//go:build !race

package control_test

import (
	"testing"
	"testing/synctest"

	"github.com/matryer/is"
)

func TestDeployAllocatesNoMoreObjectsAmongThousandsOfServices(t *testing.T) {
	for _, method := range []string{"PUT", "PATCH", "GET"} {
		t.Run(method, func(t *testing.T) {
			is := is.New(t)
			allocs := func(services int) (n float64) {
				synctest.Test(t, func(t *testing.T) {
					ask := among(t, services)
					ask("PUT")
					synctest.Wait() // for the probes of the others
					n = testing.AllocsPerRun(50, func() { ask(method) })
				})
				return n
			}
			few, many := allocs(10), allocs(2000)
			t.Log("objects among 10 services:", few, "and among 2000:", many)
			is.True(many <= few+50) // the table, which is copied, has more parts
		})
	}
}
