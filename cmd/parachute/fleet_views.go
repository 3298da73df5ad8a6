package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// show prints what the proxies of a fleet have told, as JSON, or else as text makes of it; if
// that is empty, nothing says why.
func (s fleetAnswers) show(p *program, command string, isJSON bool, nothing string, text func() string) error {
	if isJSON {
		if err := p.printJSON(s.told); err != nil {
			return err
		}
		return s.err(command)
	}
	made := text()
	if err := s.write(p, made); err != nil {
		return err
	}
	if made == "" && len(s.unseen) < len(s.told) {
		fmt.Fprintln(p.stderr, nothing)
	}
	return s.err(command)
}

func (c *listCommand) runFleet(ctx context.Context, p *program, client *control.Client, columns int) error {
	told, err := client.ServicesEverywhere(ctx, "")
	if err != nil {
		return &remoteError{fmt.Errorf("list: %w", err)}
	}
	s := newFleetAnswers(told)
	return s.show(p, "list", c.JSON, nothingDeployed, func() string { return s.serviceList().text(columns) })
}

// services returns what proxies say of services. They are of one party if the service is the
// same, and its targets look the same to them; how busy they are does not matter.
func (s fleetAnswers) services() []matter[parachute.Status] {
	type target struct {
		address         string
		isRead, rollout bool
		health          parachute.Health
	}
	return mattersOf(s.told,
		func(t control.Told) []parachute.Status { return t.Services },
		func(s parachute.Status) string { return s.Service },
		func(t control.Told, s parachute.Status) any {
			var seen []string
			if s.Live != nil {
				for _, t := range s.Live.Targets {
					seen = append(seen, fmt.Sprint(target{t.Address, t.Reads, t.Rollout, t.Health}))
				}
				slices.Sort(seen)
			}
			s.Live, s.Bake, s.Switched, s.Figures, s.History = nil, nil, time.Time{}, nil, nil
			return []any{s, seen, t.Records[s.Service]}
		})
}

// modes returns the TLS modes of hosts.
func (s fleetAnswers) modes() hostModes {
	var all []parachute.Status
	for _, t := range s.told {
		all = append(all, t.Services...)
	}
	return tlsModes(all)
}

// revision returns that of the record which a proxy serves as a service.
func (s fleetAnswers) revision(proxy, service string) string {
	for _, t := range s.told {
		if t.Name == proxy && t.Records[service] != 0 {
			return strconv.FormatInt(t.Records[service], 10)
		}
	}
	return "-"
}

// notThere is the state of a service that a proxy does not have.
const notThere = "not there"

// serviceList returns a row for each service and party, and notes about them.
func (s fleetAnswers) serviceList() *textTable {
	t := &textTable{header: []string{"SERVICE", "PROXIES", "STATE", "HOSTS", "TLS", "TARGETS", "GENERATION", "REVISION"}, maxCellLines: 4}
	modes := s.modes()
	for _, m := range s.services() {
		for _, p := range m.parties {
			row, notes := []cell{unbreakable(m.name), s.cell(p.proxies)}, []string(nil)
			if len(p.said) == 0 {
				row = append(row, unbreakable(notThere), unbreakable("-"), unbreakable("-"), unbreakable("-"), unbreakable("-"), unbreakable("-"))
			} else {
				row = append(append(row, modes.row(together(p.said))...), unbreakable(s.revision(p.proxies[0], m.name)))
				notes = rowNotes(p.said[0])
			}
			t.rows, t.notes = append(t.rows, row), append(t.notes, notes)
		}
	}
	return t
}

// together returns what proxies say of a service, which is the same but for how many
// requests they hold.
func together(said []parachute.Status) parachute.Status {
	s := said[0]
	if s.Live == nil {
		return s
	}
	live := *s.Live
	for _, other := range said[1:] {
		if other.Live != nil {
			live.Held += other.Live.Held
		}
	}
	s.Live = &live
	return s
}

func (c *statusCommand) runFleet(ctx context.Context, p *program, client *control.Client) error {
	told, err := client.ServicesEverywhere(ctx, c.Service)
	if err != nil {
		return &remoteError{fmt.Errorf("status: %w", err)}
	}
	s := newFleetAnswers(told)
	if c.Service != "" && len(s.unseen) == 0 && !slices.ContainsFunc(told, func(t control.Told) bool { return len(t.Services) > 0 }) {
		return &remoteError{fmt.Errorf("status %s: %w", c.Service, parachute.ErrNotFound)}
	}
	return s.show(p, "status", c.JSON, nothingDeployed, func() string {
		r := &report{modes: s.modes(), now: time.Now()}
		return r.textOf(s, p.displayOf(p.stdout).columns)
	})
}

// textOf returns a paragraph for each service and party, and a table of the targets as each of
// the proxies sees them.
func (r *report) textOf(s fleetAnswers, columns int) string {
	var all []string
	for _, m := range s.services() {
		for _, p := range m.parties {
			c := &card{maxCellLines: 8}
			c.add("service", breakable(m.name))
			c.add("proxies", s.cell(p.proxies))
			if len(p.said) == 0 {
				c.add("state", breakable(notThere))
				all = append(all, c.text(columns))
				continue
			}
			var now []string
			for i, said := range p.said {
				for _, change := range r.ongoingChanges(said.Live) {
					now = append(now, p.proxies[i]+": "+change)
				}
			}
			all = append(all, r.addFacts(c, p.said[0], now).text(columns))
			if t := r.targetsOf(p); len(t.rows) > 0 {
				all = append(all, t.text(columns))
			}
		}
	}
	return strings.Join(all, "\n")
}

// targetsOf returns a row for each target of a service, as each proxy of a party sees it.
func (r *report) targetsOf(p party[parachute.Status]) *textTable {
	t := &textTable{header: []string{"PROXY", "TARGET", "HEALTH", "LAST PROBE", "IN FLIGHT", "REQ/S", "ERRORS", "P50", "P99"}, maxCellLines: 4}
	hasWaits := slices.ContainsFunc(p.said, func(s parachute.Status) bool {
		return s.Live != nil && slices.ContainsFunc(s.Live.Targets, hasWaited)
	})
	if hasWaits {
		t.header = append(t.header, "WAITED")
	}
	for i, s := range p.said {
		if s.Live == nil {
			continue
		}
		for _, row := range r.targetRows(s.Live.Targets, hasWaits) {
			t.rows = append(t.rows, append([]cell{unbreakable(p.proxies[i])}, row...))
		}
	}
	return t
}

func (c *certificatesCommand) runFleet(ctx context.Context, p *program, client *control.Client) error {
	told, err := client.CertificatesEverywhere(ctx)
	if err != nil {
		return &remoteError{fmt.Errorf("certificates: %w", err)}
	}
	s := newFleetAnswers(told)
	return s.show(p, "certificates", c.JSON, noTLS, func() string { return s.certificateTable().text(p.displayOf(p.stdout).columns) })
}

// certificateTable returns a row for each host and party, with the earliest renewal. When
// each proxy is to renew a certificate does not matter, for one of them does it for all.
func (s fleetAnswers) certificateTable() *textTable {
	t := &textTable{header: []string{"HOST", "PROXIES", "ISSUER", "SOURCE", "EXPIRES", "RENEWS"}}
	for _, m := range mattersOf(s.told,
		func(t control.Told) []parachute.Certificate { return t.Certificates },
		func(c parachute.Certificate) string { return c.Host },
		func(_ control.Told, c parachute.Certificate) any {
			c.Renews = time.Time{}
			return c
		}) {
		for _, p := range m.parties {
			row, note := []cell{unbreakable(m.name), s.cell(p.proxies)}, ""
			if len(p.said) == 0 {
				row = append(row, unbreakable(notThere), unbreakable("-"), unbreakable("-"), unbreakable("-"))
			} else {
				first := p.said[0]
				for _, c := range p.said {
					first.Renews = earliest(first.Renews, c.Renews)
				}
				row, note = append(row, certificateRow(first)...), first.Error
			}
			t.rows, t.notes = append(t.rows, row), append(t.notes, nonEmpty([]string{note}))
		}
	}
	return t
}

// earliest returns the earlier one of two times, of which the zero one is not known.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (c *historyCommand) runFleet(ctx context.Context, p *program, client *control.Client) error {
	told, err := client.HistoryEverywhere(ctx, c.Service)
	if err != nil {
		return &remoteError{fmt.Errorf("history: %w", err)}
	}
	s := newFleetAnswers(told)
	if c.Service != "" && len(s.unseen) == 0 && !slices.ContainsFunc(told, func(t control.Told) bool { return len(t.History) > 0 }) {
		return &remoteError{fmt.Errorf("history %s: %w", c.Service, parachute.ErrNotFound)}
	}
	return s.show(p, "history", c.JSON, nothingDeployed, func() string { return s.historyTable(c.Service == "").text(p.displayOf(p.stdout).columns) })
}

// historyTable returns a row for each deployment and party: services whose histories are not
// the same come first, and of each the latest deployment.
func (s fleetAnswers) historyTable(ofAll bool) *textTable {
	t := &textTable{header: []string{"GENERATION", "PROXIES", "RELEASE", "BY", "SWITCHED", "SERVED", "END", "REQUESTS", "ERRORS", "P50", "P99", "TARGETS"}}
	if ofAll {
		t.header = append([]string{"SERVICE"}, t.header...)
	}
	type fact struct {
		generation, restores uint64
		release, by          string
		end                  parachute.End
		targets              []string
	}
	matters := mattersOf(s.told,
		func(t control.Told) []parachute.Past { return t.History },
		func(h parachute.Past) string { return fmt.Sprintf("%s %020d", h.Service, ^h.Generation) },
		func(_ control.Told, h parachute.Past) any {
			return fmt.Sprint(fact{h.Generation, h.Restores, h.Release, h.By, h.End, h.Targets}, h.Ended.IsZero())
		})
	differ := make(map[string]int) // by service: -1, so that it comes first
	serviceOf := func(m matter[parachute.Past]) string { name, _, _ := strings.Cut(m.name, " "); return name }
	for _, m := range matters {
		if len(m.parties) > 1 {
			differ[serviceOf(m)] = -1
		}
	}
	slices.SortFunc(matters, func(a, b matter[parachute.Past]) int {
		return cmp.Or(cmp.Compare(differ[serviceOf(a)], differ[serviceOf(b)]), strings.Compare(a.name, b.name))
	})
	for _, m := range matters {
		for _, p := range m.parties {
			if len(p.said) == 0 {
				continue // that it is not there, the other rows say
			}
			row, all := make([]cell, 0, len(t.header)), altogether(p.said)
			if ofAll {
				row = append(row, unbreakable(all.Service))
			}
			t.rows = append(t.rows, append(row, slices.Insert(historyRow(all), 1, s.cell(p.proxies))...))
		}
	}
	return t
}

// altogether returns what several proxies know of one deployment as one: all requests, the
// first switch, and the longest times.
func altogether(said []parachute.Past) parachute.Past {
	h := said[0]
	for _, other := range said[1:] {
		f := other.Figures
		h.Switched = earliest(h.Switched, other.Switched)
		h.Figures.Requests += f.Requests
		h.Figures.Errors += f.Errors
		h.Figures.Served = max(h.Figures.Served, f.Served)
		h.Figures.P50, h.Figures.P99 = max(h.Figures.P50, f.P50), max(h.Figures.P99, f.P99)
	}
	h.Figures.ErrorRate = float64(h.Figures.Errors) / float64(max(h.Figures.Requests, 1))
	return h
}
