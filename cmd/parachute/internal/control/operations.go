package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/shahnk19/parachute"
)

// Pause has the proxy do what parachute.Proxy.Pause does. All that is said of
// Deploy holds for it, and for the other changes here, too: an error means that
// nothing was changed.
func (c *Client) Pause(ctx context.Context, service string, how parachute.Pause, events func(parachute.Event)) (Result, error) {
	return c.changeWithBody(ctx, how, &change{
		verb: "pause", service: service,
		method: http.MethodPost, suffix: "/pause",
		effect: parachute.EventPaused,
		check:  checkStatus(func(s parachute.Status) bool { return s.State == parachute.StatePaused }),
		events: events,
	})
}

// Stop has the proxy do what parachute.Proxy.Stop does.
func (c *Client) Stop(ctx context.Context, service string, how parachute.Stop, events func(parachute.Event)) (Result, error) {
	return c.changeWithBody(ctx, how, &change{
		verb: "stop", service: service,
		method: http.MethodPost, suffix: "/stop",
		effect: parachute.EventStopped,
		check:  checkStatus(func(s parachute.Status) bool { return s.State == parachute.StateStopped }),
		events: events,
	})
}

// Resume has the proxy do what parachute.Proxy.Resume does.
func (c *Client) Resume(ctx context.Context, service string, events func(parachute.Event)) (Result, error) {
	return c.change(ctx, &change{
		verb: "resume", service: service,
		method: http.MethodPost, suffix: "/resume",
		effect: parachute.EventResumed,
		check:  checkStatus(func(s parachute.Status) bool { return s.State == parachute.StateServing }),
		events: events,
	})
}

// Rollout has the proxy do what parachute.Proxy.Rollout does.
func (c *Client) Rollout(ctx context.Context, service string, r parachute.Rollout, events func(parachute.Event)) (Result, error) {
	return c.changeWithBody(ctx, r, &change{
		verb: "rollout", service: service,
		method: http.MethodPut, suffix: "/rollout",
		effect: parachute.EventSwitched,
		check: checkStatus(func(s parachute.Status) bool {
			return s.Rollout != nil && sameTargets(s.Rollout.Targets, r.Targets)
		}),
		events: events,
	})
}

// A SplitPatch says what is to be other in a Split; nil leaves a field as it is.
type SplitPatch struct {
	Percent    *int      `json:"percent,omitempty"`
	List       *[]string `json:"list,omitempty"`
	CookieOnly *bool     `json:"cookie_only,omitempty"`
	Preview    *string   `json:"preview,omitempty"`
}

// isIn reports whether s has what p says.
func (p SplitPatch) isIn(s parachute.Split) bool {
	return (p.Percent == nil || *p.Percent == s.Percent) && (p.List == nil || slices.Equal(*p.List, s.List)) &&
		(p.CookieOnly == nil || *p.CookieOnly == s.CookieOnly) && (p.Preview == nil || *p.Preview == s.Preview)
}

// AmendSplit has the proxy do what parachute.Proxy.AmendSplit does, with what patch says.
func (c *Client) AmendSplit(ctx context.Context, service string, patch SplitPatch, events func(parachute.Event)) (Result, error) {
	return c.changeWithBody(ctx, patch, &change{
		verb: "split", service: service,
		method: http.MethodPatch, suffix: "/rollout/split",
		effect: parachute.EventSplit,
		check:  checkStatus(func(s parachute.Status) bool { return s.Rollout != nil && patch.isIn(s.Rollout.Split) }),
		events: events,
	})
}

// Promote has the proxy do what parachute.Proxy.Promote does. All that is said of Deploy
// holds for it.
func (c *Client) Promote(ctx context.Context, service string, events func(parachute.Event)) (Result, error) {
	return c.change(ctx, &change{
		verb: "promote", service: service,
		method: http.MethodPost, suffix: "/rollout/promote",
		effect: parachute.EventSwitched,
		check:  checkStatus(func(s parachute.Status) bool { return s.Rollout == nil }),
		events: events,
	})
}

// EndRollout has the proxy do what parachute.Proxy.EndRollout does.
func (c *Client) EndRollout(ctx context.Context, service string, events func(parachute.Event)) (Result, error) {
	return c.change(ctx, &change{
		verb: "end rollout", service: service,
		method: http.MethodDelete, suffix: "/rollout",
		effect: parachute.EventRolloutEnded,
		check:  checkStatus(func(s parachute.Status) bool { return s.Rollout == nil }),
		events: events,
	})
}

// changeWithBody asks for a change that v says more of.
func (c *Client) changeWithBody(ctx context.Context, v any, ch *change) (Result, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return Result{}, ch.describe(fmt.Errorf("it cannot be sent: %w", err))
	}
	ch.body = body
	return c.change(ctx, ch)
}
