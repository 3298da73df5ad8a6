package parachute_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

func TestConnectionsToATargetAreUsedAsTheServiceSays(t *testing.T) {
	for name, tt := range map[string]struct {
		keep   parachute.TargetKeepAlive
		conns  int // that six requests are sent on
		closed bool
	}{
		"by default":          {conns: 1},
		"without keep-alive":  {parachute.TargetKeepAlive{Off: true}, 6, true},
		"for four requests":   {parachute.TargetKeepAlive{Requests: 4}, 2, false},
		"for one request":     {parachute.TargetKeepAlive{Requests: 1}, 6, true},
		"for as many as come": {parachute.TargetKeepAlive{Requests: 6}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				seen, said := make(map[string]bool), make(map[bool]bool)
				is.NoErr(h.with(func(w http.ResponseWriter, r *http.Request) {
					seen[r.RemoteAddr], said[r.Close] = true, true
				}, parachute.Deployment{TargetKeepAlive: tt.keep, HealthCheck: parachute.HealthCheck{Interval: 100 * time.Millisecond}}))
				for range 6 {
					resp, _ := h.answer("GET", "/", "")
					is.Equal(resp.StatusCode, 200)
					time.Sleep(time.Second) // in which there are health checks
				}
				is.Equal(len(seen), tt.conns)
				is.Equal(said, map[bool]bool{tt.closed: true}) // Connection: close
			})
		})
	}
}
