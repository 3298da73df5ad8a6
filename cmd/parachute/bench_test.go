package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
)

// BenchmarkHistory prints the history of 1,000 services with ten deployments each: what
// "parachute history" does, and what the proxy does for it.
func BenchmarkHistory(b *testing.B) {
	dir, err := os.MkdirTemp("", "pc")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	env := environment{
		"PARACHUTE_SOCKET": filepath.Join(dir, "s"), "PARACHUTE_DATA_DIR": filepath.Join(dir, "data"),
		"PARACHUTE_BIND": "127.0.0.1", "HTTP_PORT": "0", "HTTPS_PORT": "-1",
	}
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	saveHistory(b, env["PARACHUTE_DATA_DIR"], 1000, app.Listener.Addr().String())
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan int)
	out := newOutput()
	go func() { ended <- main.Run(ctx, []string{"parachute", "run"}, env.list(), out, io.Discard) }()
	defer func() { <-ended }()
	defer stop()
	for main.Run(ctx, []string{"parachute", "list"}, env.list(), io.Discard, io.Discard) != 0 {
		time.Sleep(10 * time.Millisecond)
	}
	for name, args := range map[string][]string{"table": {"parachute", "history"}, "json": {"parachute", "history", "--json"}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if code := main.Run(ctx, args, env.list(), io.Discard, os.Stderr); code != 0 {
					b.Fatal(code)
				}
			}
		})
	}
}

// saveHistory saves a state with n services at a target that have nine deployments behind
// them.
func saveHistory(b *testing.B, dir string, n int, target string) {
	b.Helper()
	var services []parachute.Status
	began := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	for i := range n {
		d := parachute.Deployment{Service: fmt.Sprintf("web-%04d", i), Targets: []string{target}, Hosts: []string{fmt.Sprintf("app%d.example.com", i)}, Release: "v10", HealthCheck: parachute.HealthCheck{Status: "404", Interval: time.Minute}}
		text, err := json.Marshal(d)
		if err != nil {
			b.Fatal(err)
		}
		s := parachute.Status{Service: d.Service, Generation: uint64(10*i + 10), State: parachute.StateServing, Deployment: d, Switched: began.Add(10 * time.Hour)}
		for past := range 9 {
			s.History = append(s.History, parachute.Past{
				Service: d.Service, Generation: s.Generation - uint64(past) - 1, Release: fmt.Sprintf("v%d", 9-past), By: "ann", Targets: d.Targets,
				Switched: began, Ended: began.Add(time.Hour), End: parachute.EndReplaced,
				Figures:    parachute.Figures{Served: time.Hour, Requests: 12345, Errors: 12, ErrorRate: 12. / 12345, P50: 12345 * time.Microsecond, P99: 123456 * time.Microsecond},
				Deployment: text,
			})
		}
		services = append(services, s)
	}
	store, err := state.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	if err := store.Save(services); err != nil {
		b.Fatal(err)
	}
}
