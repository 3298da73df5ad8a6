package main

import (
	"context"

	"github.com/shahnk19/parachute"
)

type removeCommand struct {
	Service string `arg:"" help:"The service to remove."`
	remote
}

// Help says what remove waits for.
func (removeCommand) Help() string {
	return `New requests for the service are refused at once. The command returns when those that were running are done, or its drain time-out has passed: its targets may be stopped then.`
}

func (c *removeCommand) Run(ctx context.Context, p *program) error {
	client, err := c.client(p)
	if err != nil {
		return err
	}
	progress := newProgress(p.stdout, parachute.Deployment{Service: c.Service})
	result, err := client.Remove(ctx, c.Service, progress.show)
	return p.conclude(ctx, "remove", progress, result, err)
}
