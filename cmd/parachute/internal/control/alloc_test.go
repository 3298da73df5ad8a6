//go:build !race

package control_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"
)

func TestDeployAllocatesNoMoreObjectsAmongThousandsOfServices(t *testing.T) {
	for _, methods := range [][]string{{"PUT"}, {"PATCH"}, {"GET"}, {"DELETE", "PUT"}} {
		t.Run(fmt.Sprint(methods), func(t *testing.T) {
			is := is.New(t)
			allocs := func(services int) (n float64) {
				synctest.Test(t, func(t *testing.T) {
					ask := among(t, services)
					ask("PUT")
					synctest.Wait() // for the probes of the others
					n = testing.AllocsPerRun(50, func() {
						for _, method := range methods {
							ask(method)
						}
					})
				})
				return n
			}
			few, many := allocs(10), allocs(2000)
			t.Log("objects among 10 services:", few, "and among 2000:", many)
			is.True(many <= few+100) // the table, which is copied, has more parts
		})
	}
}
