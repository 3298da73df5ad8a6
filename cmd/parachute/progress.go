package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// A progress prints a line for each event of a change that tells something
// new.
type progress struct {
	out     io.Writer
	service string
	targets string
	effect  string // what to say when requests go elsewhere
	began   time.Time
	seen    map[string]string // what was printed last: by target, of which kind the probe was; by host, why there is no certificate
}

// newProgress returns the progress of a deploy of d, or of another change of its
// service.
func newProgress(out io.Writer, d parachute.Deployment) *progress {
	targets := strings.Join(slices.Concat(d.Targets, d.ReadTargets), ", ")
	return &progress{
		out:     out,
		service: d.Service,
		targets: targets,
		effect:  "switched to " + targets,
		began:   time.Now(),
		seen:    make(map[string]string),
	}
}

func (p *progress) show(e parachute.Event) {
	switch e.Kind {
	case parachute.EventDeploying:
		p.printf("connecting to %s", p.targets)
	case parachute.EventProbed:
		if kind := kindOf(e.Probe); !e.Probe.Passed && p.seen[e.Target] != kind {
			p.seen[e.Target] = kind
			p.printf("%s: %v", e.Target, e.Probe)
		}
	case parachute.EventHealthy:
		p.printf("%s is healthy", e.Target)
	case parachute.EventSwitched, parachute.EventSplit:
		p.printf("%s", p.effect)
	case parachute.EventPaused:
		p.printf("paused, holds its requests")
	case parachute.EventStopped:
		p.printf("stopped, answers 503")
	case parachute.EventResumed:
		p.printf("resumed, serves its requests")
	case parachute.EventCertificate:
		p.printf("%s has its certificate", e.Host)
	case parachute.EventNoCertificate:
		if reason := fmt.Sprint(e.Err); p.seen[e.Host] != reason {
			p.seen[e.Host] = reason
			p.printf("%s has no certificate yet: %s", e.Host, strings.TrimPrefix(reason, "parachute: "))
		}
	case parachute.EventRemoved:
		p.printf("removed, takes no more requests")
	case parachute.EventDraining:
		if e.Requests > 0 || e.Streams > 0 {
			p.printf("draining %s", inFlight(e.Requests, e.Streams))
		}
	case parachute.EventDrained:
		if e.Streams > 0 {
			p.printf("closed %s", count(e.Streams, "stream"))
		}
	}
}

func (p *progress) printf(format string, args ...any) {
	fmt.Fprintf(p.out, "%s: %s\n", p.service, printable(fmt.Sprintf(format, args...)))
}

// kindOf tells probes apart that an operator would: not by the port that this
// end of the connection had, nor by the time in a page.
func kindOf(p *parachute.Probe) string {
	reason := p.Error[strings.LastIndex(p.Error, ": ")+1:]
	return fmt.Sprint(p.Status, p.Location, reason)
}

func inFlight(requests, streams int64) string {
	switch {
	case streams == 0:
		return count(requests, "request")
	case requests == 0:
		return count(streams, "stream")
	}
	return count(requests, "request") + " and " + count(streams, "stream")
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// conclude tells how a change ended, and returns the error that decides the
// exit code.
func (p *program) conclude(ctx context.Context, command string, change *progress, result control.Result, err error) error {
	switch {
	case err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled):
		return fmt.Errorf("%s %s: %w", command, change.service, errInterrupted)
	case err != nil:
		return &remoteError{err}
	}
	if result.Requests > 0 {
		p.warnf("%s cut off when the drain time-out had passed", count(result.Requests, "request"))
	}
	if result.Warning != "" {
		p.warnf("%s", result.Warning)
		return nil
	}
	change.printf("done in %v", time.Since(change.began).Round(time.Millisecond))
	switch result.Certificate {
	case control.CertificateReady:
		change.printf("certificate: ready")
	case control.CertificatePending:
		change.printf("certificate: pending, see parachute certificates")
	}
	return nil
}

func (p *program) warnf(format string, args ...any) {
	fmt.Fprintf(p.stderr, "parachute: warning: %s\n", printable(fmt.Sprintf(format, args...)))
}

// printable replaces what a target or a file may have put into a message to
// take control of the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
