package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strconv"

	"github.com/shahnk19/parachute"
)

// patchWanted is what the body of a PATCH must be.
const patchWanted = `what is to be other than it serves, as a JSON merge patch, such as {"targets":["10.0.0.8:3000"],"hosts":null}`

// deploy is PUT: the whole deployment is in the body.
func (c *handlers) deploy(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	how, err := howToDeploy(r)
	var d parachute.Deployment
	if err == nil {
		d, err = decodeBody[parachute.Deployment](w, r, deploymentWanted)
	}
	if d.Service == "" {
		d.Service = name
	}
	if err == nil && d.Service != name {
		err = otherName(name, d.Service)
	}
	if err != nil {
		writeError(w, fmt.Errorf("parachute: deploy %s: %w", name, err))
		return
	}
	c.runDeploy(w, r, how, d, func() error { return c.proxy.Deploy(r.Context(), d) })
}

// amend is PATCH: the body says what is other than the service serves.
func (c *handlers) amend(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	how, err := howToDeploy(r)
	var patch map[string]any
	if err == nil {
		patch, err = decodeBody[map[string]any](w, r, patchWanted)
	}
	if err == nil && patch == nil {
		err = invalid(nil, "the body is null: want %s", patchWanted)
	}
	if err == nil && how.wait {
		leave := c.awaitTurn(w, r, name)
		if leave == nil {
			return
		}
		defer leave()
		how.wait = false
	}
	// This is what it comes to, unless something else serves by the time of Amend, which
	// looks for itself.
	var d parachute.Deployment
	if err == nil {
		d, err = c.merged(name, patch)
	}
	if err != nil {
		writeError(w, fmt.Errorf("parachute: deploy %s: %w", name, err))
		return
	}
	c.runDeploy(w, r, how, d, func() error {
		return c.proxy.Amend(r.Context(), name, func(d *parachute.Deployment) (err error) {
			*d, err = mergeDeployment(*d, patch)
			return err
		})
	})
}

// merged returns what a service serves, as patch changes it.
func (c *handlers) merged(name string, patch map[string]any) (parachute.Deployment, error) {
	s, err := c.proxy.Service(name)
	if err != nil {
		return parachute.Deployment{}, &textError{"no such service, so there is nothing to keep: deploy it first", parachute.ErrNotFound}
	}
	d := s.Deployment
	d.Release, d.By, d.Force = "", "", false // as in Amend
	return mergeDeployment(d, patch)
}

// A Manner says how a deploy is made.
type Manner struct {
	Wait   bool // for other deploys of the service, in place of superseding them
	DryRun bool // nothing is changed

	// Agree is asked when the targets are healthy, before the switch. If it returns an
	// error, the deploy ends with that. ctx ends with the deploy. If Agree is nil,
	// nobody is asked.
	Agree func(ctx context.Context, q Question) error
}

// query returns m as the query of a path.
func (m Manner) query() string {
	q := make(url.Values)
	if m.Wait {
		q.Set("wait", "true")
	}
	if m.DryRun {
		q.Set("dry_run", "true")
	}
	if m.Agree != nil {
		q.Set("agree", "true")
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// An asked is how a client asks for a deploy to be made.
type asked struct {
	wait, dryRun  bool
	wantsQuestion bool
}

func howToDeploy(r *http.Request) (how asked, err error) {
	for name, values := range r.URL.Query() {
		field := map[string]*bool{"wait": &how.wait, "dry_run": &how.dryRun, "agree": &how.wantsQuestion}[name]
		if field == nil {
			return how, invalid(nil, "unknown parameter %q: want wait, dry_run or agree, or none", name)
		}
		if *field, err = strconv.ParseBool(values[0]); err != nil {
			return how, invalid(nil, "%s=%s: want true or false", name, values[0])
		}
	}
	if how.wantsQuestion && !acceptsLines(r) {
		return how, invalid(nil, "agree=true asks in a line of the answer: want Accept: %s as well", contentLines)
	}
	return how, nil
}

// runDeploy has d deployed by do, or only tries it.
func (c *handlers) runDeploy(w http.ResponseWriter, r *http.Request, how asked, d parachute.Deployment, do func() error) {
	if how.wait {
		leave := c.awaitTurn(w, r, d.Service)
		if leave == nil {
			return
		}
		defer leave()
	}
	if how.dryRun {
		c.tryDeploy(w, r, d)
		return
	}
	t := task{
		verb: "deploy", service: d.Service, firstEvent: parachute.EventDeploying,
		do:            do,
		trust:         c.trustChange(d),
		wantsQuestion: how.wantsQuestion,
	}
	if d.TLS.Wait {
		t.hosts = d.Hosts
	}
	c.runTask(w, r, t)
}

// awaitTurn returns when r has its turn among the deploys of the service. The caller must
// call leave then. If leave is nil, r was answered.
func (c *handlers) awaitTurn(w http.ResponseWriter, r *http.Request, service string) (leave func()) {
	leave, err := c.proxy.Turn(r.Context(), service)
	switch {
	case err == nil:
		return leave
	case c.server.isHandedOver(err):
		c.relay(w, r, "deploy "+service, nil)
	default:
		writeError(w, err)
	}
	return nil
}

// tryDeploy answers with what a deploy of d would change.
func (c *handlers) tryDeploy(w http.ResponseWriter, r *http.Request, d parachute.Deployment) {
	different, err := c.proxy.Check(r.Context(), d)
	result := Result{Service: d.Service, DryRun: true, Difference: different, Trust: c.trustChange(d)}
	switch {
	case err != nil && c.server.isHandedOver(err):
		c.relay(w, r, "deploy "+d.Service, nil)
	case err != nil:
		writeError(w, err)
	case acceptsLines(r):
		lines := newLineWriter(w, nil, nil)
		lines.write(message{Result: &result})
	default:
		writeJSON(w, http.StatusOK, result)
	}
}

// merge returns v as a JSON merge patch (RFC 7396) changes it. An error is ErrInvalid; it
// says what is wanted.
func merge[T any](v T, patch map[string]any, wanted string) (T, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return v, err
	}
	var served map[string]any
	if err := json.Unmarshal(text, &served); err != nil {
		return v, err
	}
	if text, err = json.Marshal(mergePatch(served, patch)); err != nil {
		return v, err
	}
	var merged T
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&merged); err != nil {
		return v, decodeError(err, reflect.TypeFor[T](), wanted)
	}
	return merged, nil
}

// mergeDeployment is merge of what a service serves, which keeps its name.
func mergeDeployment(d parachute.Deployment, patch map[string]any) (parachute.Deployment, error) {
	merged, err := merge(d, patch, patchWanted)
	if err == nil && merged.Service != d.Service {
		err = otherName(d.Service, merged.Service)
	}
	return merged, err
}

// mergePatch returns target as patch changes it (RFC 7396, section 2).
func mergePatch(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = make(map[string]any)
	}
	for name, v := range changes {
		if v == nil {
			delete(object, name)
			continue
		}
		object[name] = mergePatch(object[name], v)
	}
	return object
}

func otherName(path, body string) error {
	return invalid(nil, "the path names service %q, and the body %q: want one name, or none in the body", path, body)
}
