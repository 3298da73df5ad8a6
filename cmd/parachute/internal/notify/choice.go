package notify

import (
	"errors"
	"maps"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/admission"
)

// What is told of the process itself, beside the events of a Proxy.
const (
	KindStarted  parachute.EventKind = "started"
	KindStopping parachute.EventKind = "stopping"
)

// A choice picks the events that a person would want to hear of.
type choice struct {
	unhealthy map[place]bool       // targets that were told to be unhealthy
	missing   map[string]time.Time // by host, when it was told that there is no certificate
}

// A place is a target of a service.
type place struct{ service, target string }

func newChoice() choice {
	return choice{unhealthy: make(map[place]bool), missing: make(map[string]time.Time)}
}

const (
	// missingAgain is how long nothing more is told of a certificate that is missing.
	missingAgain = 24 * time.Hour

	// maxMissing bounds the hosts that are remembered.
	maxMissing = 1000
)

// tells reports whether e is to be told. It must be asked about every event, in order.
func (c *choice) tells(e parachute.Event) bool {
	at := place{e.Service, e.Target}
	switch e.Kind {
	case parachute.EventSwitched, parachute.EventFailed, parachute.EventTakenBack:
		return true
	case parachute.EventUnhealthy:
		c.unhealthy[at] = true
		return true
	case parachute.EventHealthy:
		isAgain := c.unhealthy[at] && e.Probes == 0 // else it is of a deploy that waits
		if isAgain {
			delete(c.unhealthy, at)
		}
		return isAgain
	case parachute.EventDrained:
		for _, target := range e.Unused {
			delete(c.unhealthy, place{e.Service, target})
		}
	case parachute.EventRemoved:
		maps.DeleteFunc(c.unhealthy, func(at place, _ bool) bool { return at.service == e.Service })
	case parachute.EventNoCertificate:
		return !errors.Is(e.Err, admission.ErrRefused) && c.tellsMissing(e)
	case parachute.EventCertificate:
		_, told := c.missing[e.Host]
		delete(c.missing, e.Host)
		return told
	}
	return false
}

// tellsMissing reports whether it is to be told that a host has no certificate: the first
// time, and then once a day.
func (c *choice) tellsMissing(e parachute.Event) bool {
	last, told := c.missing[e.Host]
	if told && e.Time.Sub(last) < missingAgain {
		return false
	}
	if told || len(c.missing) < maxMissing {
		c.missing[e.Host] = e.Time
	}
	return true
}
