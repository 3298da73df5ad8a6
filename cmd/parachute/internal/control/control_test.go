package control_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// A plane is a proxy that is told what to do through its socket.
type plane struct {
	socket string
	server *control.Server
	proxy  *parachute.Proxy
	http   *http.Server
	client *control.Client

	mu     sync.Mutex // guards events
	events []parachute.Event
	heard  chan parachute.Event // every event, if the test reads them
}

// newPlane starts a proxy with these options, whose Notify it sets.
func newPlane(t *testing.T, o parachute.Options) *plane {
	t.Helper()
	return newPlaneFor(t, o, control.SocketOptions{})
}

// newPlaneFor is newPlane with a socket for those who.
func newPlaneFor(t *testing.T, o parachute.Options, who control.SocketOptions) *plane {
	t.Helper()
	p := &plane{socket: socketPath(t), server: control.NewServer("v1.2.3"), heard: make(chan parachute.Event, 10_000)}
	o.Notify, o.Agree = p.notify, p.server.Agree
	p.proxy = parachute.New(o)
	p.client = &control.Client{Sockets: []string{p.socket}}
	l, err := control.Listen(p.socket, who)
	if err != nil {
		t.Fatal(err)
	}
	p.http = p.server.HTTPServer(p.proxy)
	done := make(chan error)
	go serve(p.http, l, done)
	t.Cleanup(func() {
		p.proxy.Close()
		p.http.Close()
		<-done
	})
	return p
}

func serve(srv *http.Server, l net.Listener, done chan<- error) { done <- srv.Serve(l) }

func (p *plane) notify(e parachute.Event) {
	p.server.Notify(e)
	p.mu.Lock()
	p.events = append(p.events, e)
	p.mu.Unlock()
	p.heard <- e
}

// await returns the next event of that kind, before which no other change may
// fail.
func (p *plane) await(t *testing.T, kind parachute.EventKind) parachute.Event {
	t.Helper()
	for e := range p.heard {
		switch e.Kind {
		case kind:
			return e
		case parachute.EventFailed:
			t.Fatalf("no event %s: %v", kind, e.Err)
		}
	}
	panic("heard is never closed")
}

// socketPath returns a path that is short enough, in a folder that is private.
func socketPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(proxytest.ShortDir(t), "c.sock")
}

// newTarget returns the address of an app that is healthy.
func newTarget(t *testing.T) string {
	t.Helper()
	return newSlowTarget(t).address
}

// A slowTarget is healthy, says in arrived that a request for /slow is there,
// and answers it when finish is closed or its client has gone.
type slowTarget struct {
	address         string
	arrived, finish chan struct{}
}

func newSlowTarget(t *testing.T) *slowTarget {
	t.Helper()
	s := &slowTarget{arrived: make(chan struct{}), finish: make(chan struct{})}
	app := httptest.NewServer(s)
	t.Cleanup(app.Close)
	s.address = app.Listener.Addr().String()
	return s
}

func (s *slowTarget) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/slow" {
		return
	}
	s.arrived <- struct{}{}
	select {
	case <-s.finish:
	case <-r.Context().Done():
	}
}

// newSickTarget returns the address of an app that becomes healthy when the
// returned func is called.
func newSickTarget(t *testing.T) (address string, heal func()) {
	t.Helper()
	var healthy sync.Map
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := healthy.Load(true); !ok {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(app.Close)
	return app.Listener.Addr().String(), func() { healthy.Store(true, true) }
}

// kindsOf returns the kinds of events, but for those that depend on timing.
func kindsOf(events []parachute.Event) []parachute.EventKind {
	var kinds []parachute.EventKind
	for _, e := range events {
		if e.Kind != parachute.EventProbed {
			kinds = append(kinds, e.Kind)
		}
	}
	return kinds
}

// generationOf returns what a service serves, or 0.
func generationOf(services []parachute.Status, name string) uint64 {
	i := slices.IndexFunc(services, func(s parachute.Status) bool { return s.Service == name })
	if i < 0 {
		return 0
	}
	return services[i].Generation
}

// textOf returns what an error says, or "".
func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// saysAll reports whether text has all of these parts.
func saysAll(text string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}

// every sentinel of the library, and what ends a context.
func sentinels() []error {
	return []error{
		parachute.ErrInvalid, parachute.ErrConflict, parachute.ErrUnhealthy, parachute.ErrNotFound,
		parachute.ErrNoCertificate, parachute.ErrSuperseded, parachute.ErrTakenBack, parachute.ErrUndecided, parachute.ErrClosed, context.Canceled, context.DeadlineExceeded,
	}
}

// whichOf returns those sentinels that err is.
func whichOf(err error) (which []error) {
	for _, s := range sentinels() {
		if errors.Is(err, s) {
			which = append(which, s)
		}
	}
	return which
}
