package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/server"
)

// The exit codes answer one question: which version serves now.
const (
	exitDone       = 0 // the new version
	exitRefused    = 1 // with this code and the following, the version from before
	exitUsage      = 2
	exitUndecided  = 3 // the new version, perhaps only for now
	exitSuperseded = 4
	exitNoProxy    = 5
)

// A remoteError is an error that a proxy answered with, or that kept it from
// answering.
type remoteError struct{ err error }

func (e *remoteError) Error() string { return e.err.Error() }
func (e *remoteError) Unwrap() error { return e.err }

func (e *remoteError) Format(s fmt.State, verb rune) {
	fmt.Fprintf(s, fmt.FormatString(s, verb), e.err)
}

// errInterrupted says that a change was canceled before it took effect.
var errInterrupted = errors.New("interrupted before it took effect: nothing was changed")

func exitCode(err error) int {
	var usage *usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, parachute.ErrUndecided), errors.Is(err, control.ErrUnsettled):
		return exitUndecided
	case errors.Is(err, parachute.ErrSuperseded):
		return exitSuperseded
	case errors.Is(err, control.ErrNoProxy):
		return exitNoProxy
	}
	return exitRefused
}

// clientErrorCode returns the code that --json prints for an error of the
// command itself, or "" if the error comes from the proxy.
func clientErrorCode(err error) string {
	var usage *usageError
	switch {
	case errors.As(err, &usage):
		return "usage"
	case errors.Is(err, errInterrupted):
		return "canceled"
	}
	return ""
}

// hint returns what to do about an error of a command, or "" if there is
// nothing to add, and reports whether the %+v form of err says it already.
func hint(err error, command string) (text string, told bool) {
	var own interface{ Hint() string } // an error of the library
	if errors.As(err, &own) {
		text = withFlags(own.Hint())
		return text, containsLines(withFlags(fmt.Sprintf("%+v", err)), text)
	}
	return commandHint(err, command), false
}

// containsLines reports whether text has each line of part.
func containsLines(text, part string) bool {
	for line := range strings.SplitSeq(part, "\n") {
		if !strings.Contains(text, line) {
			return false
		}
	}
	return true
}

// commandHint returns the hint for an error that the library has none for.
func commandHint(err error, command string) string {
	var (
		usage  *usageError
		listen *server.ListenError
		remote *remoteError
	)
	switch {
	case errors.As(err, &usage):
		if usage.command == "" {
			return "see parachute help"
		}
		return "see parachute help " + usage.command
	case errors.Is(err, errInterrupted):
		return "what served before serves on"
	case errors.Is(err, parachute.ErrNoCertificate):
		return "see parachute certificates, and whether the host's DNS leads here and port 80 or 443 can be reached from the internet; to deploy again tries at once, or a minute after the last attempt; without --wait-certificate a deploy does not wait, and the attempts go on by themselves"
	case errors.Is(err, parachute.ErrUndecided):
		return "stop neither the new targets nor those from before; parachute status shows what serves, and what still goes on"
	case errors.Is(err, control.ErrUnsettled):
		return "parachute fleet shows the proxies, and which of them have something left to do"
	case errors.Is(err, parachute.ErrTakenBack):
		return "what served before serves again: stop the new targets, not those; the log of the proxy tells what was seen"
	case errors.Is(err, control.ErrRefused):
		return "what the program has printed may tell why; --deploy-timeout says how long it may take"
	case errors.Is(err, parachute.ErrSuperseded):
		return "parachute list shows what serves now"
	case errors.Is(err, control.ErrForbidden) && (command == "upgrade" || command == "run"): // whoever may deploy
		return "run it as one of them, as with sudo"
	case errors.Is(err, control.ErrForbidden):
		return "run it as one of them, as with sudo, or have the proxy started with your user in --socket-deployers"
	case errors.Is(err, parachute.ErrNotFound):
		return "parachute list shows what is deployed"
	case errors.Is(err, parachute.ErrClosed):
		return "the proxy is stopping: try again when it is back"
	case errors.Is(err, parachute.ErrInvalid):
		return "see parachute help " + command
	case errors.Is(err, control.ErrNoProxy):
		return noProxyHint(err)
	case errors.As(err, &listen):
		return listenHint(listen)
	case errors.Is(err, fs.ErrPermission):
		return "run it as a user who may, or name other places with --data-dir and --socket"
	case errors.As(err, &remote):
		return "the log of the proxy may tell more; parachute list shows what serves now"
	}
	return ""
}

func noProxyHint(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return "run it as root or as the user of the proxy, or let others in with parachute run --socket-group"
	}
	return "start a proxy with parachute run, or name the socket of one with --socket or PARACHUTE_SOCKET"
}

func listenHint(err *server.ListenError) string {
	flag := "--https-port"
	switch err.Protocol {
	case "http":
		flag = "--http-port"
	case "metrics":
		flag = "--metrics-port"
	case "--listen":
		flag = err.Protocol
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("stop %s, or choose another port with %s; 0 is any free one", describeListener(err), flag)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("ports below 1024 take a privilege (CAP_NET_BIND_SERVICE); choose a higher one with %s", flag)
	}
	if flag == "--listen" {
		return "choose another address or port with --listen"
	}
	return fmt.Sprintf("choose another address with --bind, or another port with %s", flag)
}

// describeListener names the process that has the address of a failed listen,
// if that can be found out.
func describeListener(err error) string {
	var refused *net.OpError
	if errors.As(err, &refused) {
		if at, ok := refused.Addr.(interface{ AddrPort() netip.AddrPort }); ok {
			return cmp.Or(socketOwner(refused.Net, at.AddrPort()), "what listens there")
		}
	}
	return "what listens there"
}
