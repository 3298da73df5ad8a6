package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
)

// A story tells in words what the events of one change say.
type story struct {
	service string
	targets []string // that the change brings; none: it brings no targets
	what    string   // happens when requests go elsewhere
	effect  string   // and where they go

	healthy  map[string]bool   // by target: it was told, and is so still
	seen     map[string]string // what was told last: by target, of which kind the probe was; by host, why there is no certificate
	draining bool              // it was told that there is something to be waited for
	unused   []string          // targets that may be stopped
}

// A storyLine is a line of a story.
type storyLine struct {
	key    string // on a terminal the last line of a key stands in the place of those before
	news   bool   // it says something that the one before did not; elsewhere only such are shown
	target string // or host; "": it is about the service
	what   string
	detail string
	tone   tone

	count          string        // of what has happened
	elapsed, limit time.Duration // of what goes on; 0: not known
	moving         bool          // it still goes on
}

// A tone is how an operator will like what a line says.
type tone int

const (
	tonePlain tone = iota
	toneGood
	toneWaiting
	toneBad
)

// newStory returns the story of a deploy of d, or of another change of its
// service.
func newStory(d parachute.Deployment) *story {
	hosts := "any host"
	if len(d.Hosts) > 0 {
		hosts = count(int64(len(d.Hosts)), "host")
	}
	return &story{
		service: d.Service,
		targets: slices.Concat(d.Targets, d.ReadTargets),
		what:    "switched",
		effect:  hosts,
		healthy: make(map[string]bool),
		seen:    make(map[string]string),
	}
}

// hear returns what is to be told of an event.
func (s *story) hear(e parachute.Event) []storyLine {
	r := storyLine{key: string(e.Kind), news: true}
	switch e.Kind {
	case parachute.EventDeploying:
		return s.begin(e)
	case parachute.EventProbed, parachute.EventHealthy:
		if e.Probe == nil || e.Probes == 0 || s.healthy[e.Target] && e.Probe.Passed {
			return nil // it cannot be read, or nobody waits for it
		}
		return []storyLine{s.probed(e)}
	case parachute.EventSwitched:
		r.what, r.detail = s.what, fmt.Sprintf("%s, generation %d", s.effect, e.Generation)
	case parachute.EventSplit:
		r.what, r.detail = s.what, s.effect
	case parachute.EventPaused:
		r.what, r.detail = "paused", "requests wait"
	case parachute.EventStopped:
		r.what, r.detail = "stopped", "requests are answered 503"
	case parachute.EventResumed:
		r.what, r.detail = "resumed", "requests are served"
	case parachute.EventRemoved:
		r.what, r.detail = "removed", "takes no more requests"
	case parachute.EventCertificate:
		r.key, r.target, r.what, r.tone = e.Host, e.Host, "certificate obtained", toneGood
	case parachute.EventNoCertificate:
		reason := strings.TrimPrefix(fmt.Sprint(e.Err), "parachute: ")
		r.key, r.target, r.what, r.detail, r.tone = e.Host, e.Host, "no certificate yet", reason, toneWaiting
		r.news, s.seen[e.Host] = s.seen[e.Host] != reason, reason
	case parachute.EventDraining:
		return s.drains(e)
	case parachute.EventDrained:
		return s.drained(e)
	default:
		return nil
	}
	return []storyLine{r}
}

// begin returns a line for each target that is waited for.
func (s *story) begin(e parachute.Event) (rows []storyLine) {
	for _, target := range s.targets {
		rows = append(rows, storyLine{key: target, news: true, target: target, what: "connecting ...", tone: toneWaiting, limit: e.Limit, moving: true})
	}
	return rows
}

// probed tells how a target is that is waited for.
func (s *story) probed(e parachute.Event) storyLine {
	r := storyLine{key: e.Target, target: e.Target, detail: seenBy(e.Probe)}
	s.healthy[e.Target] = e.Kind == parachute.EventHealthy
	if e.Kind == parachute.EventHealthy {
		r.what, r.tone, r.news = "healthy after "+brief(e.Elapsed), toneGood, true
		return r
	}
	r.what, r.tone, r.moving = "waiting ...", toneWaiting, true
	if e.Probe.Status == 0 {
		r.what = "connecting ..."
	}
	r.count, r.elapsed, r.limit = count(int64(e.Probes), "probe"), e.Elapsed, e.Limit
	kind := kindOf(e.Probe)
	r.news = !e.Probe.Passed && s.seen[e.Target] != kind
	s.seen[e.Target] = kind
	return r
}

func (s *story) drains(e parachute.Event) []storyLine {
	if e.Requests == 0 && e.Streams == 0 {
		return nil
	}
	s.draining = true
	return []storyLine{{
		key: "drain", news: true, what: "draining", tone: toneWaiting,
		detail: inFlight(e.Requests, e.Streams) + " left", elapsed: e.Elapsed, limit: e.Limit, moving: true,
	}}
}

func (s *story) drained(e parachute.Event) []storyLine {
	s.unused = e.Unused
	if !s.draining && e.Requests == 0 && e.Streams == 0 {
		return nil
	}
	r := storyLine{key: "drain", what: "drained", detail: "in " + brief(e.Elapsed)}
	if e.Streams > 0 {
		r.news, r.detail = true, r.detail+", "+count(e.Streams, "stream")+" closed"
	}
	if e.Requests > 0 {
		r.news, r.detail, r.tone = true, r.detail+", "+count(e.Requests, "request")+" cut off", toneBad
	}
	return []storyLine{r}
}

// done is the last line of a change that has taken effect.
func (s *story) done(after time.Duration) storyLine {
	r := storyLine{key: "done", news: true, what: "done in " + brief(after), tone: toneGood}
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
func (r storyLine) clock(later time.Duration) string {
	elapsed := r.elapsed
	if r.moving {
		elapsed += later
	}
	clock := r.count
	if elapsed > 0 {
		if clock != "" {
			clock += ", "
		}
		clock += brief(elapsed.Truncate(time.Millisecond))
		if r.limit > 0 {
			clock += " of " + r.limit.String()
		}
	}
	if clock == "" {
		return ""
	}
	return "(" + clock + ")"
}

// seenBy tells in a few words what a probe has seen.
func seenBy(p *parachute.Probe) string {
	switch {
	case p.Status == 0 && p.Cause == parachute.CauseRefused:
		return "refused"
	case p.Status == 0 && p.Cause == parachute.CauseUnknownHost:
		return "the name has no address"
	case p.Status == 0 && p.Cause == parachute.CauseNoAnswer:
		return "hung up without an answer"
	case p.Status == 0 && p.Cause == parachute.CauseTimeout:
		return "no answer in " + brief(p.Took)
	case p.Status == 0:
		return p.Error
	case p.Passed:
		return strings.Replace(p.String(), " answered ", " ", 1) + " in " + brief(p.Took)
	}
	short := *p
	if runes := []rune(p.Body); len(runes) > bodyShown {
		short.Body = string(runes[:bodyShown]) + ellipsis // the error has all of it
	}
	return strings.Replace(short.String(), " answered ", " ", 1)
}

// bodyShown is how much a line tells of the body of an answer, in characters.
const bodyShown = 40

// kindOf tells probes apart that an operator would: not by the port that this
// end of the connection had, nor by the time in a page.
func kindOf(p *parachute.Probe) string { return fmt.Sprint(p.Status, p.GRPC, p.Location, p.Cause) }

func inFlight(requests, streams int64) string {
	switch {
	case streams == 0:
		return count(requests, "request")
	case requests == 0:
		return count(streams, "stream")
	}
	return count(requests, "request") + ", " + count(streams, "stream")
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
