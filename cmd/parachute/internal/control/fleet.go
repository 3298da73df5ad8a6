package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/shahnk19/parachute"
)

// A Fleet is what a proxy does that shares its services with others. The zero value is for
// one that does not.
type Fleet struct {
	// Begin is called before each change. An error refuses it.
	Begin func(ctx context.Context) error

	// Settle is called after each change of a service, with what that has come to. It
	// returns when the others have drained what the change has replaced, and calls tell with
	// the name of each that has.
	Settle func(ctx context.Context, service string, failed error, tell func(member string)) error

	// Members returns the proxies.
	Members func(ctx context.Context) ([]Member, error)
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
}

// EventDrainedElsewhere tells that another proxy of the fleet has drained what a change has
// replaced: the one that Target names.
const EventDrainedElsewhere parachute.EventKind = "drained elsewhere"

// errNoFleet is why there are no members.
var errNoFleet = &textError{"this proxy shares its services with no other: see run --etcd", parachute.ErrNotFound}

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
	for _, name := range services {
		unsettled := s.Fleet.Settle(ctx, name, err, func(member string) {
			s.dispatcher.add(f, parachute.Event{Time: time.Now(), Service: name, Kind: EventDrainedElsewhere, Target: member})
		})
		if unsettled != nil && err == nil {
			err = &textError{fmt.Sprintf("parachute: %s: %v", doing, unsettled), ErrUnsettled}
		}
	}
	return err
}

// fleet answers with the proxies that share their services with this one.
func (c *handlers) fleet(w http.ResponseWriter, r *http.Request) {
	err := error(errNoFleet)
	var members []Member
	if c.server.Fleet.Members != nil {
		members, err = c.server.Fleet.Members(r.Context())
	}
	if err != nil {
		writeError(w, fmt.Errorf("parachute: fleet: %w", err))
		return
	}
	writeJSON(w, http.StatusOK, members)
}

// Fleet returns the proxies that share their services with the one that answers, by name.
func (c *Client) Fleet(ctx context.Context) ([]Member, error) {
	var members []Member
	err := c.query(ctx, "/v1/fleet", &members)
	return members, err
}
