// Package control is the control plane of a running proxy: a server and a client
// of an API with HTTP and JSON on a unix socket. Everything that a command does
// can also be done with
//
//	curl --unix-socket /run/parachute/parachute.sock http://localhost/v1/services
package control

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/field"
)

// A Server serves the control plane. It is created before its Proxy, which must
// call Notify. Every change of the Proxy must be made through the Server.
type Server struct {
	// Logs are the logs that GET /v1/logs returns. It must be set before the
	// Server serves.
	Logs Logs

	// Stopping returns what the process waits for; nil if it is not stopping.
	// Succeeded is called, after Refuse, when another process takes the control
	// socket: it leaves that process whatever else it needs. Either may be nil; they
	// must not be changed once the Server serves.
	Stopping  func() *Stopping
	Succeeded func()

	// Before returns what is under way, by service, in a process whose place this one has
	// taken, and is complete only when it has ended there. It may be nil, and must be
	// set before the Server serves.
	Before func(ctx context.Context) map[string][]parachute.Change

	// Predecessor is closed when nothing is handed on any more by the process whose place
	// this one has taken; nil: it has taken none. It must be set likewise.
	Predecessor <-chan struct{}

	// Page is the URL of the page to look at; empty: there is none. It must be set
	// before the Server serves.
	Page string

	// Fleet is what the proxy shares with others. It must be set likewise.
	Fleet Fleet

	// Handover replaces the process. It must be set likewise.
	Handover Handover

	version      string
	dispatcher   *dispatcher
	refuses      atomic.Bool
	ended        atomic.Bool
	logFollowers logFollowers
	successor    atomic.Pointer[dialer] // nil: HandOver was not called
	relays       atomic.Int64
	arrivals     atomic.Int64 // requests for changes
	order        order
}

// NewServer returns a Server that reports that version.
func NewServer(version string) *Server {
	return &Server{version: version, dispatcher: newDispatcher()}
}

// Notify is the Options.Notify for parachute.New. It does not block.
func (s *Server) Notify(e parachute.Event) { s.dispatcher.dispatch(e) }

// Refuse answers all later changes with parachute.ErrClosed. Running changes go
// on, and queries are still answered.
func (s *Server) Refuse() { s.refuses.Store(true) }

// End answers with parachute.ErrClosed to whoever asks what is deployed, from now on. It is
// called before the Proxy is closed, which knows of no service then: that must look to
// nobody as if all had been removed.
func (s *Server) End() { s.ended.Store(true) }

// EndStreams ends the answers that follow the log, and has no more begin.
func (s *Server) EndStreams() { s.logFollowers.closeAll() }

// The limits of a connection. There is no time limit for the change itself.
const (
	readHeaderTimeout = 10 * time.Second // for the head of a request
	bodyTimeout       = 10 * time.Second // for its body
	writeTimeout      = 10 * time.Second // for each piece of an answer to be taken
	idleTimeout       = time.Minute
	maxHeaderBytes    = 64 << 10
)

// HTTPServer returns an http.Server with Handler and the limits that suit it,
// ready to serve what Listen returns. Its Shutdown calls EndStreams.
func (s *Server) HTTPServer(p *parachute.Proxy) *http.Server {
	server := &http.Server{
		Handler:           s.Handler(p),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnContext:       withPerson,
	}
	server.RegisterOnShutdown(s.EndStreams)
	return server
}

// Handler returns the control plane of p. It does not check who connects; the
// listener does. Of those who connect to the listener of SocketOptions with Deployers,
// it lets only some do what has a verb; everybody may do the rest.
func (s *Server) Handler(p *parachute.Proxy) http.Handler {
	c := &handlers{s, p}
	return &mux{arrivals: &s.arrivals, routes: []route{
		{"GET", "/v1/services", "", c.list},
		{"GET", "/v1/services/{name}", "", c.service},
		{"PUT", "/v1/services/{name}", "deploy", c.deploy},
		{"PATCH", "/v1/services/{name}", "deploy", c.amend},
		{"DELETE", "/v1/services/{name}", "remove", c.remove},
		{"POST", "/v1/services/{name}/pause", "pause", c.pause},
		{"POST", "/v1/services/{name}/stop", "stop", c.stop},
		{"POST", "/v1/services/{name}/resume", "resume", c.resume},
		{"PUT", "/v1/services/{name}/rollout", "rollout", c.rollout},
		{"DELETE", "/v1/services/{name}/rollout", "end rollout", c.endRollout},
		{"POST", "/v1/services/{name}/rollout/promote", "promote", c.promote},
		{"PUT", "/v1/services/{name}/rollout/split", "split", c.split},
		{"PATCH", "/v1/services/{name}/rollout/split", "split", c.amendSplit},
		{"POST", "/v1/upgrade", "upgrade", c.upgrade},
		{"POST", "/v1/handover", "upgrade", c.takeOver},
		{"GET", "/v1/services/{name}/history", "", c.history},
		{"POST", "/v1/services/{name}/rollback", "rollback", c.rollback},
		{"POST", "/v1/services/{name}/agreement", "agree", c.agree},
		{"GET", "/v1/history", "", c.history},
		{"PUT", "/v1/services", "apply", c.apply},
		{"GET", "/v1/export", "export", c.export},
		{"GET", "/v1/certificates", "", c.certificates},
		{"GET", "/v1/logs", "logs", c.logs},
		{"GET", "/v1/version", "", c.version},
		{"GET", "/v1/fleet", "", c.fleet},
		{"DELETE", "/v1/fleet/lost/{name}", "forget", c.forget},
		{"GET", "/v1/fleet/settled/{name}", "", c.isSettled},
		{"GET", "/v1/fleet/services", "", c.everywhere(queryServices)},
		{"GET", "/v1/fleet/services/{name}", "", c.everywhere(queryServices)},
		{"GET", "/v1/fleet/services/{name}/history", "", c.everywhere(queryHistory)},
		{"GET", "/v1/fleet/history", "", c.everywhere(queryHistory)},
		{"GET", "/v1/fleet/certificates", "", c.everywhere(queryCertificates)},
		{"POST", "/v1/successor", "succeed", c.leaveSocket},
	}}
}

// A route is a handler for a method and a path.
type route struct {
	method, path string // {name} in path stands for any one segment
	verb         string // what only deployers may do; "": what readers may, too, and shows them no secrets
	handler      http.HandlerFunc
}

// A mux serves exactly its routes, and lists them in answer to anything else.
// Unlike http.ServeMux, it does not redirect to cleaned paths, and a name may be
// an escaped slash.
type mux struct {
	routes   []route
	arrivals *atomic.Int64 // requests for what has a verb
}

func (m *mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var all, allowed []string
	for _, route := range m.routes {
		all = append(all, route.method+" "+route.path)
		name, ok := route.match(r.URL.EscapedPath())
		switch {
		case ok && route.method == r.Method:
			r.SetPathValue("name", name)
			if g := guestOf(r.Context()); g != nil && (route.verb != "" || !g.mayRead) {
				what := strings.TrimSpace(cmp.Or(route.verb, r.URL.Path) + " " + name)
				writeError(w, fmt.Errorf("parachute: %s: %w", what, g.refusal()))
				return
			}
			if route.verb != "" {
				r.Body = &keptBody{ReadCloser: r.Body, arrival: m.arrivals.Add(1)}
			}
			route.handler(w, r)
			return
		case ok:
			allowed = append(allowed, route.method)
		}
	}
	if allowed == nil {
		noRoute(w, r, http.StatusNotFound, "there is "+strings.Join(all, ", "))
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	noRoute(w, r, http.StatusMethodNotAllowed, "this path takes "+strings.Join(allowed, ", "))
}

// match reports whether the escaped path matches the route, and returns the
// segment in the place of {name}.
func (r route) match(path string) (name string, ok bool) {
	want, got := strings.Split(r.path, "/"), strings.Split(path, "/")
	if len(got) != len(want) {
		return "", false
	}
	for i, segment := range got {
		decoded, err := url.PathUnescape(segment)
		switch {
		case err != nil || decoded == "" && i > 0:
			return "", false
		case want[i] == "{name}":
			name = decoded
		case want[i] != segment:
			return "", false
		}
	}
	return name, true
}

// noRoute answers a request that has no route.
func noRoute(w http.ResponseWriter, r *http.Request, status int, hint string) {
	writeJSON(w, status, message{Error: &wireError{
		Code:    codeNoRoute,
		Message: fmt.Sprintf("parachute: %s %s: no such route", r.Method, r.URL.EscapedPath()),
		Hint:    hint,
	}})
}

// handlers are the handlers of the control plane of one Proxy.
type handlers struct {
	server *Server
	proxy  *parachute.Proxy
}

func (c *handlers) version(w http.ResponseWriter, r *http.Request) {
	v := Version{Version: c.server.version, PID: os.Getpid(), UnknownNames: c.proxy.UnknownNames(), Page: c.server.Page}
	if c.server.Stopping != nil {
		v.Stopping = c.server.Stopping()
	}
	writeJSON(w, http.StatusOK, v)
}

// leaveSocket lets the process that asks have the control socket, once no changes are made here
// any more.
func (c *handlers) leaveSocket(w http.ResponseWriter, r *http.Request) {
	if !c.server.refuses.Load() {
		writeError(w, fmt.Errorf("parachute: succeed: pid %d is not stopping: %w", os.Getpid(), parachute.ErrConflict))
		return
	}
	if c.server.Succeeded != nil {
		c.server.Succeeded()
	}
	writeJSON(w, http.StatusOK, struct{}{})
}

func (c *handlers) list(w http.ResponseWriter, r *http.Request) {
	services := c.proxy.Services()
	if services == nil {
		services = []parachute.Status{}
	}
	c.complete(r.Context(), services, guestOf(r.Context()) != nil)
	c.writeKnown(w, "list", services)
}

// service answers with what list has of one service.
func (c *handlers) service(w http.ResponseWriter, r *http.Request) {
	s, err := c.proxy.Service(r.PathValue("name"))
	if err != nil && !c.server.ended.Load() {
		writeError(w, err)
		return
	}
	one := []parachute.Status{s}
	if err == nil {
		c.complete(r.Context(), one, guestOf(r.Context()) != nil)
	}
	c.writeKnown(w, "look at", one[0])
}

// complete has services be what whoever asks may see, who is a guest or not, with what is
// under way elsewhere.
func (c *handlers) complete(ctx context.Context, services []parachute.Status, isGuest bool) {
	if c.server.Before != nil {
		addChanges(services, c.server.Before(ctx))
	}
	if isGuest {
		hideSecrets(services)
	}
}

// addChanges adds what is under way elsewhere to services.
func addChanges(services []parachute.Status, elsewhere map[string][]parachute.Change) {
	for _, s := range services {
		if more := elsewhere[s.Service]; len(more) > 0 {
			s.Live.Changes = append(s.Live.Changes, more...)
			slices.SortStableFunc(s.Live.Changes, func(a, b parachute.Change) int { return a.Since.Compare(b.Since) })
		}
	}
}

// writeKnown answers with what the Proxy knows of its services.
func (c *handlers) writeKnown(w http.ResponseWriter, verb string, known any) {
	if c.server.ended.Load() { // perhaps before the Proxy was asked
		writeError(w, fmt.Errorf("parachute: %s: %w", verb, parachute.ErrClosed))
		return
	}
	writeJSON(w, http.StatusOK, known)
}

func (c *handlers) remove(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	c.runTask(w, r, task{
		verb: "remove", service: name, firstEvent: parachute.EventRemoved,
		do: func() error { return c.proxy.Remove(r.Context(), name) },
	})
}

// errOvertaken is of a change that another process has handed on too late.
var errOvertaken = &textError{"a newer change of the service came first, over an upgrade of the proxy", parachute.ErrSuperseded}

// A task is a change of the Proxy.
type task struct {
	verb, service string
	hosts         []string            // hosts whose certificates it waits for
	firstEvent    parachute.EventKind // the kind of the first event of do, sent on its goroutine
	wantsQuestion bool                // its client wants to be asked before the switch
	do            func() error
	trust         string // Result.Trust
}

// doing returns what is told of the task in errors.
func (t *task) doing() string { return t.verb + " " + t.service }

// runTask makes a change and answers with its result. If the client accepts
// lines, the answer is in lines and has the events first.
func (c *handlers) runTask(w http.ResponseWriter, r *http.Request, t task) {
	if c.server.refuses.Load() {
		writeError(w, fmt.Errorf("parachute: %s %s: %w", t.verb, t.service, parachute.ErrClosed))
		return
	}
	if c.server.successor.Load() != nil {
		c.relay(w, r, t.doing(), nil)
		return
	}
	followers := c.server.dispatcher
	err := c.server.beginChange(r.Context())
	var f *subscription
	if err == nil {
		f, err = followers.subscribe(r.Context(), t)
	}
	if err == nil && c.server.isOvertaken(r, t.verb, t.service) {
		followers.unsubscribe(f)
		err = errOvertaken
	}
	if err != nil {
		writeError(w, fmt.Errorf("parachute: %s %s: %w", t.verb, t.service, err))
		return
	}
	lines := newLineWriter(w, followers, f)
	lines.isHandedOver = c.server.isHandedOver
	err = lines.runTask(func() error { return c.settled(r.Context(), f, t) }, acceptsLines(r))
	switch {
	case err != nil && c.server.isHandedOver(err):
		c.relay(w, r, t.doing(), lines)
	case err != nil && lines.started:
		p, _ := newWireError(err)
		lines.write(message{Error: p})
	case err != nil:
		writeError(w, err)
	case acceptsLines(r):
		result := c.result(f)
		result.Trust = t.trust
		lines.write(message{Result: &result})
	default:
		result := c.result(f)
		result.Trust = t.trust
		writeJSON(w, http.StatusOK, result)
	}
}

// result returns the result of a change that has taken effect.
func (c *handlers) result(f *subscription) Result {
	result := c.server.dispatcher.result(f)
	if f.firstEvent == parachute.EventDeploying {
		result.Certificate = c.certificateState(f.service)
	}
	return result
}

func acceptsLines(r *http.Request) bool {
	return field.HasMediaType(r.Header["Accept"], contentLines)
}
