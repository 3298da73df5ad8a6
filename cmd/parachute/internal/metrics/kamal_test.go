package metrics_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/shahnk19/parachute"
)

func TestKamalProxysMetricsStandBesideOurs(t *testing.T) {
	is := is.New(t)
	m, p := newMetrics(t)
	m.CountAsKamal()
	deploy(t, p, parachute.Deployment{
		Service: "web", Targets: []string{newTarget(t)}, Hosts: []string{"a.test"}, Report: parachute.Report{ExcludeMetricsPaths: []string{"/up"}},
	})
	send(p, "GET", "http://a.test/x", "")
	send(p, "GET", "http://a.test/up", "") // which the service excludes
	send(p, "POST", "http://a.test/y", "12345")
	send(p, "GET", "http://nobody.test/", "")
	m.Observe(httptest.NewRequest("BREW", "/", nil), parachute.Outcome{Service: "web", Status: 418, Duration: 30 * time.Millisecond})
	scraped := scrape(t, m)
	is.Equal(lacks(scraped,
		`kamal_proxy_http_requests_total{method="GET",service="web",status="200"} 1`,
		`kamal_proxy_http_requests_total{method="POST",service="web",status="200"} 1`,
		`kamal_proxy_http_requests_total{method="other",service="web",status="418"} 1`, // clients cannot create new values
		`kamal_proxy_http_request_duration_seconds_bucket{method="other",service="web",status="418",le="0.025"} 0`,
		`kamal_proxy_http_request_duration_seconds_bucket{method="other",service="web",status="418",le="0.05"} 1`,
		`kamal_proxy_http_request_duration_seconds_count{method="GET",service="web",status="200"} 1`,
		`kamal_proxy_http_in_flight_requests{service="web"} 0`,
	), nil)
	is.True(strings.Contains(scraped, "\nparachute_requests_total{")) // ours
	problems, err := promlint.New(strings.NewReader(scraped)).Lint()
	is.NoErr(err)
	is.Equal(problems, nil)

	is.NoErr(p.Remove(context.Background(), "web"))
	is.True(!strings.Contains(scrape(t, m), `service="web"`)) // they go with the service
}

func TestKamalProxysMetricsAreNotServedUnlessAskedFor(t *testing.T) {
	is := is.New(t)
	m, p := newMetrics(t)
	deploy(t, p, parachute.Deployment{Service: "web", Targets: []string{newTarget(t)}})
	send(p, "GET", "http://a.test/x", "")
	is.True(!strings.Contains(scrape(t, m), "kamal"))
}
