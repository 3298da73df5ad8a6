package control

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/shahnk19/parachute"
)

// A Printer prints how a change goes for programs, in the lines of JSON that the
// control plane itself answers with: a line for each event, in order, and at last
// one that tells of the result or the error.
//
//	{"event":{"time":"2026-01-02T15:04:05.000000006Z","service":"web","generation":42,"kind":"deploying","limit":"30s"}}
//	{"event":{"time":"...","service":"web","generation":42,"kind":"probed","target":"10.0.0.7:3000","probe":{"took":"12ms","url":"http://10.0.0.7:3000/up","host":"10.0.0.7:3000","status":503,"cause":"server_error","passed":false,...},"probes":4,"elapsed":"1.2s","limit":"30s"}}
//	{"event":{"time":"...","service":"web","generation":42,"kind":"draining","requests":17,"streams":3,"elapsed":"2.1s","limit":"30s"}}
//	{"event":{"time":"...","service":"web","generation":42,"kind":"drained","elapsed":"6.2s","unused":["10.0.0.6:3000"]}}
//	{"result":{"service":"web","generation":42,"requests_cut":0,"streams_closed":0}}
//	{"error":{"code":"conflict","message":"parachute: deploy web: ...","detail":"parachute: deploy web: ...\n  ...","hint":"...","conflict":{"host":"app1.example.com","owner":"shop"}}}
//
// The fields of an event are those of [parachute.Event], and those that are zero
// are left out; the kinds are those of [parachute.EventKind]. A result is a
// [Result]. Of an error, code is one of invalid, conflict, unhealthy, taken_back,
// undecided, not_found, no_certificate, superseded, closed, canceled, deadline, no_proxy, usage and
// internal; message is one line, detail all that is known in several, and hint
// what to do about it; unhealthy, conflict and taken_back have the
// fields of [parachute.UnhealthyError], [parachute.ConflictError] and
// [parachute.TakenBackError]. Fields and kinds may
// come to be added; none changes its meaning.
type Printer struct{ w io.Writer }

// NewPrinter returns a Printer that prints to w. What cannot be written is lost.
func NewPrinter(w io.Writer) *Printer { return &Printer{w} }

// Event prints a line for e.
func (p *Printer) Event(e parachute.Event) { p.print(message{Event: newWireEvent(e)}) }

// Result prints the last line of a change that has taken effect.
func (p *Printer) Result(r Result) { p.print(message{Result: &r}) }

// Error prints the last line of one that has not. Code, if it is not empty, is
// for an error that is none of a proxy.
func (p *Printer) Error(err error, code, hint string) {
	told, _ := newWireError(err)
	switch {
	case code != "":
		told.Code = code
	case errors.Is(err, ErrNoProxy):
		told.Code = codeNoProxy
	}
	told.Hint = hint
	p.print(message{Error: told})
}

func (p *Printer) print(l message) { _ = json.NewEncoder(p.w).Encode(l) }

// Plan prints the first line of an apply.
func (p *Printer) Plan(steps []parachute.Step) { p.print(message{Plan: &steps}) }

// Applied prints the last line of one that has taken effect.
func (p *Printer) Applied(a Applied) { p.print(message{Applied: &a}) }
