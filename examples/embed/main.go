// Embed is a server with parachute inside: it brings the targets named on its
// command line into service, and serves them on port 8080.
package main

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

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

	proxy := parachute.New(parachute.Options{Logger: slog.Default()})
	defer proxy.Close()

	listener, err := net.Listen("tcp", ":8080")
	if err != nil {
		return err
	}
	// How long clients may take is the server's affair.
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second}
	defer server.Close()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	// Deploy returns when the targets are healthy and serve. To replace them
	// later, deploy the service again: no request is lost, and when that
	// returns, the ones before it can be stopped.
	err = proxy.Deploy(ctx, parachute.Deployment{
		Service: "web",
		Targets: targets,
	})
	if err != nil {
		return err
	}

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		stop() // from here on, a second Ctrl-C ends the program at once
	}

	// The server waits for requests, the proxy for upgraded connections and
	// event streams, which it ends.
	grace, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- proxy.Shutdown(grace) }()
	return errors.Join(server.Shutdown(grace), <-drained)
}
