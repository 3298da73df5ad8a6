// Package metrics counts what happens to requests, targets and services, for
// Prometheus. Its metrics have a label for the service, and none for the path.
package metrics

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/shahnk19/parachute"
)

// Metrics are the metrics of one Proxy. Its Observe and Notify are for
// parachute.Options, so it is created before the Proxy, which SetProxy sets.
//
// The counts of a service are dropped when the service is removed. What belongs
// to no service, such as a request for an unknown host, is counted for the service "".
// A service whose first deploy failed has counts all the same.
type Metrics struct {
	proxy    *parachute.Proxy
	kamal    *kamal                             // nil: nothing is counted as kamal-proxy does
	services atomic.Pointer[map[string]*series] // by name; never changed, but replaced

	notifications func(each func(host string, sent, dropped uint64)) // nil: none are counted

	mu        sync.Mutex             // held while services is replaced; guards the fields below
	deploying map[uint64]bool        // generations that have not switched yet
	draining  map[drainKey]time.Time // when each drain began
	attempted map[string]bool        // services of which there was no more than an attempt to deploy them
}

// A drainKey identifies a drain.
type drainKey struct {
	service    string
	generation uint64
}

// New returns Metrics without a Proxy.
func New() *Metrics {
	m := &Metrics{deploying: make(map[uint64]bool), draining: make(map[drainKey]time.Time), attempted: make(map[string]bool)}
	m.services.Store(&map[string]*series{"": new(series)})
	return m
}

// CountAsKamal has requests counted under the names of kamal-proxy's metrics as well.
// It must be called before the Proxy serves.
func (m *Metrics) CountAsKamal() { m.kamal = newKamal() }

// CountNotifications has notifications counted: counts calls each for every host that
// they are sent to. It must be called before Handler is used.
func (m *Metrics) CountNotifications(counts func(each func(host string, sent, dropped uint64))) {
	m.notifications = counts
}

// SetProxy sets the Proxy. It must be called once, before the Proxy serves and
// before Handler is used.
func (m *Metrics) SetProxy(p *parachute.Proxy) { m.proxy = p }

// Handler returns the handler that Prometheus scrapes.
func (m *Metrics) Handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{m}, collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// Observe counts a request that has ended, unless its service excludes the path.
// It does not keep its arguments.
func (m *Metrics) Observe(r *http.Request, o parachute.Outcome) {
	if o.Deployment != nil && len(o.Deployment.Report.ExcludeMetricsPaths) > 0 && excluded(r, &o) {
		return
	}
	s := (*m.services.Load())[o.Service]
	if s == nil {
		if s = m.addFromProxy(o.Service); s == nil {
			return // a request that outlived its service
		}
	}
	s.request(r.Method, &o)
	if m.kamal != nil {
		m.kamal.observe(r, &o)
	}
}

// excluded reports whether the path, as the target saw it, is one that the
// service excludes.
func excluded(r *http.Request, o *parachute.Outcome) bool {
	path := r.URL.Path
	if o.Prefix != "" {
		prefix, err := url.PathUnescape(o.Prefix)
		if err != nil {
			return false
		}
		path = "/" + strings.TrimLeft(strings.TrimPrefix(path, prefix), "/")
	}
	return slices.Contains(o.Deployment.Report.ExcludeMetricsPaths, path)
}

// addFromProxy adds the series of a service that has none yet and returns it, or
// returns nil if the Proxy has no such service.
func (m *Metrics) addFromProxy(service string) *series {
	m.refresh()
	return (*m.services.Load())[service]
}

// refresh adds and removes series so that they fit the services of the Proxy,
// some of which may have been restored, and returns the services.
func (m *Metrics) refresh() []parachute.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	services := m.proxy.Services() // under mu, so no older than the last event
	known := *m.services.Load()
	next := map[string]*series{"": known[""]}
	for _, s := range services {
		if next[s.Service] = known[s.Service]; next[s.Service] == nil {
			next[s.Service] = new(series)
		}
	}
	for service := range m.attempted {
		if next[service] == nil {
			next[service] = known[service]
		}
	}
	m.services.Store(&next)
	return services
}

// Notify counts an event.
func (m *Metrics) Notify(e parachute.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch e.Kind {
	case parachute.EventDeploying:
		m.deploying[e.Generation] = true
		m.attemptLocked(e.Service)
	case parachute.EventProbed:
		m.seriesLocked(e.Service).probe(e.Probe)
	case parachute.EventHealthy, parachute.EventUnhealthy:
		if !m.deploying[e.Generation] { // else it was an EventProbed as well
			m.seriesLocked(e.Service).probe(e.Probe)
		}
	case parachute.EventSwitched:
		delete(m.attempted, e.Service)
		m.addLocked(e.Service)
		m.deployedLocked(e, switched)
	case parachute.EventTakenBack:
		m.seriesLocked(e.Service).deploys[takenBack].Add(1)
	case parachute.EventFailed:
		m.deployedLocked(e, deployOutcome(e.Err))
	case parachute.EventDraining:
		if e.Elapsed == 0 { // the drain begins
			m.draining[drainKey{e.Service, e.Generation}] = e.Time
		}
	case parachute.EventDrained:
		d := drainKey{e.Service, e.Generation}
		if since, ok := m.draining[d]; ok {
			delete(m.draining, d)
			m.seriesLocked(e.Service).drains.observe(e.Time.Sub(since))
		}
	case parachute.EventRemoved:
		m.removeLocked(e.Service)
	}
}

// deployedLocked counts the end of a deploy. It ignores events of anything else,
// such as a service that could not be restored.
func (m *Metrics) deployedLocked(e parachute.Event, how outcome) {
	if m.deploying[e.Generation] {
		delete(m.deploying, e.Generation)
		m.seriesLocked(e.Service).deploys[how].Add(1)
	}
}

// deployOutcome returns the outcome of a deploy that failed with err.
func deployOutcome(err error) outcome {
	switch {
	case errors.Is(err, context.Canceled): // whatever its targets were by then
		return canceled
	case errors.Is(err, parachute.ErrUnhealthy):
		return unhealthy
	case errors.Is(err, parachute.ErrSuperseded):
		return superseded
	}
	return failed
}

// seriesLocked returns the series of a service, or if there is none, the series
// for no service.
func (m *Metrics) seriesLocked(service string) *series {
	known := *m.services.Load()
	if s := known[service]; s != nil {
		return s
	}
	return known[""]
}

// maxAttempted bounds the services that were never deployed and have counts of their
// own. Those above are counted for no service.
const maxAttempted = 100

// attemptLocked adds the series of a service that is to be deployed, so that its
// counts are seen at 0 before they grow.
func (m *Metrics) attemptLocked(service string) {
	if (*m.services.Load())[service] == nil && len(m.attempted) < maxAttempted {
		m.attempted[service] = true
		m.addLocked(service)
	}
}

func (m *Metrics) addLocked(service string) {
	known := *m.services.Load()
	if known[service] != nil {
		return
	}
	next := maps.Clone(known)
	next[service] = new(series)
	m.services.Store(&next)
}

func (m *Metrics) removeLocked(service string) {
	delete(m.attempted, service)
	next := maps.Clone(*m.services.Load())
	delete(next, service)
	m.services.Store(&next)
	if m.kamal != nil {
		m.kamal.remove(service)
	}
}
