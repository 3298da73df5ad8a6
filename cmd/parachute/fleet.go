package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

type fleetCommand struct {
	JSON bool `name:"json" negatable:"" help:"Print everything about them as JSON."`
	remoteFlags
}

// Help explains the rows and columns.
func (fleetCommand) Help() string {
	return `There is a row for each proxy whose lease goes on; the one that answers has an asterisk. BEHIND is how many changes it has yet to make. The lines below the table name the services that have failed at a proxy, or none of whose targets is healthy as seen from there.`
}

func (fleetCommand) Examples() string {
	return `
# Show which proxies serve the same as this one.
parachute fleet`
}

func (c *fleetCommand) Run(ctx context.Context, p *program) error {
	client, err := c.client(p)
	if err != nil {
		return err
	}
	members, err := client.Fleet(ctx)
	if err != nil {
		return &remoteError{err}
	}
	if c.JSON {
		return p.printJSON(members)
	}
	return p.fleetTable(members)
}

// fleetTable prints a row for each proxy, and below it what is not well there.
func (p *program) fleetTable(members []control.Member) error {
	all := table{header: []string{"PROXY", "ADDRESS", "VERSION", "SINCE", "SERVICES", "BEHIND"}}
	for _, m := range members {
		name := m.Name
		if m.Self {
			name += "*"
		}
		all.rows = append(all.rows, []cell{
			unbreakable(name), unbreakable(m.Address), unbreakable(m.Version), breakable(formatTime(m.Since)),
			unbreakable(strconv.Itoa(m.Services)), unbreakable(strconv.Itoa(m.Behind)),
		})
		all.notes = append(all.notes, nil)
		if len(m.Unhealthy) > 0 {
			all.notes[len(all.notes)-1] = []string{fmt.Sprintf("not healthy there: %s", strings.Join(m.Unhealthy, ", "))}
		}
	}
	_, err := io.WriteString(p.stdout, all.text(p.displayOf(p.stdout).columns))
	return err
}
