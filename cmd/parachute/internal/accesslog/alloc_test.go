//go:build !race

package accesslog_test

import (
	"io"
	"testing"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute/cmd/parachute/internal/accesslog"
)

func TestObserveAllocatesNothing(t *testing.T) {
	for _, f := range []accesslog.Format{accesslog.JSON, accesslog.Text} {
		t.Run(string(f), func(t *testing.T) {
			is := is.New(t)
			log := accesslog.New(io.Discard, f)
			defer log.Close()
			r, o := newRequest(), newOutcome()
			o.Deployment = newDeployment()
			for range 1000 {
				log.Observe(r, o)
			}
			is.Equal(testing.AllocsPerRun(1000, func() { log.Observe(r, o) }), 0.0) // in steady state
		})
	}
}

func TestFollowedObserveAllocatesNothing(t *testing.T) {
	is := is.New(t)
	log := accesslog.New(io.Discard, accesslog.JSON)
	defer log.Close()
	f := follow(log, "web", 0, make(chan struct{}))
	r, o := newRequest(), newOutcome()
	for range 1000 {
		log.Observe(r, o)
	}
	<-f.asked                                                               // it reads no further
	is.Equal(testing.AllocsPerRun(1000, func() { log.Observe(r, o) }), 0.0) // in steady state
	close(f.gate)
	f.stop(t)
}
