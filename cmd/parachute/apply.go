package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// The commands for several services at once.

type exportCommand struct {
	Service []string `arg:"" optional:"" help:"The services to export; if none is given, all."`
	remoteFlags
}

// Help explains what is in it.
func (exportCommand) Help() string {
	return `Writes what is deployed as JSON, in the form that "apply" reads: every option of every service. Certificates, keys, passwords and error pages are files, of which it has the names and nothing else; the values of header rules are there. Pauses, stops and rollouts are not.`
}

func (exportCommand) Examples() string {
	return `
# Keep what is deployed in a file.
parachute export > services.json`
}

func (c *exportCommand) Run(ctx context.Context, p *program) error {
	client, err := c.client(p)
	if err != nil {
		return err
	}
	d, err := client.Export(ctx)
	if err != nil {
		return &remoteError{fmt.Errorf("export: %w", err)}
	}
	if len(c.Service) == 0 {
		return p.printJSON(d)
	}
	all := d.Services
	d.Services = []parachute.Deployment{}
	for _, name := range c.Service {
		i := slices.IndexFunc(all, func(s parachute.Deployment) bool { return s.Service == name })
		if i < 0 {
			return &remoteError{fmt.Errorf("export %s: %w", name, parachute.ErrNotFound)}
		}
		if !slices.ContainsFunc(d.Services, func(s parachute.Deployment) bool { return s.Service == name }) {
			d.Services = append(d.Services, all[i])
		}
	}
	return p.printJSON(d)
}

type applyCommand struct {
	File string `arg:"" help:"What is to be deployed, as export writes it."`

	Prune  bool `negatable:"" help:"Remove the services that are not in the file."`
	DryRun bool `negatable:"" help:"Print what would be done, and do nothing."`
	changeFlags
}

// Help explains what happens, and its exit codes.
func (applyCommand) Help() string {
	return `Has the services be as the file says. Prints first what it will do. Services that are as they should be are not touched; the targets of the others are probed side by side, and when all are healthy, all are switched in one step. If one of them cannot be, none is. A host may move from one service to another. Services that are not in the file stay, unless --prune is given. A dry run checks everything but the health of targets.

Exit codes: 0 all serve as the file says; 1 the proxy refused, for instance because a target did not become healthy; 2 the command line was not understood; 4 a newer change of one of the services came first; 5 no proxy answered. After 1, 2 and 5, what served before goes on serving; after 4, the newer change decides.`
}

func (applyCommand) Examples() string {
	return `
# See what would be done, and then do it.
parachute apply services.json --prune --dry-run
parachute apply services.json --prune`
}

func (c *applyCommand) Run(ctx context.Context, p *program) error {
	document, err := readDocument(c.File)
	if err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	client, err := c.client(p)
	if err != nil {
		return err
	}
	began := time.Now()
	say := func(format string, args ...any) {
		if p.printer == nil && !c.Quiet {
			fmt.Fprintln(p.stdout, printable(fmt.Sprintf(format, args...)))
		}
	}
	applied, err := client.Apply(ctx, control.Application{
		Document: document,
		Prune:    c.Prune,
		DryRun:   c.DryRun,
		Plan: func(steps []parachute.Step) {
			if p.printer != nil {
				p.printer.Plan(steps)
			}
			for _, line := range planLines(steps) {
				say("%s", line)
			}
		},
		Events: func(e parachute.Event) {
			if p.printer != nil {
				p.printer.Event(e)
			}
			if line := applyLine(e); line != "" {
				say("%s", line)
			}
		},
	})
	switch {
	case err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled):
		return fmt.Errorf("apply: %w", errInterrupted)
	case err != nil:
		return &remoteError{err}
	case p.printer != nil:
		p.printer.Applied(applied)
	}
	if applied.Requests > 0 {
		p.warnf("%s cut off when the drain time-out had passed", pluralize(applied.Requests, "request"))
	}
	switch {
	case applied.Warning != "":
		p.warnf("%s", applied.Warning)
	case applied.DryRun:
		say("dry run: nothing was changed")
	case applied.Added+applied.Replaced+applied.Removed > 0:
		say("done in %s", formatDuration(time.Since(began)))
	}
	return nil
}

// readDocument reads a file that is no larger than the proxy takes.
func readDocument(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, control.MaxDocument+1))
	if err == nil && len(data) > control.MaxDocument {
		err = fmt.Errorf("%s has more than %d bytes, which is the most: nothing was changed", name, control.MaxDocument)
	}
	return data, err
}

// planLines says what will be done, a line for each service that changes.
func planLines(steps []parachute.Step) []string {
	count := make(map[parachute.Action]int)
	for _, s := range steps {
		count[s.Action]++
	}
	kept := count[parachute.ActionKeep]
	if kept == len(steps) {
		return []string{fmt.Sprintf("plan: nothing to do, %s as they should be", pluralize(int64(kept), "service"))}
	}
	lines := []string{fmt.Sprintf("plan: %d to add, %d to replace, %d to remove, %d as they should be",
		count[parachute.ActionAdd], count[parachute.ActionReplace], count[parachute.ActionRemove], kept)}
	for _, s := range steps {
		switch s.Action {
		case parachute.ActionAdd:
			lines = append(lines, fmt.Sprintf("  add      %s: %s", s.Service, servedBy(s.After)))
		case parachute.ActionReplace:
			lines = append(lines, fmt.Sprintf("  replace  %s: %s", s.Service, difference(s.Before, s.After)))
		case parachute.ActionRemove:
			lines = append(lines, fmt.Sprintf("  remove   %s: %s", s.Service, servedBy(s.Before)))
		}
	}
	return lines
}

// servedBy says which hosts have which targets.
func servedBy(d *parachute.Deployment) string {
	return strings.Join(hostsAndPaths(*d), ", ") + " to " + strings.Join(slices.Concat(d.Targets, d.ReadTargets), ", ")
}

// difference says what is new in after.
func difference(before, after *parachute.Deployment) string {
	was, is := servedBy(before), servedBy(after)
	if was == is {
		return is + ", with other options"
	}
	return is + ", in place of " + was
}

// applyLine returns what is printed about an event, or "".
func applyLine(e parachute.Event) string {
	switch e.Kind {
	case parachute.EventHealthy:
		return fmt.Sprintf("%s: %s is healthy", e.Service, e.Target)
	case parachute.EventSwitched:
		return fmt.Sprintf("%s: generation %d serves", e.Service, e.Generation)
	case parachute.EventRemoved:
		return fmt.Sprintf("%s: removed", e.Service)
	case parachute.EventDrained:
		if len(e.Unhealthy) > 0 {
			return fmt.Sprintf("%s: not healthy yet: %s; do not stop what served before", e.Service, strings.Join(e.Unhealthy, ", "))
		}
		if len(e.Unused) > 0 {
			return fmt.Sprintf("%s: %s may be stopped", e.Service, strings.Join(e.Unused, ", "))
		}
	}
	return ""
}
