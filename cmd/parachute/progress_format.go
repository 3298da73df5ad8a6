package main

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// A formatter turns the events of one change into lines for people.
type formatter struct {
	service string
	targets []string // the targets that the change brings, if any
	sent    string   // the Host header of the probes
	visited string   // a host that visitors use and probes do not send; "" if there is none
	verb    string   // what happens at the switch, such as "switched"
	effect  string   // where requests go from then on

	healthy   map[string]bool   // targets that were shown as healthy, and still are
	lastShown map[string]string // by target, the kind of the last probe shown; by host, the last reason for having no certificate
	draining  bool              // a drain with running requests was shown
	unused    []string          // targets that may be stopped now
}

// A progressLine is one line about the progress of a change.
type progressLine struct {
	key    string // on a terminal, a line replaces the line with the same key
	isNew  bool   // whether the line says something new; only such lines are shown elsewhere
	target string // target or host; "" if the line is about the service
	status string
	detail string
	brief  string // a shorter form of detail; "" if there is none
	tone   tone

	count          string        // such as "4 probes"
	elapsed, limit time.Duration // 0 if not known
	ongoing        bool          // elapsed still grows
}

// A tone says whether a line is good news. It decides the colour.
type tone int

const (
	tonePlain tone = iota
	toneGood
	toneWaiting
	toneBad
)

// newFormatter returns a formatter for a deploy of d, or for another change of
// its service.
func newFormatter(d parachute.Deployment) *formatter {
	hosts := "any host"
	if len(d.Hosts) > 0 {
		hosts = pluralize(int64(len(d.Hosts)), "host")
	}
	targets, sent := slices.Concat(d.Targets, d.ReadTargets), "the target's address"
	if len(targets) == 1 {
		sent = sentHost(d, targets[0])
	}
	return &formatter{
		service:   d.Service,
		sent:      sent,
		visited:   visitedHost(d),
		targets:   targets,
		verb:      "switched",
		effect:    hosts,
		healthy:   make(map[string]bool),
		lastShown: make(map[string]string),
	}
}

// format returns the lines for an event.
func (f *formatter) format(e parachute.Event) []progressLine {
	r := progressLine{key: string(e.Kind), isNew: true}
	switch e.Kind {
	case parachute.EventDeploying:
		return f.formatDeploying(e)
	case parachute.EventProbed, parachute.EventHealthy:
		if e.Probe == nil || e.Probes == 0 || f.healthy[e.Target] && e.Probe.Passed {
			return nil // the probe cannot be read, or nobody waits for it
		}
		return []progressLine{f.formatProbe(e)}
	case parachute.EventSwitched:
		effect := f.effect
		if e.Split != nil && f.effect != rolloutEffect {
			effect = "canary for " + visitors(*e.Split)
		}
		r.status, r.detail = f.verb, strings.TrimPrefix(fmt.Sprintf("%s, generation %d%s", effect, e.Generation, releaseOf(e.Release, e.By)), ", ")
	case parachute.EventSplit:
		r.status, r.detail = f.verb, "rollout for "+visitors(*cmp.Or(e.Split, new(parachute.Split)))
	case parachute.EventRolloutEnded:
		r.status, r.detail = f.verb, f.effect
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
		r.isNew, f.lastShown[e.Host] = f.lastShown[e.Host] != reason, reason
	case parachute.EventBaking:
		if e.Bake == nil {
			return nil
		}
		beside := "before"
		r.status, r.tone, r.isNew = "baking", toneWaiting, e.Elapsed == 0
		if e.Split != nil {
			r.status, beside = visitors(*e.Split), "others"
		}
		r.detail = describeBake(e.Bake, beside)
		r.elapsed, r.limit, r.ongoing = e.Elapsed, e.Limit, true
		if e.Limit > 0 && e.Elapsed >= e.Limit {
			r.tone, r.isNew, r.ongoing, r.limit = toneGood, true, false, 0
			if e.Split == nil {
				r.status = "baked"
			}
		}
	case parachute.EventTakenBack:
		r.status, r.detail, r.tone = "taken back", "to "+strings.Join(e.Targets, ", "), toneBad
	case parachute.EventDraining:
		return f.formatDraining(e)
	case parachute.EventDrained:
		return f.formatDrained(e)
	case control.EventDrainedElsewhere:
		r.key, r.target, r.status, r.tone = "proxy "+e.Target, e.Target, "drained", toneGood
	default:
		return nil
	}
	return []progressLine{r}
}

// visitedHost returns the first host of d, if a health check is made with another.
func visitedHost(d parachute.Deployment) string {
	if d.HealthCheck.Host != "" || d.HealthCheck.GRPC || d.Force {
		return ""
	}
	for _, host := range d.Hosts {
		if !strings.HasPrefix(host, "*.") {
			return host
		}
	}
	return ""
}

// formatDeploying returns a line for each target that is waited for, and above them
// one that tells which Host the probes send, where visitors use another.
func (f *formatter) formatDeploying(e parachute.Event) (rows []progressLine) {
	if f.visited != "" && len(f.targets) > 0 {
		rows = append(rows, progressLine{key: "host", isNew: true, status: "probes send", detail: fmt.Sprintf("Host: %s, and not %s: see --health-check-host", f.sent, f.visited)})
	}
	for i, target := range f.targets {
		if slices.Contains(f.targets[:i], target) {
			continue // it reads and writes, or is named twice
		}
		rows = append(rows, progressLine{key: target, isNew: true, target: target, status: "connecting ...", tone: toneWaiting, limit: e.Limit, ongoing: true})
	}
	return rows
}

// sentHost returns the Host header of the probes of a target of d that has none set.
func sentHost(d parachute.Deployment, target string) string {
	if strings.HasPrefix(target, "unix:") || strings.HasPrefix(target, "handler:") {
		return "localhost"
	}
	_, address, ok := strings.Cut(target, "://")
	if !ok {
		address = target
	}
	if host, _, err := net.SplitHostPort(address); err == nil && d.HealthCheck.Port != 0 {
		return net.JoinHostPort(host, strconv.Itoa(d.HealthCheck.Port))
	}
	return address
}

// formatProbe describes the last probe of a target that the change waits for.
func (f *formatter) formatProbe(e parachute.Event) progressLine {
	r := progressLine{key: e.Target, target: e.Target, detail: describeProbe(e.Probe, 40), brief: describeProbe(e.Probe, 16)}
	f.healthy[e.Target] = e.Kind == parachute.EventHealthy
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
	r.isNew = !e.Probe.Passed && f.lastShown[e.Target] != kind
	f.lastShown[e.Target] = kind
	return r
}

func (f *formatter) formatDraining(e parachute.Event) []progressLine {
	if e.Requests == 0 && e.Streams == 0 {
		return nil
	}
	f.draining = true
	return []progressLine{{
		key: "drain", isNew: true, status: "draining", tone: toneWaiting,
		detail: formatInFlight(e.Requests, e.Streams) + " left", elapsed: e.Elapsed, limit: e.Limit, ongoing: true,
	}}
}

func (f *formatter) formatDrained(e parachute.Event) []progressLine {
	f.unused = e.Unused
	if !f.draining && e.Requests == 0 && e.Streams == 0 {
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

// isDown reports whether all targets of the change are among those that are unhealthy.
func (f *formatter) isDown(unhealthy []string) bool {
	return len(f.targets) > 0 && !slices.ContainsFunc(f.targets, func(t string) bool { return !slices.Contains(unhealthy, t) })
}

// formatDone returns the last line of a change that has taken effect.
func (f *formatter) formatDone(after time.Duration) progressLine {
	r := progressLine{key: "done", isNew: true, status: "done in " + formatDuration(after), tone: toneGood}
	switch len(f.unused) {
	case 0:
	case 1:
		r.detail = "old target " + f.unused[0] + " may be removed"
	default:
		r.detail = "old targets " + strings.Join(f.unused, ", ") + " may be removed"
	}
	return r
}

// describeBake returns the figures of a bake, against those of the others or from before.
func describeBake(b *parachute.BakeReport, against string) string {
	if b.Note != "" {
		return b.Note
	}
	text := pluralize(int64(b.Now.Requests), "request")
	if b.Now.Requests > 0 {
		text += fmt.Sprintf(", errors %s, p99 %s", shareOf(b.Now), formatDuration(b.Now.P99))
	}
	if b.Before.Requests == 0 {
		return text + "; " + against + ": no requests"
	}
	return text + fmt.Sprintf("; %s: errors %s, p99 %s", against, shareOf(b.Before), formatDuration(b.Before.P99))
}

func shareOf(f parachute.BakeFigures) string {
	return formatNumber(100*float64(f.Errors)/float64(max(f.Requests, 1))) + "%"
}

// clock returns the time of r as text, or "". later is how long ago r was shown.
func (r progressLine) clock(later time.Duration) string {
	elapsed := r.elapsed
	if r.ongoing {
		elapsed += later
	}
	if elapsed <= 0 {
		return ""
	}
	clock := formatDuration(elapsed.Truncate(time.Millisecond))
	if r.limit > 0 {
		clock += " of " + r.limit.String()
	}
	return clock
}

// describeProbe describes the result of a probe in a few words, with at most that
// many characters of a page that did not pass. The error has the whole page.
func describeProbe(p *parachute.Probe, most int) string {
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
	if runes := []rune(p.Body); len(runes) > most {
		short.Body = string(runes[:most]) + ellipsis
	}
	return strings.Replace(short.String(), " answered ", " ", 1)
}

// probeKind returns the same text for probes that an operator would call the
// same: it leaves out local ports and the text of pages.
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
