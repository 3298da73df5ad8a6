// Backend is a sample app to deploy: it says who it is, can take its time over
// an answer, streams events, and stops gracefully.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	bind := flag.String("bind", "", "`address` to listen on (default: all)")
	port := flag.String("port", cmp.Or(os.Getenv("PORT"), "3000"), "`port` to listen on, 0 for any that is free; also as PORT")
	version := flag.String("version", cmp.Or(os.Getenv("VERSION"), "1"), "`version` to tell in answers; also as VERSION")
	upDelay := flag.Duration("up-delay", 0, "`time` after the start until GET /up passes")
	fault := flag.String("fault", "", "`path` that is answered 500, as by a version with a fault")
	flag.Parse()

	app := newApp(*version, *upDelay)
	app.fault = *fault
	if err := run(net.JoinHostPort(*bind, *port), app); err != nil {
		log.Fatal("backend: ", err)
	}
}

// run serves app at addr until SIGTERM or SIGINT, and then for as long as the
// requests that are running take, at most 30 s.
func run(addr string, app *app) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()

	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println("listening on", listener.Addr())

	server := &http.Server{
		Handler:           app.handler(),
		ReadHeaderTimeout: 10 * time.Second,
	}
	server.RegisterOnShutdown(app.endStreams)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	stop() // a second signal ends the program at once
	grace, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return fmt.Errorf("requests still running: %w", errors.Join(err, server.Close()))
	}
	return nil
}
