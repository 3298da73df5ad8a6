package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

type statusCommand struct {
	Service string `arg:"" optional:"" help:"The service; if none, all of them are shown."`

	JSON  bool `name:"json" negatable:"" help:"Print what list --json prints, of that service alone; with --watch in one line each second."`
	Watch bool `negatable:"" help:"Show it anew each second, until interrupted; the services in trouble first, then those with most requests. On a terminal, arrows, j, k, space, b, g and G scroll, and q ends it."`
	Web   bool `negatable:"" help:"Print where the page to look at is, or how to turn it on, and nothing else."`
	fleetFlag
	remoteFlags
}

// Help explains the numbers.
func (statusCommand) Help() string {
	return `REQ/S, ERRORS, P50 and P99 are of the requests that have ended within the last minute. Errors are answers of 500 and above, and requests that were cut off, other than by their client. Half of the requests took no longer than P50, 99 in a hundred no longer than P99; the time of a stream is that until it began. These times leave out the time in which no target was asked, because a request was held, waited for a target, or was buffered. WAITED says how many of the requests had such a time, and what 99 in a hundred of those did not exceed.

With --fleet there is a card for each service and those proxies that say the same of it, with the targets as each of them sees them.`
}

func (statusCommand) Examples() string {
	return `
# See how a service is: its targets, and the requests of the last minute.
parachute status web

# Watch all of them.
parachute status --watch`
}

func (c *statusCommand) Run(ctx context.Context, p *program) error {
	client, err := c.client(p)
	if err != nil {
		return err
	}
	switch {
	case c.Fleet && (c.Watch || c.Web):
		return &usageError{"status", errors.New("--fleet cannot be watched, for each look is work for all proxies and for etcd, and the page is of one proxy: leave out --watch and --web")}
	case c.Fleet:
		return c.runFleet(ctx, p, client)
	case c.Web:
		return printPage(ctx, p, client)
	case c.Watch && !c.JSON && p.displayOf(p.stdout) != display{}:
		return c.showReports(ctx, p, client)
	case c.Watch:
		return c.printReports(ctx, p, client)
	}
	r, err := c.fetch(ctx, client)
	switch {
	case err != nil:
		return err
	case c.JSON:
		return p.printJSON(r.services)
	case len(r.services) == 0 && r.stopping == nil:
		fmt.Fprintln(p.stderr, nothingDeployed)
		return nil
	}
	_, err = io.WriteString(p.stdout, r.text(p.displayOf(p.stdout).columns))
	return err
}

// printPage prints the URL of the page to look at.
func printPage(ctx context.Context, p *program, client *control.Client) error {
	v, err := client.Version(ctx)
	switch {
	case err != nil:
		return &remoteError{fmt.Errorf("status: %w", err)}
	case v.Page == "":
		return errors.New("status: the proxy serves no page: start it with parachute run --page-port 9000")
	}
	fmt.Fprintln(p.stdout, v.Page)
	return nil
}

// fetch asks the proxy for everything that a report shows.
func (c *statusCommand) fetch(ctx context.Context, client *control.Client) (*report, error) {
	r := &report{}
	var err error
	if r.services, err = client.Services(ctx); err != nil {
		return nil, &remoteError{fmt.Errorf("status: %w", err)}
	}
	r.modes = tlsModes(r.services)
	if c.Service != "" {
		i := slices.IndexFunc(r.services, func(s parachute.Status) bool { return s.Service == c.Service })
		if i < 0 {
			return nil, &remoteError{fmt.Errorf("status %s: %w", c.Service, parachute.ErrNotFound)}
		}
		r.services = r.services[i : i+1]
	}
	if !c.JSON {
		v, err := client.Version(ctx)
		if err != nil {
			return nil, &remoteError{fmt.Errorf("status: %w", err)}
		}
		r.stopping = v.Stopping
		if r.certificates, err = client.Certificates(ctx); err != nil {
			return nil, &remoteError{fmt.Errorf("status: %w", err)}
		}
	}
	r.now = time.Now()
	if c.Watch && !c.JSON {
		r.sortByTrouble()
	}
	return r, nil
}
