package metrics

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shahnk19/parachute"
)

// kamal counts requests under the names and labels that kamal-proxy gives its metrics,
// so that dashboards and alerts made for it go on working. The counts of a service are
// dropped with it, and requests of no service are not counted.
type kamal struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
}

func newKamal() *kamal {
	labels := []string{"service", "method", "status"}
	return &kamal{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kamal_proxy_http_requests_total", Help: "Requests that have ended, as kamal-proxy counts them.",
		}, labels),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kamal_proxy_http_request_duration_seconds", Help: "How long requests took in all, as kamal-proxy counts them.",
		}, labels),
	}
}

// observe counts a request that has ended.
func (k *kamal) observe(r *http.Request, o *parachute.Outcome) {
	if o.Service == "" {
		return
	}
	method, status := methodNames()[methodIndex(r.Method)], strconv.Itoa(o.Status)
	k.requests.WithLabelValues(o.Service, method, status).Inc()
	k.durations.WithLabelValues(o.Service, method, status).Observe(o.Duration.Seconds())
}

// remove drops the counts of a service.
func (k *kamal) remove(service string) {
	labels := prometheus.Labels{"service": service}
	k.requests.DeletePartialMatch(labels)
	k.durations.DeletePartialMatch(labels)
}

var kamalInFlightDesc = prometheus.NewDesc("kamal_proxy_http_in_flight_requests",
	"Requests that have not ended, streams and those that wait included, as kamal-proxy counts them.", []string{"service"}, nil)

// collect sends all metrics. services are those that there are.
func (k *kamal) collect(out chan<- prometheus.Metric, services []parachute.Status) {
	k.requests.Collect(out)
	k.durations.Collect(out)
	for _, s := range services {
		if s.Live == nil {
			continue
		}
		inside := s.Live.Held
		for _, t := range s.Live.Targets {
			inside += t.Requests + t.Streams
		}
		sink(out).gauge(kamalInFlightDesc, float64(inside), s.Service)
	}
}
