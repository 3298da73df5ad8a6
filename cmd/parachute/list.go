package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/shahnk19/parachute"
)

type listCommand struct {
	JSON bool `name:"json" negatable:"" help:"Print everything about them as JSON."`
	Wide bool `negatable:"" help:"Print a line for each service, with all of its targets, however long that is."`
	fleetFlag
	remoteFlags
}

// Help explains what is left out.
func (listCommand) Help() string {
	return `On a terminal that has no room for all targets, unhealthy ones come first, and others that are left out are counted, as in "+3 healthy". All hosts are shown. A narrow terminal gets a card for each service.

With --fleet there is a row for each service and those proxies that say the same of it. GENERATION is the number that the proxy which a deploy was asked of has given it; REVISION counts the changes of the whole fleet, so the highest one is the newest.`
}

func (listCommand) Examples() string {
	return `
# Show what serves now.
parachute list

# Tell a program the same, and more.
parachute list --json

# See whether all proxies of the fleet serve the same.
parachute list --fleet`
}

func (c *listCommand) Run(ctx context.Context, p *program) error {
	client, err := c.client(p)
	if err != nil {
		return err
	}
	columns := p.displayOf(p.stdout).columns
	if c.Wide {
		columns = 0
	}
	if c.Fleet {
		return c.runFleet(ctx, p, client, columns)
	}
	services, err := client.Services(ctx)
	if err != nil {
		return &remoteError{fmt.Errorf("list: %w", err)}
	}
	if c.JSON {
		return p.printJSON(services)
	}
	if len(services) == 0 {
		fmt.Fprintln(p.stderr, nothingDeployed)
		return nil
	}
	_, err = io.WriteString(p.stdout, serviceList(services).text(columns))
	return err
}

// nothingDeployed is printed if there are no services.
const nothingDeployed = "nothing is deployed yet: see parachute help deploy"

// serviceList returns a row for each service, and notes about them.
func serviceList(services []parachute.Status) *textTable {
	t := &textTable{header: []string{"SERVICE", "STATE", "HOSTS", "TLS", "TARGETS", "GENERATION"}, maxCellLines: 4}
	modes := tlsModes(services)
	for _, s := range services {
		t.rows = append(t.rows, append([]cell{unbreakable(s.Service)}, modes.row(s)...))
		t.notes = append(t.notes, rowNotes(s))
	}
	return t
}

// row returns what list shows of a service, behind its name.
func (m hostModes) row(s parachute.Status) []cell {
	return []cell{
		breakable(stateText(s)), listCell(hostsAndPaths(s.Deployment), ","), breakable(m.of(s.Deployment)), targetsCell(s),
		breakable(strconv.FormatUint(s.Generation, 10) + releaseOf(s.Deployment.Release, s.Deployment.By)),
	}
}

// rowNotes returns what list prints about a service below the rows.
func rowNotes(s parachute.Status) []string {
	notes := serviceNotes(s)
	if rules := rulesOf(s.Deployment); len(rules) > 0 {
		notes = append(notes, rules.text())
	}
	return notes
}

// releaseOf returns what stands behind a generation: what was deployed, and by whom,
// as far as that was said.
func releaseOf(release, by string) string {
	switch {
	case release != "" && by != "":
		return fmt.Sprintf(" (%s by %s)", release, by)
	case release != "":
		return fmt.Sprintf(" (%s)", release)
	case by != "":
		return fmt.Sprintf(" (by %s)", by)
	}
	return ""
}

// printJSON prints v for programs.
func (p *program) printJSON(v any) error {
	out := json.NewEncoder(p.stdout)
	out.SetIndent("", "  ")
	return out.Encode(v)
}

// hostsAndPaths returns the hosts of d, each joined with each path prefix.
func hostsAndPaths(d parachute.Deployment) []string {
	hosts := d.Hosts
	if len(hosts) == 0 {
		hosts = []string{"any"}
	}
	if len(d.PathPrefixes) == 0 {
		return hosts
	}
	var all []string
	for _, host := range hosts {
		for _, prefix := range d.PathPrefixes {
			all = append(all, host+prefix)
		}
	}
	return all
}

// hostModes maps a host to its TLS mode. The mode belongs to the host: if one
// of several services sets it, it is the mode of all of them.
type hostModes map[string]parachute.TLSMode

func tlsModes(services []parachute.Status) hostModes {
	modes := make(hostModes)
	for _, s := range services {
		for _, host := range s.Deployment.Hosts {
			if mode := s.Deployment.TLS.Mode; mode != parachute.TLSInherit {
				modes[host] = mode
			}
		}
	}
	return modes
}

// of returns the TLS modes of the hosts of d, separated by commas.
func (m hostModes) of(d parachute.Deployment) string {
	modes := []parachute.TLSMode{d.TLS.Mode}
	if d.TLS.Mode == parachute.TLSInherit {
		modes = nil
		for _, host := range d.Hosts {
			modes = append(modes, m[host])
		}
	}
	var each []string
	for _, mode := range modes {
		if name := string(cmp.Or(mode, parachute.TLSOff)); !slices.Contains(each, name) {
			each = append(each, name)
		}
	}
	return cmp.Or(strings.Join(each, ","), string(parachute.TLSOff))
}

// targetsCell lists the targets of a service, with their health if it is known.
// Those that are not healthy come first. Unhealthy ones are never left out.
func targetsCell(s parachute.Status) cell {
	if s.Live == nil || len(s.Live.Targets) == 0 {
		return listCell(slices.Concat(s.Deployment.Targets, s.Deployment.ReadTargets), ",")
	}
	c := cell{itemList: &itemList{separator: ", "}}
	for _, t := range worstFirst(s.Live.Targets) {
		about := append(rolesOf(t), string(t.Health))
		it := item{pieces: []string{singleLine(t.Address) + " ", "(" + strings.Join(about, ", ") + ")"}}
		if t.Health != parachute.HealthUnhealthy {
			it.kind = string(t.Health)
		}
		c.items = append(c.items, it)
	}
	return c
}

// worstFirst returns targets with the unhealthy ones first, then those of unknown
// health.
func worstFirst(targets []parachute.TargetStatus) []parachute.TargetStatus {
	rank := map[parachute.Health]int{parachute.HealthUnhealthy: -2, parachute.HealthUnknown: -1}
	return slices.SortedStableFunc(slices.Values(targets), func(a, b parachute.TargetStatus) int {
		return cmp.Compare(rank[a.Health], rank[b.Health])
	})
}

// rolesOf returns the roles of a target that not every target has.
func rolesOf(t parachute.TargetStatus) (roles []string) {
	if t.Rollout {
		roles = append(roles, "rollout")
	}
	if t.Reads {
		roles = append(roles, "reads")
	}
	return roles
}

// stateText returns the state of a service, and how many requests it holds.
func stateText(s parachute.Status) string {
	if s.Live == nil || s.Live.Held == 0 {
		return string(s.State)
	}
	return fmt.Sprintf("%s (%d held)", s.State, s.Live.Held)
}

// serviceNotes returns what list and status print about a service outside of
// the columns: its error, its stop message and its rollout.
func serviceNotes(s parachute.Status) []string {
	var all []string
	if s.Error != "" {
		all = append(all, s.Error)
	}
	if s.Stop != nil && s.Stop.Message != "" {
		all = append(all, "stopped: "+s.Stop.Message)
	}
	if s.Rollout != nil {
		all = append(all, "rollout"+releaseOf(s.Rollout.Release, s.Rollout.By)+" for "+visitors(s.Rollout.Split))
	}
	return all
}
