package main

import (
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

func TestStatusShowsAllThatGoesOn(t *testing.T) {
	is := is.New(t)
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	services := []parachute.Status{{
		Service: "shop", Generation: 3, State: parachute.StateFailed, Error: "certificate is gone",
		Deployment: parachute.Deployment{Targets: []string{"10.0.0.9:3000"}}, Live: &parachute.Live{},
	}, {
		Service: "web", Generation: 42, State: parachute.StatePaused,
		Deployment: parachute.Deployment{
			Hosts: []string{"a.test", "b.test"}, PathPrefixes: []string{"/x"}, TLS: parachute.TLS{Mode: parachute.TLSAutomatic},
		},
		Rollout: &parachute.Rollout{Split: parachute.Split{Percent: 10}},
		Live: &parachute.Live{
			Since: ago(3 * time.Minute), Held: 1,
			Changes: []parachute.Change{
				{Kind: parachute.EventDraining, Generation: 42, Since: ago(4 * time.Second), Streams: 3},
				{Kind: parachute.EventDeploying, Generation: 43, Since: ago(2 * time.Second)},
			},
			Targets: []parachute.TargetStatus{{
				Address: "10.0.0.7:3000", Health: parachute.HealthHealthy, Since: ago(50 * time.Hour), Requests: 17, Streams: 2,
				Probe:   &parachute.Probe{Status: 200, Passed: true, Took: 12345 * time.Microsecond},
				Traffic: parachute.Traffic{Rate: 120.4, ErrorRate: 0.0018, P50: 12345 * time.Microsecond, P99: 1234 * time.Millisecond},
			}, {
				Address: "10.0.0.8:3000", Reads: true, Rollout: true, Health: parachute.HealthUnhealthy, Since: ago(90 * time.Minute),
				Probe:   &parachute.Probe{URL: "http://10.0.0.8:3000/up", Error: "connection refused"},
				Traffic: parachute.Traffic{Rate: 1.0 / 60, ErrorRate: 1, P50: 250 * time.Microsecond, P99: 30 * time.Second},
			}, {
				Address: "10.0.0.6:3000", Health: parachute.HealthUnknown, Since: ago(time.Second),
			}},
		},
	}}
	r := report{services: services, modes: tlsModes(services), now: now, certificates: []parachute.Certificate{
		{Host: "a.test", Source: parachute.TLSAutomatic, Expires: now.AddDate(0, 0, 61)},
		{Host: "b.test", Source: parachute.TLSAutomatic, Error: "rate limited"},
		{Host: "c.test", Source: parachute.TLSAutomatic},
	}}
	is.Equal(r.text(0), `service  shop
state    failed, generation 3
hosts    any
tls      off
note     certificate is gone

service  web
state    paused since 3m, generation 42
hosts    a.test/x, b.test/x
tls      automatic; b.test has no certificate yet: rate limited; a.test expires 2026-07-01 12:00 UTC (in 61d)
now      draining since 4s: 3 streams
         deploying generation 43 since 2s
         1 request held
note     rollout for 10 %

TARGET                          HEALTH         LAST PROBE                                 IN FLIGHT               REQ/S  ERRORS  P50    P99
10.0.0.8:3000 (rollout, reads)  unhealthy 90m  GET /up got no answer: connection refused  0                       <0.1   100%    250µs  30s
10.0.0.6:3000                   unknown 1s     -                                          0                       0      -       -      -
10.0.0.7:3000                   healthy 2d     200 in 12ms                                17 requests, 2 streams  120    0.2%    12ms   1.2s
`)
}

func TestExpiredCertificatesAreSaidToBeSo(t *testing.T) {
	is := is.New(t)
	r := report{now: time.Now()}
	is.Equal(r.formatUntil(r.now.Add(-72*time.Hour)), "3d ago")
	is.Equal(r.formatUntil(r.now.Add(30*time.Second)), "in 30s")
	is.Equal(r.formatAge(r.now.Add(time.Second)), "0s") // a clock that was set
}

func TestStatusHasAColumnForWaitingWhereSomebodyHasWaited(t *testing.T) {
	is := is.New(t)
	r := &report{services: []parachute.Status{{Service: "web", Live: &parachute.Live{Targets: []parachute.TargetStatus{
		{Address: "web-1:3000", Traffic: parachute.Traffic{Rate: 1, P99: time.Millisecond}},
		{Address: "web-2:3000", Traffic: parachute.Traffic{Rate: 1, P99: time.Millisecond, Waited: 0.12, WaitP99: 3 * time.Second}},
	}}}}}
	is.True(strings.Contains(r.text(0), "P99  WAITED\n"))
	is.True(strings.Contains(r.text(0), "1ms  -\n"))
	is.True(strings.Contains(r.text(0), "1ms  12%, P99 3s\n"))
	r.services[0].Live.Targets = r.services[0].Live.Targets[:1]
	is.True(!strings.Contains(r.text(0), "WAITED"))
}
