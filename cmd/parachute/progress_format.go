package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
)

// A formatter tells in words what the events of one change say.
type formatter struct {
	service string
	targets []string // that the change brings; none: it brings no targets
	verb    string   // happens when requests go elsewhere
	effect  string   // and where they go

	healthy   map[string]bool   // by target: it was told, and is so still
	lastShown map[string]string // what was told last: by target, of which kind the probe was; by host, why there is no certificate
	draining  bool              // it was told that there is something to be waited for
	unused    []string          // targets that may be stopped
}

// A progressLine is a line of a story.
type progressLine struct {
	key    string // on a terminal the last line of a key stands in the place of those before
	isNew  bool   // it says something that the one before did not; elsewhere only such are shown
	target string // or host; "": it is about the service
	status string
	detail string
	tone   tone

	count          string        // of what has happened
	elapsed, limit time.Duration // of what goes on; 0: not known
	ongoing        bool          // it still goes on
}

// A tone is how an operator will like what a line says.
type tone int

const (
	tonePlain tone = iota
	toneGood
	toneWaiting
	toneBad
)

// newFormatter returns the story of a deploy of d, or of another change of its
// service.
func newFormatter(d parachute.Deployment) *formatter {
	hosts := "any host"
	if len(d.Hosts) > 0 {
		hosts = pluralize(int64(len(d.Hosts)), "host")
	}
	return &formatter{
		service:   d.Service,
		targets:   slices.Concat(d.Targets, d.ReadTargets),
		verb:      "switched",
		effect:    hosts,
		healthy:   make(map[string]bool),
		lastShown: make(map[string]string),
	}
}

// format returns what is to be told of an event.
func (s *formatter) format(e parachute.Event) []progressLine {
	r := progressLine{key: string(e.Kind), isNew: true}
	switch e.Kind {
	case parachute.EventDeploying:
		return s.formatDeploying(e)
	case parachute.EventProbed, parachute.EventHealthy:
		if e.Probe == nil || e.Probes == 0 || s.healthy[e.Target] && e.Probe.Passed {
			return nil // it cannot be read, or nobody waits for it
		}
		return []progressLine{s.formatProbe(e)}
	case parachute.EventSwitched:
		r.status, r.detail = s.verb, fmt.Sprintf("%s, generation %d", s.effect, e.Generation)
	case parachute.EventSplit:
		r.status, r.detail = s.verb, s.effect
	case parachute.EventPaused:
		r.status, r.detail = "paused", "requests wait"
	case parachute.EventStopped:
		r.status, r.detail = "stopped", "requests are answered 503"
	case parachute.EventResumed:
		r.status, r.detail = "resumed", "requests are served"
	case parachute.EventRemoved:
		r.status, r.detail = "removed", "takes no more requests"
	case parachute.EventCertificate:
		r.key, r.target, r.status, r.tone = e.Host, e.Host, "certificate obtained", toneGood
	case parachute.EventNoCertificate:
		reason := strings.TrimPrefix(fmt.Sprint(e.Err), "parachute: ")
		r.key, r.target, r.status, r.detail, r.tone = e.Host, e.Host, "no certificate yet", reason, toneWaiting
		r.isNew, s.lastShown[e.Host] = s.lastShown[e.Host] != reason, reason
	case parachute.EventDraining:
		return s.formatDraining(e)
	case parachute.EventDrained:
		return s.formatDrained(e)
	default:
		return nil
	}
	return []progressLine{r}
}

// formatDeploying returns a line for each target that is waited for.
func (s *formatter) formatDeploying(e parachute.Event) (rows []progressLine) {
	for _, target := range s.targets {
		rows = append(rows, progressLine{key: target, isNew: true, target: target, status: "connecting ...", tone: toneWaiting, limit: e.Limit, ongoing: true})
	}
	return rows
}

// formatProbe tells how a target is that is waited for.
func (s *formatter) formatProbe(e parachute.Event) progressLine {
	r := progressLine{key: e.Target, target: e.Target, detail: describeProbe(e.Probe)}
	s.healthy[e.Target] = e.Kind == parachute.EventHealthy
	if e.Kind == parachute.EventHealthy {
		r.status, r.tone, r.isNew = "healthy after "+formatDuration(e.Elapsed), toneGood, true
		return r
	}
	r.status, r.tone, r.ongoing = "waiting ...", toneWaiting, true
	if e.Probe.Status == 0 {
		r.status = "connecting ..."
	}
	r.count, r.elapsed, r.limit = pluralize(int64(e.Probes), "probe"), e.Elapsed, e.Limit
	kind := probeKind(e.Probe)
	r.isNew = !e.Probe.Passed && s.lastShown[e.Target] != kind
	s.lastShown[e.Target] = kind
	return r
}

func (s *formatter) formatDraining(e parachute.Event) []progressLine {
	if e.Requests == 0 && e.Streams == 0 {
		return nil
	}
	s.draining = true
	return []progressLine{{
		key: "drain", isNew: true, status: "draining", tone: toneWaiting,
		detail: formatInFlight(e.Requests, e.Streams) + " left", elapsed: e.Elapsed, limit: e.Limit, ongoing: true,
	}}
}

func (s *formatter) formatDrained(e parachute.Event) []progressLine {
	s.unused = e.Unused
	if !s.draining && e.Requests == 0 && e.Streams == 0 {
		return nil
	}
	r := progressLine{key: "drain", status: "drained", detail: "in " + formatDuration(e.Elapsed)}
	if e.Streams > 0 {
		r.isNew, r.detail = true, r.detail+", "+pluralize(e.Streams, "stream")+" closed"
	}
	if e.Requests > 0 {
		r.isNew, r.detail, r.tone = true, r.detail+", "+pluralize(e.Requests, "request")+" cut off", toneBad
	}
	return []progressLine{r}
}

// formatDone is the last line of a change that has taken effect.
func (s *formatter) formatDone(after time.Duration) progressLine {
	r := progressLine{key: "done", isNew: true, status: "done in " + formatDuration(after), tone: toneGood}
	switch len(s.unused) {
	case 0:
	case 1:
		r.detail = "old target " + s.unused[0] + " may be removed"
	default:
		r.detail = "old targets " + strings.Join(s.unused, ", ") + " may be removed"
	}
	return r
}

// clock returns how far it is with r so long after it was told, or "".
func (r progressLine) clock(later time.Duration) string {
	elapsed := r.elapsed
	if r.ongoing {
		elapsed += later
	}
	clock := r.count
	if elapsed > 0 {
		if clock != "" {
			clock += ", "
		}
		clock += formatDuration(elapsed.Truncate(time.Millisecond))
		if r.limit > 0 {
			clock += " of " + r.limit.String()
		}
	}
	if clock == "" {
		return ""
	}
	return "(" + clock + ")"
}

// describeProbe tells in a few words what a probe has seen.
func describeProbe(p *parachute.Probe) string {
	switch {
	case p.Status == 0 && p.Cause == parachute.CauseRefused:
		return "refused"
	case p.Status == 0 && p.Cause == parachute.CauseUnknownHost:
		return "the name has no address"
	case p.Status == 0 && p.Cause == parachute.CauseNoAnswer:
		return "hung up without an answer"
	case p.Status == 0 && p.Cause == parachute.CauseTimeout:
		return "no answer in " + formatDuration(p.Took)
	case p.Status == 0:
		return p.Error
	case p.Passed:
		return strings.Replace(p.String(), " answered ", " ", 1) + " in " + formatDuration(p.Took)
	}
	short := *p
	if runes := []rune(p.Body); len(runes) > maxBodyShown {
		short.Body = string(runes[:maxBodyShown]) + ellipsis // the error has all of it
	}
	return strings.Replace(short.String(), " answered ", " ", 1)
}

// maxBodyShown is how much a line tells of the body of an answer, in characters.
const maxBodyShown = 40

// probeKind tells probes apart that an operator would: not by the port that this
// end of the connection had, nor by the time in a page.
func probeKind(p *parachute.Probe) string { return fmt.Sprint(p.Status, p.GRPC, p.Location, p.Cause) }

func formatInFlight(requests, streams int64) string {
	switch {
	case streams == 0:
		return pluralize(requests, "request")
	case requests == 0:
		return pluralize(streams, "stream")
	}
	return pluralize(requests, "request") + ", " + pluralize(streams, "stream")
}

func pluralize(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
