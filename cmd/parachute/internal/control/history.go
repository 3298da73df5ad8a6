package control

import (
	"context"
	"net/http"

	"github.com/shahnk19/parachute"
)

// What was deployed before, and how to return to it.

// history answers with the history of one service or of all. It has no secrets, so
// whoever may look sees all of it.
func (c *handlers) history(w http.ResponseWriter, r *http.Request) {
	past, err := c.proxy.History(r.PathValue("name"))
	if err != nil && !c.server.ended.Load() {
		writeError(w, err)
		return
	}
	c.writeKnown(w, "history", past)
}

func (c *handlers) rollback(w http.ResponseWriter, r *http.Request) {
	how, err := decodeOptionalBody[parachute.Rollback](w, r, rollbackWanted)
	name := r.PathValue("name")
	c.runOperation(w, r, err, task{
		verb: "roll back", service: name, firstEvent: parachute.EventDeploying,
		do: func() error { return c.proxy.Rollback(r.Context(), name, how) },
	})
}

// History returns the result of parachute.Proxy.History.
func (c *Client) History(ctx context.Context, service string) ([]parachute.Past, error) {
	var past []parachute.Past
	path := "/v1/history"
	if service != "" {
		path = (&change{service: service, suffix: "/history"}).path()
	}
	err := c.query(ctx, path, &past)
	return past, err
}

// Rollback has the proxy do what parachute.Proxy.Rollback does. All that is said of
// Deploy holds for it.
func (c *Client) Rollback(ctx context.Context, service string, how parachute.Rollback, events func(parachute.Event)) (Result, error) {
	return c.changeWithBody(ctx, how, &change{
		verb: "roll back", service: service,
		method: http.MethodPost, suffix: "/rollback",
		effect: parachute.EventSwitched,
		check:  checkGeneration,
		events: events,
	})
}

// checkGeneration says whether the deployment that the change made serves.
func checkGeneration(ch *change, services []parachute.Status) verdict {
	for _, s := range services {
		if s.Service == ch.service {
			ch.targets = s.Deployment.Targets // nobody has said which they would be
		}
	}
	return checkDeploy(ch, services)
}
