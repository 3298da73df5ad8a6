package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/shahnk19/parachute"
)

type listCommand struct {
	JSON bool `name:"json" help:"Print all that is known of them, as JSON."`
	remote
}

func (c *listCommand) Run(ctx context.Context, p *program) error {
	client, err := c.client(p)
	if err != nil {
		return err
	}
	services, err := client.Services(ctx)
	if err != nil {
		return &remoteError{fmt.Errorf("list: %w", err)}
	}
	if c.JSON {
		out := json.NewEncoder(p.stdout)
		out.SetIndent("", "  ")
		return out.Encode(services)
	}
	if len(services) == 0 {
		fmt.Fprintln(p.stderr, "nothing is deployed yet: see parachute help deploy")
		return nil
	}
	return p.table(services)
}

// table prints a row for each service, and below them why some have failed.
func (p *program) table(services []parachute.Status) error {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tSTATE\tHOSTS\tTARGETS\tGENERATION")
	for _, s := range services {
		hosts := cmp.Or(strings.Join(s.Deployment.Hosts, ","), "any")
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\n", s.Service, s.State, hosts, targets(s), s.Generation)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range services {
		if s.Error != "" {
			fmt.Fprintf(p.stdout, "%s: %s\n", s.Service, printable(s.Error))
		}
	}
	return nil
}

// targets tells the targets of a service and how they are, if that is known.
func targets(s parachute.Status) string {
	if s.Live == nil || len(s.Live.Targets) == 0 {
		return strings.Join(s.Deployment.Targets, ",")
	}
	var each []string
	for _, t := range s.Live.Targets {
		each = append(each, fmt.Sprintf("%s (%s)", t.Address, t.Health))
	}
	return strings.Join(each, ", ")
}
