package control

import (
	"fmt"
	"net/http"

	"github.com/shahnk19/parachute"
)

// The changes of a service that leave its deployment as it is.

func (c *handlers) pause(w http.ResponseWriter, r *http.Request) {
	how, err := decodeOptionalBody[parachute.Pause](w, r, pauseWanted)
	name := r.PathValue("name")
	c.runOperation(w, r, err, task{
		verb: "pause", service: name, firstEvent: parachute.EventPaused,
		do: func() error { return c.proxy.Pause(r.Context(), name, how) },
	})
}

func (c *handlers) stop(w http.ResponseWriter, r *http.Request) {
	how, err := decodeOptionalBody[parachute.Stop](w, r, stopWanted)
	name := r.PathValue("name")
	c.runOperation(w, r, err, task{
		verb: "stop", service: name, firstEvent: parachute.EventStopped,
		do: func() error { return c.proxy.Stop(r.Context(), name, how) },
	})
}

func (c *handlers) resume(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	c.runOperation(w, r, nil, task{
		verb: "resume", service: name, firstEvent: parachute.EventResumed,
		do: func() error { return c.proxy.Resume(r.Context(), name) },
	})
}

func (c *handlers) rollout(w http.ResponseWriter, r *http.Request) {
	rollout, err := decodeBody[parachute.Rollout](w, r, rolloutWanted)
	name := r.PathValue("name")
	c.runOperation(w, r, err, task{
		verb: "rollout", service: name, firstEvent: parachute.EventDeploying,
		do: func() error { return c.proxy.Rollout(r.Context(), name, rollout) },
	})
}

func (c *handlers) endRollout(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	c.runOperation(w, r, nil, task{
		verb: "end rollout", service: name, firstEvent: parachute.EventRolloutEnded,
		do: func() error { return c.proxy.EndRollout(r.Context(), name) },
	})
}

func (c *handlers) promote(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	c.runOperation(w, r, nil, task{
		verb: "promote", service: name, firstEvent: parachute.EventSwitched,
		do: func() error { return c.proxy.Promote(r.Context(), name) },
	})
}

func (c *handlers) split(w http.ResponseWriter, r *http.Request) {
	split, err := decodeBody[parachute.Split](w, r, splitWanted)
	name := r.PathValue("name")
	c.runOperation(w, r, err, task{
		verb: "split", service: name, firstEvent: parachute.EventSplit,
		do: func() error { return c.proxy.SetSplit(r.Context(), name, split) },
	})
}

// amendSplit is PATCH: the body says what is other than it was set before.
func (c *handlers) amendSplit(w http.ResponseWriter, r *http.Request) {
	patch, err := decodeBody[map[string]any](w, r, splitPatchWanted)
	if err == nil && patch == nil {
		err = invalid(nil, "the body is null: want %s", splitPatchWanted)
	}
	name := r.PathValue("name")
	c.runOperation(w, r, err, task{
		verb: "split", service: name, firstEvent: parachute.EventSplit,
		do: func() error {
			return c.proxy.AmendSplit(r.Context(), name, func(s *parachute.Split) (err error) {
				*s, err = merge(*s, patch, splitPatchWanted)
				return err
			})
		},
	})
}

// runOperation makes the change t, unless err says what is wrong with the request.
func (c *handlers) runOperation(w http.ResponseWriter, r *http.Request, err error, t task) {
	if err != nil {
		writeError(w, fmt.Errorf("parachute: %s %s: %w", t.verb, t.service, err))
		return
	}
	c.runTask(w, r, t)
}
