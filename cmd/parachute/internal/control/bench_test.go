package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// among returns what asks the control plane of a service among n others: to deploy it, with
// PUT or PATCH, to one address and then to another, in turns, or to tell of it.
func among(tb testing.TB, n int) (ask func(method string)) {
	network := new(proxytest.Net)
	for _, address := range []string{"10.0.0.1:80", "10.0.0.2:80"} {
		network.Serve(tb, address, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	}
	server := control.NewServer("")
	p := parachute.New(parachute.Options{Notify: server.Notify, Dial: func(ctx context.Context, nw, address string) (net.Conn, error) {
		return network.Dial(ctx, nw, address)
	}})
	tb.Cleanup(func() { p.Close() })
	var others []parachute.Status
	for i := range n {
		name := fmt.Sprintf("service-%d", i)
		others = append(others, parachute.Status{Service: name, Generation: uint64(i + 1), State: parachute.StateServing, Deployment: parachute.Deployment{
			Service: name, Targets: []string{"10.0.0.1:80"}, Hosts: []string{name + ".example.com"}, HealthCheck: parachute.HealthCheck{Interval: time.Hour},
		}})
	}
	if err := p.Restore(others); err != nil {
		tb.Fatal(err)
	}
	h := server.Handler(p)
	turn := 0
	return func(method string) {
		turn++
		body, _ := json.Marshal(parachute.Deployment{
			Service: "web",
			Targets: []string{fmt.Sprintf("10.0.0.%d:80", 1+turn%2)}, Hosts: []string{"web.example.com"}, HealthCheck: parachute.HealthCheck{Interval: time.Hour},
		})
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, httptest.NewRequest(method, "/v1/services/web", bytes.NewReader(body))); w.Code != http.StatusOK {
			tb.Fatal(w.Body)
		}
	}
}

func BenchmarkDeployAmongServices(b *testing.B) {
	for _, n := range []int{100, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			ask := among(b, n)
			ask("PUT")
			for b.Loop() {
				ask("PUT")
			}
		})
	}
}
