package main

import (
	"context"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

type removeCommand struct {
	Service string `arg:"" help:"The service to remove."`
	changeFlags
}

// Help explains what remove waits for.
func (removeCommand) Help() string {
	return `New requests for the service are refused at once. The command returns when those that were running are done, or its drain time-out has passed: its targets may be stopped then.`
}

func (removeCommand) Examples() string {
	return `
# Answer nothing for web any more.
parachute remove web`
}

func (c *removeCommand) Run(ctx context.Context, p *program) error {
	return c.change(ctx, p, "remove", newFormatter(parachute.Deployment{Service: c.Service}),
		func(client *control.Client, events func(parachute.Event)) (control.Result, error) {
			return client.Remove(ctx, c.Service, events)
		})
}
