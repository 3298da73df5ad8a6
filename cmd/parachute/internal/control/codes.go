package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/shahnk19/parachute"
)

// Codes of errors that are no sentinel of the library.
const (
	codeNoRoute  = "no_route" // of a request for which there is nothing
	codeNoProxy  = "no_proxy" // of a client's own, as a Printer has it
	codeInternal = "internal" // of everything else
)

// A code is how an error is called on the wire.
type code struct {
	name     string
	status   int // of the answer
	sentinel error
}

// statusClientClosedRequest has no name in RFC 9110; nginx uses it for the same.
const statusClientClosedRequest = 499

// codes returns the codes and the errors that they stand for, both ways.
func codes() []code {
	return []code{
		{"invalid", http.StatusBadRequest, parachute.ErrInvalid},
		{"conflict", http.StatusConflict, parachute.ErrConflict},
		{"unhealthy", http.StatusUnprocessableEntity, parachute.ErrUnhealthy},
		{"not_found", http.StatusNotFound, parachute.ErrNotFound},
		{"no_certificate", http.StatusUnprocessableEntity, parachute.ErrNoCertificate},
		{"superseded", http.StatusConflict, parachute.ErrSuperseded},
		{"busy", http.StatusTooManyRequests, errBusy},
		{"closed", http.StatusServiceUnavailable, parachute.ErrClosed},
		{"canceled", statusClientClosedRequest, context.Canceled},
		{"deadline", statusClientClosedRequest, context.DeadlineExceeded},
	}
}

// A wireError is an error as it travels. Message is complete: it reads as the
// error does where it comes from, and Detail as it does there for %+v.
type wireError struct {
	Code      string          `json:"code"`
	Message   string          `json:"message"`
	Detail    string          `json:"detail,omitempty"` // empty: there is no more to be said
	Hint      string          `json:"hint,omitempty"`
	Conflict  json.RawMessage `json:"conflict,omitempty"`  // the fields of a ConflictError
	Unhealthy json.RawMessage `json:"unhealthy,omitempty"` // likewise
}

// newWireError returns err as it travels, and the status of an answer with it.
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
		tooLarge  *http.MaxBytesError
	)
	switch {
	case errors.As(err, &conflict):
		p.Conflict = marshalOrNil(conflict)
	case errors.As(err, &unhealthy):
		p.Unhealthy = marshalOrNil(unhealthy)
	case errors.As(err, &tooLarge):
		status = http.StatusRequestEntityTooLarge
	}
	return p, status
}

// marshalOrNil returns v in JSON, or nothing: an error is told without its details
// rather than not at all.
func marshalOrNil(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return data
}

// err returns the error that p was made of, as far as errors.Is and errors.As
// can tell. Details that a newer proxy has put in another way are left out.
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
	conflict, unhealthy := new(parachute.ConflictError), new(parachute.UnhealthyError)
	switch {
	case p.Conflict != nil && json.Unmarshal(p.Conflict, conflict) == nil:
		return &textError{text, conflict}
	case p.Unhealthy != nil && json.Unmarshal(p.Unhealthy, unhealthy) == nil:
		return &textError{text, unhealthy}
	}
	for _, c := range codes() {
		if c.name == p.Code {
			return &textError{text, c.sentinel}
		}
	}
	return errors.New(text)
}

// A textError is an error that reads in its own words, and is its cause.
type textError struct {
	text  string
	cause error
}

func (f *textError) Error() string { return f.text }
func (f *textError) Unwrap() error { return f.cause }

// A detailed error has more to say for %+v.
type detailed struct {
	error
	full string
}

func (d *detailed) Unwrap() error { return d.error }

func (d *detailed) Format(s fmt.State, verb rune) {
	if verb == 'v' && s.Flag('+') {
		io.WriteString(s, d.full)
		return
	}
	fmt.Fprintf(s, fmt.FormatString(s, verb), d.Error())
}
