// Metrics is a server with parachute inside: it brings the targets named on its
// command line into service, serves them on port 8080, and tells Prometheus
// about it on port 9090.
package main

import (
	"cmp"
	"context"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/shahnk19/parachute"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(targets []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	m := newMetrics()
	proxy := parachute.New(parachute.Options{Observe: m.observe, Notify: m.notify})
	defer proxy.Close()
	m.watch(proxy)

	servers := []*http.Server{
		{Addr: ":8080", Handler: proxy},
		{Addr: ":9090", Handler: m.handler()},
	}
	failed := make(chan error, len(servers))
	for _, s := range servers {
		go func() { failed <- s.ListenAndServe() }()
		defer s.Close()
	}
	if err := proxy.Deploy(ctx, parachute.Deployment{Service: "web", Targets: targets}); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// metrics counts what the hooks of a Proxy tell.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	retries  *prometheus.CounterVec
	deploys  *prometheus.CounterVec
	health   *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "web_requests_total", Help: "Requests that have ended.",
		}, []string{"service", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "web_request_duration_seconds", Help: "How long they took.", Buckets: prometheus.DefBuckets,
		}, []string{"service"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "web_retries_total", Help: "How often they were sent again.",
		}, []string{"service"}),
		deploys: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "web_deploys_total", Help: "Deploys by how they ended.",
		}, []string{"service", "outcome"}),
		health: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "web_target_health_changes_total", Help: "How often a target became healthy, or stopped being so.",
		}, []string{"service", "health"}),
	}
	m.registry.MustRegister(m.requests, m.duration, m.retries, m.deploys, m.health)
	return m
}

// observe is called when a request has ended. Nothing here is told by path, for
// there is no end of those.
func (m *metrics) observe(_ *http.Request, o parachute.Outcome) {
	m.requests.WithLabelValues(o.Service, statusClass(o.Status)).Inc()
	m.duration.WithLabelValues(o.Service).Observe(o.Duration.Seconds())
	m.retries.WithLabelValues(o.Service).Add(float64(o.Retries))
}

func statusClass(status int) string {
	classes := map[int]string{0: "none", 1: "1xx", 2: "2xx", 3: "3xx", 4: "4xx", 5: "5xx"}
	return cmp.Or(classes[status/100], "other")
}

// notify is called when something has happened to a service.
func (m *metrics) notify(e parachute.Event) {
	switch e.Kind {
	case parachute.EventSwitched:
		m.deploys.WithLabelValues(e.Service, "switched").Inc()
	case parachute.EventFailed:
		m.deploys.WithLabelValues(e.Service, "failed").Inc()
	case parachute.EventHealthy:
		m.health.WithLabelValues(e.Service, "healthy").Inc()
	case parachute.EventUnhealthy:
		m.health.WithLabelValues(e.Service, "unhealthy").Inc()
	case parachute.EventRemoved:
		gone := prometheus.Labels{"service": e.Service}
		m.requests.DeletePartialMatch(gone)
		m.duration.DeletePartialMatch(gone)
		m.retries.DeletePartialMatch(gone)
		m.deploys.DeletePartialMatch(gone)
		m.health.DeletePartialMatch(gone)
	}
}

// watch adds what is to be asked of the Proxy, rather than counted.
func (m *metrics) watch(proxy *parachute.Proxy) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "web_requests_in_flight", Help: "Requests that targets are answering.",
	}, func() float64 { return inFlight(proxy.Services()) }))
}

func inFlight(services []parachute.Status) (requests float64) {
	for _, s := range services {
		if s.Live == nil {
			continue
		}
		for _, t := range s.Live.Targets {
			requests += float64(t.Requests)
		}
	}
	return requests
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
