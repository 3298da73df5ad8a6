package main

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/server"
)

// The exit codes answer one question: which version serves now.
const (
	exitDone       = 0 // the new one
	exitRefused    = 1 // from here on, what served before
	exitUsage      = 2
	exitSuperseded = 4
	exitNoProxy    = 5
)

// A remoteError is what a proxy answered, or that it did not.
type remoteError struct{ err error }

func (e *remoteError) Error() string { return e.err.Error() }
func (e *remoteError) Unwrap() error { return e.err }

// errInterrupted is the end of a change that was given up in time.
var errInterrupted = errors.New("interrupted before it took effect: nothing was changed")

func exitCode(err error) int {
	var usage *usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, parachute.ErrSuperseded):
		return exitSuperseded
	case errors.Is(err, control.ErrNoProxy):
		return exitNoProxy
	}
	return exitRefused
}

// hint returns what to do about err, or "" where err says so itself.
func hint(err error) string {
	var (
		usage     *usageError
		conflict  *parachute.ConflictError
		unhealthy *parachute.UnhealthyError
		listen    *server.ListenError
		remote    *remoteError
	)
	switch {
	case errors.As(err, &usage):
		if usage.command == "" {
			return "see parachute help"
		}
		return "see parachute help " + usage.command
	case errors.Is(err, errInterrupted):
		return "what served before serves on"
	case errors.As(err, &conflict) && conflict.Dispute != "":
		return "TLS and the canonical host belong to the host, not to one of its services; parachute list --json shows what each says"
	case errors.As(err, &conflict):
		return fmt.Sprintf("parachute list shows the hosts of every service; parachute remove %s frees those of that one", conflict.Owner)
	case errors.As(err, &unhealthy):
		return hintUnhealthy(unhealthy)
	case errors.Is(err, parachute.ErrNoCertificate):
		return "what served before serves on; see parachute certificates, and whether the host's DNS leads here and port 80 or 443 can be reached from the internet, or deploy without --wait-certificate"
	case errors.Is(err, parachute.ErrSuperseded):
		return "parachute list shows what serves now"
	case errors.Is(err, parachute.ErrNotFound):
		return "parachute list shows what is deployed"
	case errors.Is(err, parachute.ErrClosed):
		return "the proxy is stopping: try again when it is back"
	case errors.Is(err, parachute.ErrInvalid):
		return "nothing was changed; see parachute help"
	case errors.Is(err, control.ErrNoProxy):
		return hintNoProxy(err)
	case errors.As(err, &listen):
		return hintListen(listen)
	case errors.Is(err, fs.ErrPermission):
		return "run it as a user who may, or name other places with --data-dir and --socket"
	case errors.As(err, &remote):
		return "the log of the proxy may tell more; parachute list shows what serves now"
	}
	return ""
}

func hintUnhealthy(err *parachute.UnhealthyError) string {
	for _, t := range err.Targets {
		if t.Last != nil && t.Last.Location != "" {
			return "what served before serves on; let the app answer the health check without a redirect, or see --health-check-path and --health-check-host"
		}
	}
	return "what served before serves on; look at the app's log, or see --health-check-path, --health-check-port and --deploy-timeout"
}

func hintNoProxy(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return "run it as root or as the user of the proxy, or let others in with parachute run --socket-mode and --socket-group"
	}
	return "start a proxy with parachute run, or name the socket of one with --socket or PARACHUTE_SOCKET"
}

func hintListen(err *server.ListenError) string {
	flag := "--https-port"
	switch err.Protocol {
	case "http":
		flag = "--http-port"
	case "metrics":
		flag = "--metrics-port"
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("stop what listens there, or choose another port with %s; 0 is any free one", flag)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("ports below 1024 take a privilege (CAP_NET_BIND_SERVICE); choose a higher one with %s", flag)
	}
	return fmt.Sprintf("choose another address with --bind, or another port with %s", flag)
}
