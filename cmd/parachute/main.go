// Parachute is a reverse proxy whose deploys cost nobody a request. This is
// the reference binary: run serves, the other commands tell the proxy that
// runs what to do. It parses and prints; package parachute does the work.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/shahnk19/parachute/cmd/parachute/internal/memory"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version string

// main runs the command line. The first SIGINT or SIGTERM asks it to stop in
// good order; the second ends the process at once.
func main() {
	// If the reader of our output goes away, that must neither end a proxy nor
	// change the exit code of a deploy that has taken effect.
	signal.Ignore(syscall.SIGPIPE)
	tuner := memory.Start(os.Getenv)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, stop := context.WithCancel(context.Background())
	exit, stderr := make(chan int, 1), &timeoutWriter{w: os.Stderr}
	go runArgs(ctx, stderr, exit)
	for {
		select {
		case code := <-exit:
			tuner.Close()
			os.Exit(code)
		case s := <-signals:
			if ctx.Err() != nil {
				fmt.Fprintf(stderr, "parachute: %v again: ending at once\n", s)
				os.Exit(exitRefused)
			}
			stop()
		}
	}
}

// runArgs runs the command line of the process.
func runArgs(ctx context.Context, stderr io.Writer, exit chan<- int) {
	exit <- run(ctx, os.Args, os.Environ(), os.Stdout, stderr)
}
