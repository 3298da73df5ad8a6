package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// An app answers the requests of the sample backend.
type app struct {
	version  string
	host     string
	upAt     time.Time     // when it begins to call itself healthy
	stopping chan struct{} // closed when the event streams are to end
	fault    string        // the path that is answered 500; empty: none is
}

func newApp(version string, upDelay time.Duration) *app {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return &app{
		version:  version,
		host:     host,
		upAt:     time.Now().Add(upDelay),
		stopping: make(chan struct{}),
	}
}

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", a.hello)
	mux.HandleFunc("/up", a.up)
	mux.HandleFunc("/slow", a.slow)
	mux.HandleFunc("/events", a.events)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == a.fault {
			http.Error(w, "this version has a fault here", http.StatusInternalServerError)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// hello says which version answers, on which host, and what the proxy told it
// about the request.
func (a *app) hello(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "version %s on %s\n", a.version, a.host)
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-ID"} {
		if value := r.Header.Get(name); value != "" {
			fmt.Fprintf(w, "%s: %s\n", name, value)
		}
	}
}

// up is what health checks ask.
func (a *app) up(w http.ResponseWriter, r *http.Request) {
	if wait := time.Until(a.upAt); wait > 0 {
		http.Error(w, fmt.Sprintf("not up for another %v", wait.Round(time.Millisecond)), http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "OK\n")
}

// slow answers after the time in the query, as in /slow?for=2s.
func (a *app) slow(w http.ResponseWriter, r *http.Request) {
	wait, err := time.ParseDuration(cmp.Or(r.FormValue("for"), "1s"))
	if err != nil || wait < 0 || wait > time.Hour {
		http.Error(w, "want a time of at most 1h, as in /slow?for=2s", http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(wait):
		fmt.Fprintf(w, "version %s took %v\n", a.version, wait)
	case <-r.Context().Done():
	}
}

// endStreams ends all event streams. It is called once.
func (a *app) endStreams() { close(a.stopping) }

// events sends an event each second until the client or the app goes away.
func (a *app) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		if _, err := fmt.Fprintf(w, "id: %d\ndata: version %s\n\n", n, a.version); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-a.stopping:
			return
		}
	}
}
