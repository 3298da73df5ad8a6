package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
)

// A report is what status tells of.
type report struct {
	services     []parachute.Status
	modes        hostModes
	certificates []parachute.Certificate
	at           time.Time
}

// text returns a paragraph on each service, and its targets, in lines of at most
// so many columns; 0: of any length.
func (r *report) text(columns int) string {
	var all []string
	for _, s := range r.services {
		all = append(all, r.about(s).text(columns))
		if s.Live != nil && len(s.Live.Targets) > 0 {
			all = append(all, r.targets(s.Live.Targets).text(columns))
		}
	}
	return strings.Join(all, "\n")
}

// about tells of a service what is no target's.
func (r *report) about(s parachute.Status) *table {
	t := &table{tallest: 8}
	row := func(name string, c cell) { t.rows = append(t.rows, []cell{word(name), c}) }
	row("service", words(s.Service))
	state := fmt.Sprintf("%s, generation %d", s.State, s.Generation)
	if s.Live != nil && !s.Live.Since.IsZero() {
		state = fmt.Sprintf("%s since %s, generation %d", s.State, r.age(s.Live.Since), s.Generation)
	}
	row("state", words(state))
	row("hosts", listed(claims(s.Deployment), ", "))
	row("tls", r.tls(s.Deployment))
	name := "now"
	for _, what := range r.underWay(s.Live) {
		row(name, words(what))
		name = ""
	}
	name = "note"
	for _, note := range notes(s) {
		row(name, words(note))
		name = ""
	}
	return t
}

// tls tells where the certificates of the hosts of d come from, and when they
// expire.
func (r *report) tls(d parachute.Deployment) cell {
	mode := r.modes.of(d)
	if mode == string(parachute.TLSOff) {
		return word(mode)
	}
	var each []string
	for _, c := range r.certificates {
		onDemand := len(d.Hosts) == 0 && c.Source == parachute.TLSOnDemand
		if !onDemand && !slices.Contains(d.Hosts, c.Host) {
			continue
		}
		about := c.Host + " has no certificate yet"
		if !c.Expires.IsZero() {
			about = fmt.Sprintf("%s expires %s (%s)", c.Host, moment(c.Expires), r.from(c.Expires))
		}
		if c.Error != "" {
			about += ": " + c.Error
		}
		each = append(each, about)
	}
	if len(each) == 0 {
		return word(mode)
	}
	return listed(append([]string{mode}, each...), "; ")
}

// underWay tells what goes on beside the requests that targets answer.
func (r *report) underWay(live *parachute.Live) []string {
	if live == nil {
		return nil
	}
	var all []string
	for _, c := range live.Changes {
		switch c.Kind {
		case parachute.EventDeploying:
			all = append(all, fmt.Sprintf("deploying generation %d since %s", c.Generation, r.age(c.Since)))
		case parachute.EventDraining:
			all = append(all, fmt.Sprintf("draining since %s: %s", r.age(c.Since), inFlight(c.Requests, c.Streams)))
		}
	}
	if live.Held > 0 {
		all = append(all, count(live.Held, "request")+" held")
	}
	return all
}

// targets tells of each target.
func (r *report) targets(targets []parachute.TargetStatus) *table {
	t := &table{header: []string{"TARGET", "HEALTH", "LAST PROBE", "IN FLIGHT", "REQ/S", "ERRORS", "P50", "P99"}, tallest: 4}
	for _, s := range targets {
		health, probe := string(s.Health), "-"
		if !s.Since.IsZero() {
			health += " " + r.age(s.Since)
		}
		switch {
		case s.Probe != nil && s.Probe.Passed:
			probe = fmt.Sprintf("%s in %s", cmp.Or(s.Probe.GRPC, strconv.Itoa(s.Probe.Status)), brief(s.Probe.Took))
		case s.Probe != nil:
			probe = s.Probe.String()
		}
		inside := strconv.FormatInt(s.Requests, 10)
		if s.Streams > 0 {
			inside = inFlight(s.Requests, s.Streams)
		}
		target := s.Address
		if roles := rolesOf(s); roles != nil {
			target += " (" + strings.Join(roles, ", ") + ")"
		}
		row := []cell{words(target), words(health), words(probe), words(inside)}
		for _, number := range numbers(s.Traffic) {
			row = append(row, word(number))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// numbers tells requests per second, errors, p50 and p99.
func numbers(t parachute.Traffic) [4]string {
	if t.Rate == 0 {
		return [4]string{"0", "-", "-", "-"}
	}
	return [4]string{decimal(t.Rate), decimal(t.ErrorRate*100) + "%", brief(t.P50), brief(t.P99)}
}

// decimal tells a number to one place behind the point if it is a small one.
func decimal(x float64) string {
	switch {
	case x == 0 || x >= 10:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case x < 0.1:
		return "<0.1"
	}
	return strconv.FormatFloat(x, 'f', 1, 64)
}

// brief tells a duration to two digits or so, and to the second.
func brief(d time.Duration) string {
	unit := time.Duration(1)
	for d >= 100*unit && unit < time.Second {
		unit *= 10
	}
	return d.Round(unit).String()
}

// age tells how long ago t was.
func (r *report) age(t time.Time) string { return span(r.at.Sub(t)) }

// from tells how far away t is.
func (r *report) from(t time.Time) string {
	if left := t.Sub(r.at); left > 0 {
		return "in " + span(left)
	}
	return r.age(t) + " ago"
}

// span tells a duration in whole seconds, minutes, hours or days: the largest of
// them that there are two of.
func span(d time.Duration) string {
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
