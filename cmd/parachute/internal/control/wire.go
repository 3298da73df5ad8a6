package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/shahnk19/parachute"
)

// contentLines is the media type of an answer in lines, one JSON value each.
const contentLines = "application/x-ndjson"

// A Version describes the proxy that answers on the socket.
type Version struct {
	Version string `json:"version"`
	PID     int    `json:"pid"`

	// UnknownNames is what parachute.Proxy.UnknownNames returns.
	UnknownNames uint64 `json:"unknown_names"`

	// Stopping says what the proxy waits for; nil: it is not stopping.
	Stopping *Stopping `json:"stopping,omitempty"`

	// Page is the URL of the page to look at; empty: there is none.
	Page string `json:"page,omitempty"`
}

// Stopping describes a proxy that was told to stop.
type Stopping struct {
	Requests int64     `json:"requests"` // that run, upgraded connections and event streams among them
	Until    time.Time `json:"until"`    // when they are cut off
}

// CertificateState says of a service with TLS whether it has its certificates.
type CertificateState string

const (
	CertificateReady   CertificateState = "ready"   // every host has one that is valid
	CertificatePending CertificateState = "pending" // not every host has
)

// A Result is the result of a change that has taken effect.
type Result struct {
	Service    string `json:"service"`
	Generation uint64 `json:"generation,omitempty"` // 0: not learnt
	Requests   int64  `json:"requests_cut"`         // cut off when the drain time-out had passed
	Streams    int64  `json:"streams_closed"`       // upgraded connections and event streams
	Warning    string `json:"warning,omitempty"`    // what the operator is to be told; empty: nothing
	Trust      string `json:"trust,omitempty"`      // whom a deploy has the service believe other than before, and how to keep that; empty: nobody else

	// Difference is what a deploy has changed, or would change, other than targets.
	parachute.Difference

	// DryRun says that nothing was changed, because the deploy was to be tried only.
	DryRun bool `json:"dry_run,omitempty"`

	// Certificate is how a deploy left the certificates of its hosts. It is
	// empty if they have no TLS, or if which hosts there are is not known
	// before they are asked for.
	Certificate CertificateState `json:"certificate,omitempty"`

	// Unhealthy are the targets of a deploy that have stopped being healthy since
	// its switch: what served before must not be stopped yet.
	Unhealthy []string `json:"unhealthy,omitempty"`
}

// A message is one of an answer in lines. Exactly one of its fields is set; the
// last line is a result or an error, all others are events, or a question. An answer that
// does not come in lines and tells of an error is one line with that error.
type message struct {
	Event  *wireEvent `json:"event,omitempty"`
	Result *Result    `json:"result,omitempty"`
	Error  *wireError `json:"error,omitempty"`

	Question *Question `json:"question,omitempty"` // in that of a deploy, before the switch

	Plan    *[]parachute.Step `json:"plan,omitempty"`    // the first line of what apply answers
	Applied *Applied          `json:"applied,omitempty"` // the last one
}

// A wireEvent is a parachute.Event on the wire.
type wireEvent struct {
	Time       time.Time             `json:"time"`
	Service    string                `json:"service"`
	Generation uint64                `json:"generation"`
	Kind       parachute.EventKind   `json:"kind"`
	Release    string                `json:"release,omitempty"`
	By         string                `json:"by,omitempty"`
	Target     string                `json:"target,omitempty"`
	Host       string                `json:"host,omitempty"`
	Probe      json.RawMessage       `json:"probe,omitempty"`
	Requests   int64                 `json:"requests,omitempty"`
	Streams    int64                 `json:"streams,omitempty"`
	Probes     int                   `json:"probes,omitempty"`
	Elapsed    wireDuration          `json:"elapsed,omitzero"`
	Limit      wireDuration          `json:"limit,omitzero"`
	Unused     []string              `json:"unused,omitempty"`
	Unhealthy  []string              `json:"unhealthy,omitempty"`
	Restores   uint64                `json:"restores,omitempty"`
	Bake       *parachute.BakeReport `json:"bake,omitempty"`
	Was        uint64                `json:"was,omitempty"`
	Targets    []string              `json:"targets,omitempty"`
	Hosts      []string              `json:"hosts,omitempty"`
	Split      *parachute.Split      `json:"split,omitempty"`
	Error      *wireError            `json:"error,omitempty"`
	parachute.Difference
}

// A wireDuration is a string such as "1.2s" on the wire.
type wireDuration time.Duration

func (d wireDuration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *wireDuration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = wireDuration(v)
	return err
}

func newWireEvent(e parachute.Event) *wireEvent {
	w := &wireEvent{
		Time:       e.Time,
		Service:    e.Service,
		Generation: e.Generation,
		Kind:       e.Kind,
		Release:    e.Release,
		By:         e.By,
		Target:     e.Target,
		Host:       e.Host,
		Requests:   e.Requests,
		Streams:    e.Streams,
		Probes:     e.Probes,
		Elapsed:    wireDuration(e.Elapsed),
		Limit:      wireDuration(e.Limit),
		Unused:     e.Unused,
		Unhealthy:  e.Unhealthy,
		Restores:   e.Restores,
		Bake:       e.Bake,
		Was:        e.Was,
		Targets:    e.Targets,
		Hosts:      e.Hosts,
		Split:      e.Split,
		Difference: e.Difference,
	}
	if e.Probe != nil {
		w.Probe = marshalOrNil(e.Probe)
	}
	if e.Err != nil {
		w.Error, _ = newWireError(e.Err)
	}
	return w
}

// EncodeEvent returns an event as clients get it, an object in JSON.
func EncodeEvent(e parachute.Event) ([]byte, error) { return json.Marshal(newWireEvent(e)) }

// event returns what w was made of. A probe that a newer proxy has put in
// another way is left out.
func (w *wireEvent) event() parachute.Event {
	e := parachute.Event{
		Time:       w.Time,
		Service:    w.Service,
		Generation: w.Generation,
		Kind:       w.Kind,
		Release:    w.Release,
		By:         w.By,
		Target:     w.Target,
		Host:       w.Host,
		Requests:   w.Requests,
		Streams:    w.Streams,
		Probes:     w.Probes,
		Elapsed:    time.Duration(w.Elapsed),
		Limit:      time.Duration(w.Limit),
		Unused:     w.Unused,
		Unhealthy:  w.Unhealthy,
		Restores:   w.Restores,
		Bake:       w.Bake,
		Was:        w.Was,
		Targets:    w.Targets,
		Hosts:      w.Hosts,
		Split:      w.Split,
		Difference: w.Difference,
	}
	if probe := new(parachute.Probe); w.Probe != nil && json.Unmarshal(w.Probe, probe) == nil {
		e.Probe = probe
	}
	if w.Error != nil {
		e.Err = w.Error.err()
	}
	return e
}

// invalid returns an error with that text that wraps ErrInvalid and err.
func invalid(err error, format string, args ...any) error {
	return &textError{fmt.Sprintf(format, args...), errors.Join(parachute.ErrInvalid, err)}
}
