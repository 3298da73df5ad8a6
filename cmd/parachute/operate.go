package main

import (
	"context"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// The commands that change a service without deploying or removing it.

type pauseCommand struct {
	Service string `arg:"" help:"The service to pause."`

	MaxPause     durationLimit `placeholder:"30s" help:"Longest time that a request is held before it is answered 504; 0 is as long as its client waits."`
	DrainTimeout durationLimit `placeholder:"30s" help:"How long running requests may take before they are cut off; 0 cuts them off at once."`
	changeFlags
}

// Help explains what happens to requests.
func (pauseCommand) Help() string {
	return `New requests are held from now on, until "resume" lets them go or they have waited for too long. The command returns when those that were running are done: nothing reaches the targets then. GET and HEAD of the health path are answered with 200, unless that is "/". A deploy does not end a pause.`
}

func (pauseCommand) Examples() string {
	return `
# Hold requests while a database moves, each for a minute at most.
parachute pause web --max-pause 1m`
}

func (c *pauseCommand) Run(ctx context.Context, p *program) error {
	return c.change(ctx, p, "pause", newFormatter(parachute.Deployment{Service: c.Service}),
		func(client *control.Client, events func(parachute.Event)) (control.Result, error) {
			how := parachute.Pause{Max: time.Duration(c.MaxPause), Drain: time.Duration(c.DrainTimeout)}
			return client.Pause(ctx, c.Service, how, events)
		})
}

type stopCommand struct {
	Service string `arg:"" help:"The service to stop."`

	Message      string        `placeholder:"TEXT" help:"Text of the page that visitors get meanwhile."`
	DrainTimeout durationLimit `placeholder:"30s" help:"How long running requests may take before they are cut off; 0 cuts them off at once."`
	changeFlags
}

// Help explains what happens to requests.
func (stopCommand) Help() string {
	return `New requests are answered 503 from now on, until "resume". The command returns when those that were running are done. GET and HEAD of the health path are answered with 200, unless that is "/". A deploy does not end a stop.`
}

func (stopCommand) Examples() string {
	return `
# Show visitors a page for the time being.
parachute stop web --message 'Back at noon'`
}

func (c *stopCommand) Run(ctx context.Context, p *program) error {
	return c.change(ctx, p, "stop", newFormatter(parachute.Deployment{Service: c.Service}),
		func(client *control.Client, events func(parachute.Event)) (control.Result, error) {
			how := parachute.Stop{Message: c.Message, Drain: time.Duration(c.DrainTimeout)}
			return client.Stop(ctx, c.Service, how, events)
		})
}

type resumeCommand struct {
	Service string `arg:"" help:"The service to resume."`
	changeFlags
}

func (resumeCommand) Examples() string {
	return `
# Serve again.
parachute resume web`
}

func (c *resumeCommand) Run(ctx context.Context, p *program) error {
	return c.change(ctx, p, "resume", newFormatter(parachute.Deployment{Service: c.Service}),
		func(client *control.Client, events func(parachute.Event)) (control.Result, error) {
			return client.Resume(ctx, c.Service, events)
		})
}
