package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

type historyCommand struct {
	Service string `arg:"" optional:"" help:"The service whose deployments are listed; if none is given, those of all."`
	JSON    bool   `name:"json" negatable:"" help:"Print everything about them as JSON."`
	fleetFlag
	remoteFlags
}

// Help explains the columns.
func (historyCommand) Help() string {
	return `The latest deployment of each service comes first; it is the one that serves, unless the service was removed. How it ended: replaced by a later one, taken back because it failed, or removed with its service. Requests, errors and times are of those that were sent to its targets; errors are answers from 500 up and failures that the proxy saw. "run --keep-history" says how many deployments are known.

Each proxy of a fleet has a history of its own. With --fleet there is a row for each deployment and those proxies that say the same of it: REQUESTS and ERRORS are of all of them, SWITCHED is the first time, and SERVED, P50 and P99 are the longest.`
}

func (historyCommand) Examples() string {
	return `
# Show what was deployed as web, and how it did.
parachute history web

# Tell a program the same of all services.
parachute history --json`
}

func (c *historyCommand) Run(ctx context.Context, p *program) error {
	client, err := c.client(p)
	if err != nil {
		return err
	}
	if c.Fleet {
		return c.runFleet(ctx, p, client)
	}
	var past []parachute.Past
	var text string
	if c.JSON {
		text, err = client.HistoryJSON(ctx, c.Service)
	} else {
		past, err = client.History(ctx, c.Service)
	}
	switch {
	case errors.Is(err, parachute.ErrNotFound):
		return &remoteError{err} // it says what was asked
	case err != nil:
		return &remoteError{fmt.Errorf("history: %w", err)}
	}
	if c.JSON {
		var out bytes.Buffer
		out.Grow(2 * len(text)) // which is about what it takes
		if err := json.Indent(&out, []byte(text), "", "  "); err != nil {
			return &remoteError{fmt.Errorf("history: %w", err)}
		}
		_, err := out.WriteTo(p.stdout)
		return err
	}
	if len(past) == 0 {
		fmt.Fprintln(p.stderr, nothingDeployed)
		return nil
	}
	_, err = io.WriteString(p.stdout, historyTable(past, c.Service == "").text(p.displayOf(p.stdout).columns))
	return err
}

// historyTable returns a row for each deployment, which says the service where there
// may be several.
func historyTable(past []parachute.Past, ofAll bool) *textTable {
	t := &textTable{header: []string{"GENERATION", "RELEASE", "BY", "SWITCHED", "SERVED", "END", "REQUESTS", "ERRORS", "P50", "P99", "TARGETS"}}
	if ofAll {
		t.header = append([]string{"SERVICE"}, t.header...)
	}
	for _, h := range past {
		row := make([]cell, 0, len(t.header))
		if ofAll {
			row = append(row, unbreakable(h.Service))
		}
		t.rows = append(t.rows, append(row, historyRow(h)...))
	}
	return t
}

// historyRow returns what history shows of a deployment, behind its service.
func historyRow(h parachute.Past) []cell {
	end := string(h.End)
	if h.Ended.IsZero() {
		end = "serves"
	}
	if h.Restores != 0 {
		end += fmt.Sprintf(", restores %d", h.Restores)
	}
	switched, served := "-", "-"
	if !h.Switched.IsZero() {
		switched, served = h.Switched.Local().Format("2006-01-02 15:04:05"), servedText(h.Figures.Served)
	}
	return []cell{
		breakable(strconv.FormatUint(h.Generation, 10)), breakable(orDash(h.Release)), breakable(orDash(h.By)),
		breakable(switched), breakable(served), breakable(end),
		breakable(strconv.FormatUint(h.Figures.Requests, 10)), breakable(errorShare(h.Figures)),
		breakable(quantileText(h.Figures, h.Figures.P50)), breakable(quantileText(h.Figures, h.Figures.P99)),
		listCell(h.Targets, ","),
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// servedText returns a duration with two units at most.
func servedText(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.Round(time.Second).String()
}

// errorShare returns how many of the requests were errors, in per cent. A few errors
// are never none.
func errorShare(f parachute.Figures) string {
	if f.Errors == 0 {
		return "0%"
	}
	share := 100 * f.ErrorRate
	digits := 1
	if share < 1 {
		digits += int(math.Ceil(-math.Log10(share)))
	}
	return strings.TrimSuffix(strconv.FormatFloat(share, 'f', digits, 64), ".0") + "%"
}

func quantileText(f parachute.Figures, d time.Duration) string {
	if f.Requests == 0 || d == 0 {
		return "-"
	}
	return d.Round(max(10*time.Microsecond, d.Round(time.Millisecond)/100)).String()
}

type rollbackCommand struct {
	Service string `arg:"" help:"The service to roll back."`

	To string `placeholder:"GENERATION|RELEASE" help:"What to return to, as history shows it; if not given, what was deployed before what serves."`
	By string `placeholder:"WHO" help:"Who rolls back, to be shown with the generation."`
	changeFlags
}

// Help explains what comes back.
func (rollbackCommand) Help() string {
	return `What was is deployed again, with all of its options and with a new generation. Its targets are probed as in any deploy, so they must still be there: if one does not answer, the message says which; start it, and roll back again. A service that was removed can be rolled back, too. Pauses, stops and rollouts stay as they are.

The exit codes are those of deploy.`
}

func (rollbackCommand) Examples() string {
	return `
# Return to what web served before.
parachute rollback web

# Return to a certain release.
parachute rollback web --to v41`
}

func (c *rollbackCommand) Run(ctx context.Context, p *program) error {
	format := newFormatter(parachute.Deployment{Service: c.Service})
	format.effect = "" // as it was then
	return c.change(ctx, p, "rollback", format,
		func(client *control.Client, events func(parachute.Event)) (control.Result, error) {
			return client.Rollback(ctx, c.Service, parachute.Rollback{To: c.To, By: c.By}, events)
		})
}
