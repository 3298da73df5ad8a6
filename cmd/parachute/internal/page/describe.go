package page

import (
	"errors"
	"fmt"
	"strings"

	"github.com/shahnk19/parachute"
)

// describe puts an event into words. What apps and peers have said goes into Details
// alone, for not everybody may read that.
func describe(e parachute.Event) Event {
	d := Event{Time: e.Time, Service: e.Service, Generation: e.Generation, Kind: e.Kind, Target: e.Target, Host: e.Host}
	switch e.Kind {
	case parachute.EventSwitched:
		d.Text = "to " + strings.Join(e.Targets, ", ")
		if e.Split != nil {
			d.Text += " (rollout)"
		}
	case parachute.EventSplit:
		if e.Split != nil {
			d.Text = fmt.Sprintf("%v %% to the rollout", e.Split.Percent)
		}
	case parachute.EventDraining:
		d.Text = fmt.Sprintf("%d requests, %d streams", e.Requests, e.Streams)
	case parachute.EventDrained:
		d.Text = fmt.Sprintf("after %s; %d requests cut off, %d streams closed", shortTime(e.Elapsed), e.Requests, e.Streams)
	}
	if e.Probe != nil {
		d.Text, d.Details = describeProbe(*e.Probe)
	}
	if e.Err != nil {
		d.Text, d.Details = describeError(e.Err), e.Err.Error()
	}
	return d
}

// describeProbe says what a probe saw, without the words of the target, and with them.
func describeProbe(p parachute.Probe) (text, details string) {
	if p.Passed {
		return fmt.Sprintf("probe passed in %s", shortTime(p.Took)), ""
	}
	text = "probe failed: " + strings.ReplaceAll(string(p.Cause), "_", " ")
	if p.Status > 0 {
		text += fmt.Sprintf(" (%d)", p.Status)
	}
	return text, p.String()
}

// describeError says what kind of error it is.
func describeError(err error) string {
	var unhealthy *parachute.UnhealthyError
	switch {
	case errors.Is(err, parachute.ErrTakenBack):
		return "the version before serves again"
	case errors.As(err, &unhealthy):
		var causes []string
		for _, t := range unhealthy.Targets {
			cause := "no probe was answered"
			if t.Last != nil {
				cause, _ = describeProbe(*t.Last)
			}
			causes = append(causes, t.Address+": "+cause)
		}
		return "not healthy in time: " + strings.Join(causes, "; ")
	case errors.Is(err, parachute.ErrConflict):
		return "another service has a host of it"
	case errors.Is(err, parachute.ErrSuperseded):
		return "a newer deploy took its place"
	case errors.Is(err, parachute.ErrInvalid):
		return "its options are not valid"
	case errors.Is(err, parachute.ErrClosed):
		return "the proxy was closed"
	case errors.Is(err, parachute.ErrNoCertificate):
		return "no certificate could be obtained"
	}
	return "failed"
}
