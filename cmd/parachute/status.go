package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

type statusCommand struct {
	Service string `arg:"" optional:"" help:"The service; if none, all of them are shown."`

	JSON  bool `name:"json" negatable:"" help:"Print what list --json prints, of that service alone; with --watch in one line each second."`
	Watch bool `negatable:"" help:"Show it anew each second, until interrupted."`
	remoteFlags
}

// Help explains the numbers.
func (statusCommand) Help() string {
	return `REQ/S, ERRORS, P50 and P99 are of the requests that have ended within the last minute. Errors are answers of 500 and above, and requests that were cut off, other than by their client. Half of the requests took no longer than P50, 99 in a hundred no longer than P99; the time of a stream is that until it began.`
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
	if c.Watch {
		return c.watch(ctx, p, client)
	}
	r, err := c.fetch(ctx, client)
	switch {
	case err != nil:
		return err
	case c.JSON:
		return p.printJSON(r.services)
	case len(r.services) == 0:
		fmt.Fprintln(p.stderr, nothingDeployed)
		return nil
	}
	_, err = io.WriteString(p.stdout, r.text(p.displayOf(p.stdout).columns))
	return err
}

// watch shows the status each second, until ctx ends or the proxy does not
// answer.
func (c *statusCommand) watch(ctx context.Context, p *program, client *control.Client) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for isFirst := true; ; isFirst = false {
		r, err := c.fetch(ctx, client)
		if err == nil {
			err = c.redraw(p, r, isFirst)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// redraw shows r. On a terminal it replaces what was shown before; elsewhere it
// is appended.
func (c *statusCommand) redraw(p *program, r *report, isFirst bool) error {
	if c.JSON {
		return json.NewEncoder(p.stdout).Encode(r.services)
	}
	d := p.displayOf(p.stdout)
	text := r.text(d.columns)
	if len(r.services) == 0 {
		text = nothingDeployed + "\n"
	}
	switch {
	case d.columns > 0 && isFirst:
		text = strings.Repeat("\n", d.rows) + formatScreen(text, d.rows) // scrolls the earlier output away, and so keeps it
	case d.columns > 0:
		text = formatScreen(text, d.rows)
	case !isFirst:
		text = "\n" + text
	}
	_, err := io.WriteString(p.stdout, text) // in one write, so that nothing flickers
	return err
}

// formatScreen returns text with the control sequences that make it replace
// everything on a terminal of that many rows. It ends with a line break, so
// that later output begins on a line of its own.
func formatScreen(text string, rows int) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if most := max(rows-1, 1); len(lines) > most {
		left := len(lines) - most + 1
		lines = append(lines[:most-1], fmt.Sprintf("+%d lines", left))
	}
	const home, toEndOfLine, toEnd = "\x1b[H", "\x1b[K", "\x1b[J"
	return home + strings.Join(lines, toEndOfLine+"\n") + toEndOfLine + "\n" + toEnd
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
		if r.certificates, err = client.Certificates(ctx); err != nil {
			return nil, &remoteError{fmt.Errorf("status: %w", err)}
		}
	}
	r.now = time.Now()
	return r, nil
}
