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
	JSON   bool   `name:"json" negatable:"" xor:"what" help:"Print everything about them as JSON, without those that were lost."`
	Forget string `placeholder:"NAME" xor:"what" help:"Forget a proxy that was lost and is gone for good."`
	remoteFlags
}

// Help explains the rows and columns.
func (fleetCommand) Help() string {
	return `There is a row for each proxy whose lease goes on; the one that answers has an asterisk. BEHIND is how many changes it has yet to make, and REVISION is that of the newest one that it has made: it counts for all of them, as in list --fleet. The lines below the table name the services that have failed at a proxy, or none of whose targets is healthy as seen from there. Below them stands who was lost: its lease has ended, and it did not say that it has nothing left. It may still serve what it had then. One that was stopped as it should be is not missed.`
}

func (fleetCommand) Examples() string {
	return `
# Show which proxies serve the same as this one.
parachute fleet

# Do without a machine that will not come back.
parachute fleet --forget eu-3`
}

func (c *fleetCommand) Run(ctx context.Context, p *program) error {
	client, err := c.client(p)
	if err != nil {
		return err
	}
	if c.Forget != "" {
		if err := client.Forget(ctx, c.Forget); err != nil {
			return &remoteError{err}
		}
		return nil
	}
	if c.JSON {
		members, err := client.Fleet(ctx)
		if err != nil {
			return &remoteError{err}
		}
		return p.printJSON(members)
	}
	members, err := client.FleetAndLost(ctx)
	if err != nil {
		return &remoteError{err}
	}
	return p.fleetTable(members)
}

// fleetTable prints a row for each proxy, and below it what is not well there.
func (p *program) fleetTable(members []control.Member) error {
	all := &textTable{header: []string{"PROXY", "ADDRESS", "VERSION", "SINCE", "SERVICES", "BEHIND", "REVISION"}}
	var lost []control.Member
	for _, m := range members {
		if m.Lost {
			lost = append(lost, m)
			continue
		}
		name := m.Name
		if m.Self {
			name += "*"
		}
		all.rows = append(all.rows, []cell{
			unbreakable(name), unbreakable(m.Address), unbreakable(m.Version), breakable(formatTime(m.Since)),
			unbreakable(strconv.Itoa(m.Services)), unbreakable(strconv.Itoa(m.Behind)), unbreakable(strconv.FormatInt(m.Revision, 10)),
		})
		all.notes = append(all.notes, nil)
		if len(m.Unhealthy) > 0 {
			all.notes[len(all.notes)-1] = []string{fmt.Sprintf("not healthy there: %s", strings.Join(m.Unhealthy, ", "))}
		}
	}
	var out strings.Builder
	columns := p.displayOf(p.stdout).columns
	out.WriteString(all.text(columns))
	for _, m := range lost {
		about := breakable(fmt.Sprintf("%s at %s was lost: its lease has ended, and whether it still serves is not known; if it is gone for good: parachute fleet --forget %[1]s", m.Name, m.Address))
		if columns == 0 {
			writeLines(&out, []string{about.text()})
		} else {
			writeLines(&out, about.lines(columns, 0))
		}
	}
	_, err := io.WriteString(p.stdout, out.String())
	return err
}
