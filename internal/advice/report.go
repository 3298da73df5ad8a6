package advice

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/shahnk19/parachute/internal/descriptors"
)

// A Report is about targets that did not become healthy in time.
type Report struct {
	Waited  time.Duration // for all of them
	Host    string        // a host of the service; "": none is known
	Targets []Target
}

// A Target is one that did not become healthy.
type Target struct {
	Address string // as it was deployed
	Probes  int    // how many have ended
	Last    *Probe // of those; nil: none has ended
}

// Brief returns what the last probe of each target saw, in a single line.
func (r *Report) Brief() string {
	var b strings.Builder
	for i, t := range r.Targets {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s did not become healthy in %v: ", t.Address, r.Waited)
		if t.Last == nil {
			b.WriteString("its first probe was not answered")
			continue
		}
		fmt.Fprintf(&b, "%v (%d probes)", t.Last, t.Probes)
	}
	return b.String()
}

// Full returns a line that names the targets, followed by indented ones about each,
// what it was asked and what it answered, and by the hints.
func (r *Report) Full() string {
	var names []string
	var below strings.Builder
	for _, t := range r.Targets {
		names = append(names, t.Address)
		if t.Last == nil {
			fmt.Fprintf(&below, "\n  no probe of %s has ended", t.Address)
			continue
		}
		probes := "1 probe"
		if t.Probes != 1 {
			probes = fmt.Sprintf("%d probes", t.Probes)
		}
		fmt.Fprintf(&below, "\n  %s %s  Host: %s   %s\n  last answer: %s", t.Last.Method(), t.Last.URL, t.Last.Host, probes, t.Last.Answer())
	}
	for _, hint := range r.Hints() {
		fmt.Fprintf(&below, "\n  %s", hint)
	}
	return fmt.Sprintf("%s did not become healthy in %v%s", strings.Join(names, ", "), r.Waited, &below)
}

// Hints returns what can be tried. What is the same for several targets is said once,
// and names them all.
func (r *Report) Hints() []string {
	var failures []failure
	isUnknown, isShort := false, false
	for _, t := range r.Targets {
		switch {
		case t.Last == nil:
			isUnknown = true
		case t.Last.Cause == "shortage":
			isShort = true
		default:
			failures = append(failures, t.failure(r.Host))
		}
	}
	hints := adviseOn(failures)
	if isUnknown {
		hints = append(hints, "the deploy ended before the first answer: give Timeouts.Deploy more than HealthCheck.Timeout, or see why the target takes so long")
	}
	if isShort {
		hints = append(hints, "the proxy has too many files open, and could not ask: "+descriptors.HowToRaise)
	}
	return hints
}

// failure returns what the last probe of t saw, for a service with that host.
func (t *Target) failure(host string) failure {
	f := failure{Probe: *t.Last, target: t.Address, at: t.Address, bare: t.Address, service: host}
	if _, address, ok := strings.Cut(t.Address, "://"); ok {
		f.bare = address
	}
	if asked, err := url.Parse(f.URL); err == nil && !f.isSocket() && !strings.HasPrefix(f.target, "handler:") {
		f.at = asked.Host // with HealthCheck.Port
	}
	return f
}
