package server

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/metrics"
)

// addHooks makes the hooks of o call these before their own. observe may be nil.
func addHooks(o *parachute.Options, observe func(*http.Request, parachute.Outcome), notify func(parachute.Event)) {
	observed, notified := o.Observe, o.Notify
	switch {
	case observe == nil:
	case observed == nil:
		o.Observe = observe
	default:
		o.Observe = func(r *http.Request, how parachute.Outcome) {
			observe(r, how)
			observed(r, how)
		}
	}
	o.Notify = func(e parachute.Event) {
		notify(e)
		notified(e)
	}
}

// addMonitoring creates the server of the metrics port.
func (s *server) addMonitoring(c Config, p parts, m *metrics.Metrics) {
	monitoring := &http.Server{
		Handler:  s.monitoringHandler(m),
		ErrorLog: slog.NewLogLogger(p.logger.Handler(), slog.LevelDebug),
	}
	c.Limits.normalize().apply(monitoring)
	s.monitoring = newOperatorServer(monitoring, p.listeners.metrics.NewAcceptor(), nil)
}

// monitoringHandler returns the handler of the metrics port. It serves /metrics; /healthz,
// which answers 200 as long as the process lives; /readyz, which answers 503 once the
// process is stopping, or does not serve what its fleet does; and /healthz/SERVICE, which
// answers 200 if the service has a healthy target, or is paused or stopped on purpose.
func (s *server) monitoringHandler(m *metrics.Metrics) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		writeText(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if s.stopping.Load() {
			writeText(w, http.StatusServiceUnavailable, "stopping")
			return
		}
		if why := s.membership.why(); why != nil {
			writeText(w, http.StatusServiceUnavailable, why.Error())
			return
		}
		writeText(w, http.StatusOK, "ready")
	})
	mux.HandleFunc("GET /healthz/{service}", func(w http.ResponseWriter, r *http.Request) {
		service, err := s.proxy.Service(r.PathValue("service"))
		if err != nil {
			writeText(w, http.StatusNotFound, "no such service")
			return
		}
		writeHealth(w, service)
	})
	return mux
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

// writeHealth answers with the health of a service.
func writeHealth(w http.ResponseWriter, s parachute.Status) {
	healthy, all := countTargets(s)
	status := http.StatusOK
	if s.State == parachute.StateFailed || s.State == parachute.StateServing && healthy == 0 {
		status = http.StatusServiceUnavailable
	}
	writeText(w, status, fmt.Sprintf("%s, %d of %d targets healthy", s.State, healthy, all))
}

// countTargets returns how many targets of a service are healthy, and how many
// there are. It counts only targets that serve all kinds of requests.
func countTargets(s parachute.Status) (healthy, all int) {
	if s.Live == nil {
		return 0, 0
	}
	for _, t := range s.Live.Targets {
		if t.Reads || t.Rollout {
			continue
		}
		all++
		if t.Health == parachute.HealthHealthy {
			healthy++
		}
	}
	return healthy, all
}
