package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

func TestPrometheusIsToldOfRequestsAndDeploys(t *testing.T) {
	is := is.New(t)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") }))
	defer app.Close()
	m := newMetrics()
	proxy := parachute.New(parachute.Options{Observe: m.observe, Notify: m.notify})
	defer proxy.Close()
	m.watch(proxy)

	address := app.Listener.Addr().String()
	is.NoErr(proxy.Deploy(context.Background(), parachute.Deployment{Service: "web", Targets: []string{address}}))
	proxy.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	for _, line := range []string{
		`web_requests_total{service="web",status="2xx"} 1`,
		`web_request_duration_seconds_count{service="web"} 1`,
		`web_deploys_total{outcome="switched",service="web"} 1`,
		`web_target_health_changes_total{health="healthy",service="web"} 1`,
		`web_requests_in_flight 0`,
	} {
		is.True(strings.Contains(scrape(m), line+"\n"))
	}

	is.NoErr(proxy.Remove(context.Background(), "web"))
	is.True(!strings.Contains(scrape(m), `service="web"`)) // its series are gone
}

func scrape(m *metrics) string {
	w := httptest.NewRecorder()
	m.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}
