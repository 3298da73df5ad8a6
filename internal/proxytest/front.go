package proxytest

import (
	"context"
	"net"
	"net/http"
	"testing"

	"github.com/shahnk19/parachute/internal/http1"
)

// A Front is a server on a socket of the system, for what a [Net] has not: splices,
// addresses, the system's own ends of connections.
type Front struct {
	URL     string
	Address string
	client  *http.Client
}

// NewFront serves handler until the test ends, and waits for its requests then. The
// server is the one that Backends have.
func NewFront(t testing.TB, handler http.Handler) *Front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var server interface {
		Serve(l net.Listener) error
		Shutdown(ctx context.Context) error
	} = &http.Server{Handler: handler}
	if HasHTTP1() {
		server = &http1.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer spoil(w, r)
			handler.ServeHTTP(w, r)
		})}
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Shutdown(context.Background())
		<-served
	})
	address := l.Addr().String()
	return &Front{URL: "http://" + address, Address: address, client: &http.Client{Transport: transport}}
}

// Client returns a client whose idle connections are closed when the test ends.
func (f *Front) Client() *http.Client { return f.client }
