package notify

import (
	"fmt"
	"strings"

	"github.com/shahnk19/parachute"
)

// describe returns what has happened in a sentence or two.
func describe(e parachute.Event) string {
	switch e.Kind {
	case parachute.EventSwitched:
		return describeSwitch(e)
	case parachute.EventFailed:
		if e.Generation == 0 {
			return fmt.Sprintf("%s failed: %v", e.Service, e.Err)
		}
		return fmt.Sprintf("%s: %s failed: %v", e.Service, version(e), e.Err)
	case parachute.EventTakenBack:
		why := strings.TrimPrefix(fmt.Sprintf("%+v", e.Err), "taken back, because ")
		return fmt.Sprintf("%s: %s was taken back, because %s", e.Service, version(e), why)
	case parachute.EventUnhealthy:
		return fmt.Sprintf("%s: %s is unhealthy%s", e.Service, e.Target, probe(e))
	case parachute.EventHealthy:
		return fmt.Sprintf("%s: %s is healthy again%s", e.Service, e.Target, probe(e))
	case parachute.EventNoCertificate:
		return fmt.Sprintf("there is no new certificate for %s: %v", e.Host, e.Err)
	case parachute.EventCertificate:
		return fmt.Sprintf("%s has its certificate", e.Host)
	}
	return strings.TrimSpace(e.Service + " " + string(e.Kind))
}

func describeSwitch(e parachute.Event) string {
	text := fmt.Sprintf("%s: %s serves at %s", e.Service, version(e), strings.Join(e.Targets, ", "))
	switch {
	case e.Restores != 0:
		text += fmt.Sprintf(", as generation %d did", e.Restores)
	case e.Split != nil:
		text += fmt.Sprintf(" as a rollout, for %d%% of the visitors", e.Split.Percent)
	}
	for _, what := range e.Difference.Opened {
		text += "; " + what
	}
	return text
}

// version returns what an event is of: its generation, the release, and who has deployed it.
func version(e parachute.Event) string {
	text := fmt.Sprintf("generation %d", e.Generation)
	if e.Release != "" {
		text += ", release " + e.Release
	}
	if e.By != "" {
		text += ", by " + e.By
	}
	return text
}

// probe returns what the probe of an event saw, as the end of a sentence.
func probe(e parachute.Event) string {
	if e.Probe == nil {
		return ""
	}
	return ": " + e.Probe.String()
}
