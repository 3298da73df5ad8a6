package control

import (
	"fmt"
	"net/http"

	"github.com/shahnk19/parachute"
)

// The changes of a service that leave its deployment as it is.

func (c *plane) pause(w http.ResponseWriter, r *http.Request) {
	how, err := readOptional[parachute.Pause](w, r, pauseWanted)
	name := r.PathValue("name")
	c.operate(w, r, err, task{
		verb: "pause", service: name, begins: parachute.EventPaused,
		do: func() error { return c.proxy.Pause(r.Context(), name, how) },
	})
}

func (c *plane) stop(w http.ResponseWriter, r *http.Request) {
	how, err := readOptional[parachute.Stop](w, r, stopWanted)
	name := r.PathValue("name")
	c.operate(w, r, err, task{
		verb: "stop", service: name, begins: parachute.EventStopped,
		do: func() error { return c.proxy.Stop(r.Context(), name, how) },
	})
}

func (c *plane) resume(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	c.operate(w, r, nil, task{
		verb: "resume", service: name, begins: parachute.EventResumed,
		do: func() error { return c.proxy.Resume(r.Context(), name) },
	})
}

func (c *plane) rollOut(w http.ResponseWriter, r *http.Request) {
	rollout, err := read[parachute.Rollout](w, r, rolloutWanted)
	name := r.PathValue("name")
	c.operate(w, r, err, task{
		verb: "rollout", service: name, begins: parachute.EventDeploying,
		do: func() error { return c.proxy.Rollout(r.Context(), name, rollout) },
	})
}

func (c *plane) endRollout(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	c.operate(w, r, nil, task{
		verb: "end rollout", service: name, begins: parachute.EventSplit,
		do: func() error { return c.proxy.EndRollout(r.Context(), name) },
	})
}

func (c *plane) split(w http.ResponseWriter, r *http.Request) {
	split, err := read[parachute.Split](w, r, splitWanted)
	name := r.PathValue("name")
	c.operate(w, r, err, task{
		verb: "split", service: name, begins: parachute.EventSplit,
		do: func() error { return c.proxy.SetSplit(r.Context(), name, split) },
	})
}

// operate makes the change t, unless err says what is wrong with the request.
func (c *plane) operate(w http.ResponseWriter, r *http.Request, err error, t task) {
	if err != nil {
		fail(w, fmt.Errorf("parachute: %s %s: %w", t.verb, t.service, err))
		return
	}
	c.carryOut(w, r, t)
}
