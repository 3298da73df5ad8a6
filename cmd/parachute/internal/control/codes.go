package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/verbose"
)

// Codes of errors that do not match an error of the library.
const (
	codeNoRoute  = "no_route" // errNoRoute
	codeNoProxy  = "no_proxy" // ErrNoProxy, printed by a Printer
	codeInternal = "internal" // any other error
)

// errNoRoute is of a request without a route.
var errNoRoute = errors.New("no such route")

// A code is the name of an error on the wire.
type code struct {
	name     string
	status   int // status of the response
	sentinel error
}

// statusClientClosedRequest has no name in RFC 9110; nginx uses it for the same.
const statusClientClosedRequest = 499

// codes returns all codes with their errors.
func codes() []code {
	return []code{
		{"invalid", http.StatusBadRequest, parachute.ErrInvalid},
		{"conflict", http.StatusConflict, parachute.ErrConflict},
		{"forbidden", http.StatusForbidden, ErrForbidden},
		{"not_found", http.StatusNotFound, parachute.ErrNotFound},
		{"canceled", statusClientClosedRequest, context.Canceled},         // with what was waited for, which the next two are
		{"deadline", statusClientClosedRequest, context.DeadlineExceeded}, // likewise
		{"taken_back", http.StatusUnprocessableEntity, parachute.ErrTakenBack},
		{"unsettled", http.StatusServiceUnavailable, ErrUnsettled},
		{"undecided", http.StatusServiceUnavailable, parachute.ErrUndecided}, // with ErrClosed, which comes later
		{"unhealthy", http.StatusUnprocessableEntity, parachute.ErrUnhealthy},
		{"no_certificate", http.StatusUnprocessableEntity, parachute.ErrNoCertificate},
		{"superseded", http.StatusConflict, parachute.ErrSuperseded},
		{"refused", http.StatusUnprocessableEntity, ErrRefused},
		{"busy", http.StatusTooManyRequests, errBusy},
		{codeNoRoute, http.StatusNotFound, errNoRoute},
		{"handed_over", http.StatusServiceUnavailable, ErrHandedOver},
		{"closed", http.StatusServiceUnavailable, parachute.ErrClosed},
	}
}

// A wireError is an error on the wire. Message is the whole text of the error, and
// Detail its %+v form.
type wireError struct {
	Code      string          `json:"code"`
	Message   string          `json:"message"`
	Detail    string          `json:"detail,omitempty"` // empty: there is no more to be said
	Hint      string          `json:"hint,omitempty"`
	Conflict  json.RawMessage `json:"conflict,omitempty"`   // the fields of a ConflictError
	Unhealthy json.RawMessage `json:"unhealthy,omitempty"`  // likewise
	TakenBack json.RawMessage `json:"taken_back,omitempty"` // likewise
}

// newWireError returns err as a wireError, and the status of a response with it.
func newWireError(err error) (*wireError, int) {
	p := &wireError{Code: codeInternal, Message: err.Error()}
	if full := fmt.Sprintf("%+v", err); full != p.Message {
		p.Detail = full
	}
	status := http.StatusInternalServerError
	for _, c := range codes() {
		if errors.Is(err, c.sentinel) {
			p.Code, status = c.name, c.status
			break
		}
	}
	var (
		conflict  *parachute.ConflictError
		unhealthy *parachute.UnhealthyError
		takenBack *parachute.TakenBackError
		tooLarge  *http.MaxBytesError
	)
	switch {
	case errors.As(err, &conflict):
		p.Conflict = marshalOrNil(conflict)
	case errors.As(err, &unhealthy):
		p.Unhealthy = marshalOrNil(unhealthy)
	case errors.As(err, &takenBack):
		p.TakenBack = marshalOrNil(takenBack)
	case errors.As(err, &tooLarge):
		status = http.StatusRequestEntityTooLarge
	}
	return p, status
}

// marshalOrNil returns v in JSON, or nil if that fails: an error without details is
// better than none.
func marshalOrNil(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return data
}

// err returns an error that matches the original with errors.Is and errors.As. It
// leaves out details that it cannot decode, such as those of a newer proxy.
func (p *wireError) err() error {
	if p.Detail != "" {
		return &detailed{p.cause(), p.Detail}
	}
	return p.cause()
}

// cause is err without the detail.
func (p *wireError) cause() error {
	text := p.Message
	if p.Hint != "" {
		text += ": " + p.Hint
	}
	var causes []error
	conflict, unhealthy, takenBack := new(parachute.ConflictError), new(parachute.UnhealthyError), new(parachute.TakenBackError)
	switch {
	case p.Conflict != nil && json.Unmarshal(p.Conflict, conflict) == nil:
		causes = append(causes, conflict)
	case p.Unhealthy != nil && json.Unmarshal(p.Unhealthy, unhealthy) == nil:
		causes = append(causes, unhealthy)
	case p.TakenBack != nil && json.Unmarshal(p.TakenBack, takenBack) == nil:
		causes = append(causes, takenBack)
	}
	for _, c := range codes() {
		if c.name == p.Code {
			causes = append(causes, c.sentinel)
		}
	}
	if len(causes) == 0 {
		return errors.New(text)
	}
	return &textError{text, errors.Join(causes...)}
}

// A textError is an error with a text of its own, which wraps its cause.
type textError struct {
	text  string
	cause error
}

func (f *textError) Error() string { return f.text }
func (f *textError) Unwrap() error { return f.cause }

// A detailed error has a longer text for %+v.
type detailed struct {
	error
	full string
}

func (d *detailed) Unwrap() error { return d.error }

func (d *detailed) Format(s fmt.State, verb rune) { verbose.Format(s, verb, d.error, d.full) }
