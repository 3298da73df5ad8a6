package metrics

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shahnk19/parachute"
)

// A collector collects all metrics when Prometheus scrapes them.
type collector struct{ metrics *Metrics }

// describe returns the description of a metric.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("parachute_"+name, help, labels, nil)
}

var (
	requestsDesc   = describe("requests_total", "Requests that have ended.", "service", "method", "code", "status", "role")
	durationDesc   = describe("request_duration_seconds", "How long requests took, but for upgraded connections, without the time in which no target was asked.", "service", "role")
	waitDesc       = describe("request_wait_seconds", "How long requests waited while no target was asked. Those that did not wait are left out.", "service")
	bytesInDesc    = describe("request_body_bytes_total", "Bytes of the bodies of requests.", "service")
	bytesOutDesc   = describe("response_body_bytes_total", "Bytes of the bodies of answers.", "service")
	retriesDesc    = describe("retries_total", "How often requests were sent again.", "service")
	unbufferedDesc = describe("unbuffered_responses_total", "Answers that were to be buffered, and were passed on as they came for want of room.", "service")
	inFlightDesc   = describe("requests_in_flight", "Requests that targets are answering, streams aside.", "service")
	streamsDesc    = describe("streams_open", "Upgraded connections and event streams.", "service")
	heldDesc       = describe("requests_held", "Requests that wait because their service is paused, or its targets cannot be reached.", "service")
	probesDesc     = describe("probes_total", "Health checks while a deploy waited, and others that changed the health of a target.", "service", "result")
	healthDesc     = describe("target_healthy", "Whether a target passed its last health checks. One that has not been checked is missing.", "service", "target", "role")
	deploymentDesc = describe("deployment_info", "What a service serves, and its rollout, which has no generation of its own here.", "service", "generation", "release", "by", "role")
	deploysDesc    = describe("deploys_total", "Deploys, and those of rollouts, by how they ended.", "service", "outcome")
	drainsDesc     = describe("drain_duration_seconds", "How long drains took, until the last request was answered or cut off.", "service")
	expiryDesc     = describe("certificate_expiry_timestamp_seconds", "When a certificate expires.", "host", "source")
	missingDesc    = describe("certificate_missing", "Whether a host that is to be served over TLS has no certificate.", "host", "source")
	notifiedDesc   = describe("notifications_total", "Notifications that were taken by whoever is at a host, and those that were dropped.", "host", "outcome")
	unknownDesc    = describe("tls_unknown_names_total", "TLS handshakes with names that have no certificate.")
)

// Describe sends nothing, because the metrics depend on what is deployed.
func (c collector) Describe(chan<- *prometheus.Desc) {}

func (c collector) Collect(out chan<- prometheus.Metric) {
	proxy := c.metrics.proxy
	services := c.metrics.refresh()
	sink := sink(out)
	for name, s := range *c.metrics.services.Load() {
		sink.series(name, s)
	}
	for _, s := range services {
		sink.live(s)
	}
	for _, certificate := range proxy.Certificates() {
		missing := 0.0
		if certificate.Expires.IsZero() {
			missing = 1
		}
		if certificate.Source != parachute.TLSOnDemand { // whoever likes may come to a name
			sink.gauge(missingDesc, missing, certificate.Host, string(certificate.Source))
		}
		if missing == 0 {
			sink.gauge(expiryDesc, float64(certificate.Expires.Unix()), certificate.Host, string(certificate.Source))
		}
	}
	sink.counter(unknownDesc, proxy.UnknownNames())
	if counts := c.metrics.notifications; counts != nil {
		counts(func(host string, sent, dropped uint64) {
			sink.counter(notifiedDesc, sent, host, "sent")
			sink.counter(notifiedDesc, dropped, host, "dropped")
		})
	}
	if k := c.metrics.kamal; k != nil {
		k.collect(out, services)
	}
}

// A sink receives the collected metrics.
type sink chan<- prometheus.Metric

func (out sink) counter(desc *prometheus.Desc, v uint64, labels ...string) {
	out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), labels...)
}

func (out sink) gauge(desc *prometheus.Desc, v float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
}

func (out sink) histogram(desc *prometheus.Desc, bounds []time.Duration, buckets []atomic.Uint64, sum *atomic.Int64, labels ...string) {
	cumulative := make(map[float64]uint64, len(bounds))
	var n uint64
	for i, bound := range bounds {
		n += buckets[i].Load()
		cumulative[bound.Seconds()] = n
	}
	n += buckets[len(bounds)].Load()
	out <- prometheus.MustNewConstHistogram(desc, n, time.Duration(sum.Load()).Seconds(), cumulative, labels...)
}

// series sends the counts of a service. It leaves out those of requests that are 0,
// because there are many of them.
func (out sink) series(service string, s *series) {
	for k, n := range s.requests.all() {
		method, code, status, role := k.labels()
		out.counter(requestsDesc, n.Load(), service, method, code, status, role)
	}
	for i, outcome := range outcomeNames() {
		out.counter(deploysDesc, s.deploys[i].Load(), service, outcome)
	}
	for i, role := range roleNames() {
		if d := &s.durations[i]; i == roleNone || d.isUsed() {
			out.histogram(durationDesc, requestBounds[:], d.buckets[:], &d.sum, service, role)
		}
	}
	out.histogram(waitDesc, requestBounds[:], s.waits.buckets[:], &s.waits.sum, service)
	out.histogram(drainsDesc, drainBounds[:], s.drains.buckets[:], &s.drains.sum, service)
	out.counter(bytesInDesc, s.in.Load(), service)
	out.counter(bytesOutDesc, s.out.Load(), service)
	out.counter(retriesDesc, s.retries.Load(), service)
	out.counter(unbufferedDesc, s.unbuffered.Load(), service)
	out.counter(probesDesc, s.probes[0].Load(), service, "failed")
	out.counter(probesDesc, s.probes[1].Load(), service, "passed")
}

// live sends the gauges of a service.
func (out sink) live(s parachute.Status) {
	if s.Live == nil {
		return
	}
	out.gauge(deploymentDesc, 1, s.Service, strconv.FormatUint(s.Generation, 10), s.Deployment.Release, s.Deployment.By, "main")
	if r := s.Rollout; r != nil {
		out.gauge(deploymentDesc, 1, s.Service, "", r.Release, r.By, "rollout")
	}
	var requests, streams int64
	for _, t := range s.Live.Targets {
		requests += t.Requests
		streams += t.Streams
		switch t.Health {
		case parachute.HealthHealthy:
			out.gauge(healthDesc, 1, s.Service, t.Address, roleOf(t))
		case parachute.HealthUnhealthy:
			out.gauge(healthDesc, 0, s.Service, t.Address, roleOf(t))
		}
	}
	out.gauge(inFlightDesc, float64(requests), s.Service)
	out.gauge(streamsDesc, float64(streams), s.Service)
	out.gauge(heldDesc, float64(s.Live.Held), s.Service)
}

// roleOf returns the role of a target, which tells apart targets of the same
// address.
func roleOf(t parachute.TargetStatus) string { return roleNames()[roleIndex(t.Reads, t.Rollout)] }
