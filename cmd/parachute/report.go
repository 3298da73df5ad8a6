package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// A report is the data that status shows.
type report struct {
	services     []parachute.Status
	modes        hostModes
	certificates []parachute.Certificate
	stopping     *control.Stopping // nil: the proxy is not stopping
	now          time.Time
}

// text returns a paragraph for each service and a table of its targets, in
// lines of at most that many columns; if columns is 0, of any length.
func (r *report) text(columns int) string {
	var all []string
	if r.stopping != nil {
		all = append(all, fmt.Sprintf("The proxy is stopping. It waits for %s, until %s at the latest.\n",
			pluralize(r.stopping.Requests, "request"), r.stopping.Until.Format(time.TimeOnly)))
	}
	for _, s := range r.services {
		all = append(all, r.serviceCard(s).text(columns))
		if s.Live != nil && len(s.Live.Targets) > 0 {
			all = append(all, r.targetTable(s.Live.Targets).text(columns))
		}
	}
	return strings.Join(all, "\n")
}

// serviceCard returns the facts about a service as a whole.
func (r *report) serviceCard(s parachute.Status) *card {
	c := &card{maxCellLines: 8}
	c.add("service", breakable(s.Service))
	return r.addFacts(c, s, r.ongoingChanges(s.Live))
}

// addFacts adds to c what is to be said of a service, and returns c. now is what goes on in
// it.
func (r *report) addFacts(c *card, s parachute.Status, now []string) *card {
	state := fmt.Sprintf("%s, generation %d", s.State, s.Generation)
	if s.Live != nil && !s.Live.Since.IsZero() {
		state = fmt.Sprintf("%s since %s, generation %d", s.State, r.formatAge(s.Live.Since), s.Generation)
	}
	c.add("state", breakable(state+releaseOf(s.Deployment.Release, s.Deployment.By)))
	c.add("hosts", listCell(hostsAndPaths(s.Deployment), ", "))
	c.add("tls", r.tlsCell(s.Deployment))
	for _, rule := range rulesOf(s.Deployment) {
		c.add(rule.name, listCell(rule.values, ", "))
	}
	c.addTexts("now", now)
	c.addNotes(serviceNotes(s))
	return c
}

// tlsCell returns where the certificates of the hosts of d come from, and when
// they expire. What is wrong with them comes first.
func (r *report) tlsCell(d parachute.Deployment) cell {
	mode := r.modes.of(d)
	if mode == string(parachute.TLSOff) {
		return unbreakable(mode)
	}
	c := cell{itemList: &itemList{items: []item{{pieces: []string{singleLine(mode)}}}, separator: "; "}}
	var good []item
	for _, of := range r.certificates {
		onDemand := len(d.Hosts) == 0 && of.Source == parachute.TLSOnDemand
		if !onDemand && !slices.Contains(d.Hosts, of.Host) {
			continue
		}
		about := of.Host + " has no certificate yet"
		if !of.Expires.IsZero() {
			about = fmt.Sprintf("%s expires %s (%s)", of.Host, formatTime(of.Expires), r.formatUntil(of.Expires))
		}
		if of.Error != "" {
			about += ": " + of.Error
		}
		it := item{pieces: strings.SplitAfter(singleLine(about), " ")}
		if of.Error == "" && of.Expires.After(r.now) {
			it.kind = "valid"
			good = append(good, it)
		} else {
			c.items = append(c.items, it)
		}
	}
	c.items = append(c.items, good...)
	return c
}

// ongoingChanges lists the deploys, drains and held requests of a service.
func (r *report) ongoingChanges(live *parachute.Live) []string {
	if live == nil {
		return nil
	}
	var all []string
	for _, c := range live.Changes {
		switch c.Kind {
		case parachute.EventDeploying:
			all = append(all, fmt.Sprintf("deploying generation %d%s since %s", c.Generation, releaseOf(c.Release, c.By), r.formatAge(c.Since)))
		case parachute.EventBaking:
			all = append(all, fmt.Sprintf("generation %d bakes since %s", c.Generation, r.formatAge(c.Since)))
		case parachute.EventDraining:
			all = append(all, fmt.Sprintf("draining since %s: %s", r.formatAge(c.Since), formatInFlight(c.Requests, c.Streams)))
		}
	}
	if live.Held > 0 {
		all = append(all, pluralize(live.Held, "request")+" held")
	}
	return all
}

// targetTable returns a row for each target.
func (r *report) targetTable(targets []parachute.TargetStatus) *textTable {
	t := &textTable{header: []string{"TARGET", "HEALTH", "LAST PROBE", "IN FLIGHT", "REQ/S", "ERRORS", "P50", "P99"}, maxCellLines: 4}
	hasWaits := slices.ContainsFunc(targets, hasWaited)
	if hasWaits {
		t.header = append(t.header, "WAITED")
	}
	t.rows = r.targetRows(targets, hasWaits)
	return t
}

// hasWaited reports whether requests have waited before s had them.
func hasWaited(s parachute.TargetStatus) bool { return s.Traffic.Waited > 0 }

// targetRows returns a row for each target, with the column WAITED or without.
func (r *report) targetRows(targets []parachute.TargetStatus, hasWaits bool) (rows [][]cell) {
	for _, s := range worstFirst(targets) {
		health, probe := string(s.Health), "-"
		if !s.Since.IsZero() {
			health += " " + r.formatAge(s.Since)
		}
		switch {
		case s.Probe != nil && s.Probe.Passed:
			probe = fmt.Sprintf("%s in %s", cmp.Or(s.Probe.GRPC, strconv.Itoa(s.Probe.Status)), formatDuration(s.Probe.Took))
		case s.Probe != nil:
			probe = s.Probe.String()
		}
		inside := strconv.FormatInt(s.Requests, 10)
		if s.Streams > 0 {
			inside = formatInFlight(s.Requests, s.Streams)
		}
		target := s.Address
		if roles := rolesOf(s); roles != nil {
			target += " (" + strings.Join(roles, ", ") + ")"
		}
		row := []cell{breakable(target), breakable(health), breakable(probe), breakable(inside)}
		for _, number := range trafficColumns(s.Traffic) {
			row = append(row, unbreakable(number))
		}
		if hasWaits {
			row = append(row, breakable(waits(s.Traffic)))
		}
		rows = append(rows, row)
	}
	return rows
}

// trafficColumns returns requests per second, errors, p50 and p99.
func trafficColumns(t parachute.Traffic) [4]string {
	if t.Rate == 0 {
		return [4]string{"0", "-", "-", "-"}
	}
	return [4]string{formatNumber(t.Rate), formatNumber(t.ErrorRate*100) + "%", formatDuration(t.P50), formatDuration(t.P99)}
}

// waits returns how many of the requests have waited before a target had them, and for
// how long.
func waits(t parachute.Traffic) string {
	if t.Waited == 0 {
		return "-"
	}
	return formatNumber(t.Waited*100) + "%, P99 " + formatDuration(t.WaitP99)
}

// formatNumber returns a number with one decimal place if it is below 10.
func formatNumber(x float64) string {
	switch {
	case x == 0 || x >= 10:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case x < 0.1:
		return "<0.1"
	}
	return strconv.FormatFloat(x, 'f', 1, 64)
}

// formatDuration returns a duration with about two digits, but no coarser than
// to the second.
func formatDuration(d time.Duration) string {
	unit := time.Duration(1)
	for d >= 100*unit && unit < time.Second {
		unit *= 10
	}
	return d.Round(unit).String()
}

// formatAge returns how long ago t was.
func (r *report) formatAge(t time.Time) string { return formatSpan(r.now.Sub(t)) }

// formatUntil returns how far t is in the future or in the past.
func (r *report) formatUntil(t time.Time) string {
	if left := t.Sub(r.now); left > 0 {
		return "in " + formatSpan(left)
	}
	return r.formatAge(t) + " ago"
}

// formatSpan returns a duration in whole seconds, minutes, hours or days: the
// largest unit of which it has at least two.
func formatSpan(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}
