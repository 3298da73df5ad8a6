package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/shahnk19/parachute"
)

// A Document is what is deployed, as it can be kept in a file.
type Document struct {
	Version  int                    `json:"version"` // DocumentVersion
	Services []parachute.Deployment `json:"services"`
}

const (
	// DocumentVersion is the only Version of a Document so far.
	DocumentVersion = 1

	// MaxDocument is the most bytes that a Document may have. One with five thousand
	// services has half of that.
	MaxDocument = 8 << 20
)

const documentWanted = `what "parachute export" writes: {"version":1,"services":[...]}`

// An Applied tells what applying a Document has done.
type Applied struct {
	Added    int    `json:"added"`
	Replaced int    `json:"replaced"`
	Removed  int    `json:"removed"`
	Kept     int    `json:"kept"`              // were not touched
	DryRun   bool   `json:"dry_run,omitempty"` // nothing was done: the others say what would have been
	Requests int64  `json:"requests_cut"`      // cut off when the drain time-outs had passed
	Streams  int64  `json:"streams_closed"`    // upgraded connections and event streams
	Warning  string `json:"warning,omitempty"` // what the operator is to be told; empty: nothing
}

// appliedOf returns what steps come to.
func appliedOf(steps []parachute.Step) (a Applied) {
	for _, s := range steps {
		switch s.Action {
		case parachute.ActionAdd:
			a.Added++
		case parachute.ActionReplace:
			a.Replaced++
		case parachute.ActionRemove:
			a.Removed++
		case parachute.ActionKeep:
			a.Kept++
		}
	}
	return a
}

// changedBy returns the services that are not kept as they are.
func changedBy(steps []parachute.Step) (services []string) {
	for _, s := range steps {
		if s.Action != parachute.ActionKeep {
			services = append(services, s.Service)
		}
	}
	return services
}

// export answers with a Document of all services.
func (c *handlers) export(w http.ResponseWriter, r *http.Request) {
	d := Document{Version: DocumentVersion, Services: []parachute.Deployment{}}
	for _, s := range c.proxy.Services() {
		d.Services = append(d.Services, s.Deployment)
	}
	c.writeKnown(w, "export", d)
}

// apply has the services be as a Document says, all of them or none. The first line of
// its answer is the plan.
func (c *handlers) apply(w http.ResponseWriter, r *http.Request) {
	d, prune, dryRun, err := decodeApply(w, r)
	if err != nil {
		writeError(w, fmt.Errorf("parachute: apply: %w", err))
		return
	}
	if c.server.refuses.Load() {
		writeError(w, fmt.Errorf("parachute: apply: %w", parachute.ErrClosed))
		return
	}
	if c.server.successor.Load() != nil {
		c.relay(w, r, "apply", nil)
		return
	}
	var remove []string
	if prune {
		for _, s := range c.proxy.Services() {
			if !slices.ContainsFunc(d.Services, func(d parachute.Deployment) bool { return d.Service == s.Service }) {
				remove = append(remove, s.Service)
			}
		}
	}
	if err := c.server.beginChange(r.Context()); err != nil && !dryRun {
		writeError(w, fmt.Errorf("parachute: apply: %w", err))
		return
	}
	steps, err := c.proxy.Plan(r.Context(), d.Services, remove...)
	switch {
	case err != nil && c.server.isHandedOver(err):
		c.relay(w, r, "apply", nil)
		return
	case err != nil:
		writeError(w, err)
		return
	}
	changed := changedBy(steps)
	f := c.server.dispatcher.subscribeAll(changed)
	lines := newLineWriter(w, c.server.dispatcher, f)
	lines.isHandedOver = c.server.isHandedOver
	if acceptsLines(r) {
		lines.write(message{Plan: &steps})
	}
	applied := appliedOf(steps)
	applied.DryRun = dryRun
	err = lines.runTask(func() error {
		switch {
		case dryRun:
			return nil
		case c.server.isOvertaken(r, "apply", changed...):
			return fmt.Errorf("parachute: apply: %w", errOvertaken)
		}
		err := c.proxy.Apply(r.Context(), d.Services, remove...)
		return c.server.settle(r.Context(), f, "apply", changed, err)
	}, acceptsLines(r))
	applied.Requests, applied.Streams = c.server.dispatcher.cut(f)
	switch {
	case err != nil && c.server.isHandedOver(err):
		c.relay(w, r, "apply", lines)
	case err != nil && lines.started:
		p, _ := newWireError(err)
		lines.write(message{Error: p})
	case err != nil:
		writeError(w, err)
	case acceptsLines(r):
		lines.write(message{Applied: &applied})
	default:
		writeJSON(w, http.StatusOK, struct {
			Plan []parachute.Step `json:"plan"`
			Applied
		}{steps, applied})
	}
}

// decodeApply decodes a request for apply.
func decodeApply(w http.ResponseWriter, r *http.Request) (d Document, prune, dryRun bool, err error) {
	for name, values := range r.URL.Query() {
		on, err := strconv.ParseBool(values[len(values)-1])
		switch {
		case name != "prune" && name != "dry_run":
			return d, false, false, invalid(nil, "unknown parameter %q: want prune=true, dry_run=true, or neither", name)
		case err != nil:
			return d, false, false, invalid(nil, "%s=%s: want true or false", name, values[len(values)-1])
		case name == "prune":
			prune = on
		default:
			dryRun = on
		}
	}
	// The server lifts the deadline when it has seen the end of the body.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxDocument))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return d, false, false, invalid(err, "it has more than %d bytes, which is the most", MaxDocument)
	case err != nil:
		return d, false, false, invalid(err, "it could not be read: %v", err)
	}
	d, err = decodeDocument(data)
	return d, prune, dryRun, err
}

// decodeDocument decodes a Document. An error names the service that it is about.
func decodeDocument(data []byte) (d Document, err error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return d, invalid(nil, "there is nothing in it: want %s", documentWanted)
	}
	var raw struct {
		Version  *int              `json:"version"`
		Services []json.RawMessage `json:"services"`
	}
	// A document of another version may have other fields.
	var other struct {
		Version *int `json:"version"`
	}
	if err := json.Unmarshal(data, &other); err == nil && other.Version != nil && *other.Version != DocumentVersion {
		return d, invalid(nil, "it is of version %d, and this proxy knows version %d: export it anew, or upgrade the proxy", *other.Version, DocumentVersion)
	}
	if err := decodeStrictly(data, &raw); err != nil {
		return d, decodeError(err, reflect.TypeFor[Document](), documentWanted)
	}
	switch {
	case raw.Version == nil:
		return d, invalid(nil, "it has no version: want %s", documentWanted)
	case raw.Services == nil:
		return d, invalid(nil, "it has no services: want %s, with an empty list for none", documentWanted)
	}
	d.Version = *raw.Version
	for i, service := range raw.Services {
		var one parachute.Deployment
		if err := decodeStrictly(service, &one); err != nil {
			var named struct{ Service string }
			_ = json.Unmarshal(service, &named) // without it, the number tells
			return d, invalid(nil, "services[%d], %q: %v", i, named.Service, decodeError(err, reflect.TypeFor[parachute.Deployment](), deploymentWanted))
		}
		d.Services = append(d.Services, one)
	}
	return d, nil
}

// decodeStrictly decodes the one JSON value in data, which has no fields that v has not.
func decodeStrictly(data []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more behind it")
	}
	return nil
}
