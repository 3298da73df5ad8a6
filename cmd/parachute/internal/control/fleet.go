package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/shahnk19/parachute"
)

// A Fleet is what a proxy does that shares its services with others. The zero value is for
// one that does not.
type Fleet struct {
	// Begin is called before each change. An error refuses it.
	Begin func(ctx context.Context) error

	// Settle is called after each change of services, with what that has come to. It
	// returns when the others have drained what the change has replaced, and calls tell with
	// each of the services and the name of each that has.
	Settle func(ctx context.Context, services []string, failed error, tell func(service, member string)) error

	// Settled returns nil when all proxies have drained what the newest change of the
	// service has replaced that was asked of this one, also of a process that is gone by now.
	// An error says which of them may still serve that.
	Settled func(ctx context.Context, service string) error

	// Members returns the proxies.
	Members func(ctx context.Context) ([]Member, error)

	// Lost returns those that may still serve, and are not among them any more. Forget has
	// nobody miss one of these, or returns ErrNotLost.
	Lost   func(ctx context.Context) ([]Member, error)
	Forget func(ctx context.Context, name string) error

	// Ask returns what Server.Answer of each proxy says to the question, or why it does not.
	Ask func(ctx context.Context, question []byte) ([]Answer, error)

	// Records returns, by service, the revision of the record that the proxy serves: it is
	// the same for all proxies that serve the same, and grows with each change.
	Records func() map[string]int64
}

// A Member is a proxy of a fleet.
type Member struct {
	Name      string    `json:"name"`
	Address   string    `json:"address"`
	Version   string    `json:"version"`
	Since     time.Time `json:"since"`               // it is a member since then
	Self      bool      `json:"self,omitempty"`      // it is the one that answers
	Services  int       `json:"services"`            // that it serves
	Unhealthy []string  `json:"unhealthy,omitempty"` // those of them that have failed there, or have no healthy target as seen from there
	Behind    int       `json:"behind"`              // how many changes it has yet to make
	Lost      bool      `json:"lost,omitempty"`      // it is no member any more, and whether it still serves is not known: nor is what follows
	Revision  int64     `json:"revision,omitempty"`  // of the newest change that it has made, as all count
}

// EventDrainedElsewhere tells that another proxy of the fleet has drained what a change has
// replaced: the one that Target names.
const EventDrainedElsewhere parachute.EventKind = "drained elsewhere"

// errNoFleet is why there are no members.
var errNoFleet = &textError{"this proxy shares its services with no other: see run --etcd", parachute.ErrNotFound}

// ErrNotLost is why a proxy cannot be forgotten.
var ErrNotLost error = &textError{"no proxy of that name is lost", parachute.ErrNotFound}

// ErrUnsettled says that a change was made, and that some proxy of the fleet may still serve
// what it has replaced.
var ErrUnsettled = errors.New("not drained everywhere")

// beginChange returns why the fleet does not allow a change now, or nil.
func (s *Server) beginChange(ctx context.Context) error {
	if s.Fleet.Begin == nil {
		return nil
	}
	return s.Fleet.Begin(ctx)
}

// settled makes the change t, and waits for the rest of the fleet then.
func (c *handlers) settled(ctx context.Context, f *subscription, t task) error {
	return c.server.settle(ctx, f, t.doing(), []string{t.service}, t.do())
}

// settle waits for the rest of the fleet after a change of services, which has come to err,
// and returns what it has come to then.
func (s *Server) settle(ctx context.Context, f *subscription, doing string, services []string, err error) error {
	if s.Fleet.Settle == nil {
		return err
	}
	unsettled := s.Fleet.Settle(ctx, services, err, func(service, member string) {
		s.dispatcher.add(f, parachute.Event{Time: time.Now(), Service: service, Kind: EventDrainedElsewhere, Target: member})
	})
	if unsettled != nil && err == nil {
		err = &textError{fmt.Sprintf("parachute: %s: %v", doing, unsettled), ErrUnsettled}
	}
	return err
}

// fleet answers with the proxies that share their services with this one, and if it is asked
// to with those that were lost.
func (c *handlers) fleet(w http.ResponseWriter, r *http.Request) {
	f := c.server.Fleet
	if f.Members == nil {
		writeError(w, fmt.Errorf("parachute: fleet: %w", errNoFleet))
		return
	}
	members, err := f.Members(r.Context())
	if err == nil && r.URL.Query().Get("lost") == "true" {
		var lost []Member
		lost, err = f.Lost(r.Context())
		members = append(members, lost...)
	}
	if err != nil {
		writeError(w, fmt.Errorf("parachute: fleet: %w", err))
		return
	}
	writeJSON(w, http.StatusOK, members)
}

// forget has nobody miss a proxy that was lost.
func (c *handlers) forget(w http.ResponseWriter, r *http.Request) {
	err := error(errNoFleet)
	if c.server.Fleet.Forget != nil {
		err = c.server.Fleet.Forget(r.Context(), r.PathValue("name"))
	}
	if err != nil {
		writeError(w, fmt.Errorf("parachute: fleet: forget %s: %w", r.PathValue("name"), err))
		return
	}
	writeJSON(w, http.StatusOK, struct{}{})
}

// Fleet returns the proxies that share their services with the one that answers, by name.
func (c *Client) Fleet(ctx context.Context) ([]Member, error) { return c.members(ctx, "") }

// FleetAndLost is Fleet with those behind it that were lost, by name.
func (c *Client) FleetAndLost(ctx context.Context) ([]Member, error) {
	return c.members(ctx, "?lost=true")
}

func (c *Client) members(ctx context.Context, query string) ([]Member, error) {
	var members []Member
	err := c.query(ctx, "/v1/fleet"+query, &members)
	return members, err
}

// Forget has no proxy of the fleet miss one that was lost.
func (c *Client) Forget(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/v1/fleet/lost/"+url.PathEscape(name), nil)
}
