package page

import (
	"cmp"
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
)

// How bad it is, the worst first.
const (
	severityDown     = iota // nothing can be served
	severityDegraded        // something cannot
	severityFailed          // a deploy has failed; what served before serves
	severityHalted          // paused or stopped, on purpose
	severityNone
)

// minRequests is how many requests it takes to call a share of errors trouble.
const (
	minRequests  = 20
	troubleShare = 0.05
)

// A Row is a service on the overview. Two that are equal look the same.
type Row struct {
	ID, Name, Link string
	Generation     uint64
	Release        string

	severity int
	Word     string // what state it is in; its class in the style sheet is Class
	Class    string
	Cause    string // "": all is well
	Since    string

	Hosts   string
	Targets []TargetRow
	Changes []string // what is under way

	Rate, Errors, P50, P99 string
	Spark                  template.HTML
}

// A TargetRow is a target of a service.
type TargetRow struct {
	Address, Role, Health, Class, Since string
	Requests, Streams                   int64
	Rate, Errors, P50, P99              string
	Probe                               string // what the last one saw
}

// newRow describes a service. Where words of apps are not to be shown, detailed is
// false.
func newRow(s parachute.Status, r recording, now time.Time, detailed bool) Row {
	row := Row{
		ID:         elementID("s", s.Service),
		Name:       s.Service,
		Link:       "services/" + url.PathEscape(s.Service),
		Generation: s.Generation,
		Release:    s.Deployment.Release,
		Hosts:      hostsText(s.Deployment),
		Rate:       formatRate(r.now.Rate),
		Errors:     formatShare(r.now.Errors),
		P50:        "–",
		P99:        "–",
		Spark:      spark(r.steps, r.marks, now),
	}
	if r.now.Requests > 0 {
		row.P50, row.P99 = shortTime(r.now.P50), shortTime(r.now.P99)
	}
	for _, t := range liveTargets(s) {
		row.Targets = append(row.Targets, newTargetRow(t, now, detailed))
	}
	if s.Live != nil {
		row.Since = moment(s.Live.Since, now)
		for _, c := range s.Live.Changes {
			row.Changes = append(row.Changes, changeText(c, s.Deployment.Bake.For, now))
		}
	}
	row.judge(s, r, now, detailed)
	return row
}

// judge says how the service is, why, and since when.
func (row *Row) judge(s parachute.Status, r recording, now time.Time, detailed bool) {
	var sick []parachute.TargetStatus
	serving := 0
	for _, t := range liveTargets(s) {
		if t.Health == parachute.HealthUnhealthy {
			sick = append(sick, t)
		} else if !t.Reads && !t.Rollout {
			serving++
		}
	}
	set := func(severity int, word, class, cause string) {
		row.severity, row.Word, row.Class, row.Cause = severity, word, class, cause
	}
	switch {
	case s.State == parachute.StateFailed:
		set(severityDown, "failed", "down", "it could not be restored")
		if detailed && s.Error != "" {
			row.Cause = s.Error
		}
	case s.State == parachute.StatePaused:
		set(severityHalted, "paused", "halted", "its requests wait")
	case s.State == parachute.StateStopped:
		set(severityHalted, "stopped", "halted", "its requests are answered 503")
	case len(sick) > 0:
		set(severityDegraded, "degraded", "degraded", "")
		if serving == 0 {
			set(severityDown, "down", "down", "")
		}
		first := slices.MinFunc(sick, func(a, b parachute.TargetStatus) int { return a.Since.Compare(b.Since) })
		row.Cause, row.Since = first.Address+": "+probeText(first.Probe, detailed), moment(first.Since, now)
		if len(sick) > 1 {
			row.Cause += fmt.Sprintf(", and %d more", len(sick)-1)
		}
	case r.now.Requests >= minRequests && r.now.Errors >= troubleShare:
		set(severityDegraded, "errors", "degraded", formatShare(r.now.Errors)+" of its requests fail")
	case r.failed.Kind != "":
		set(severityFailed, "deploy "+string(r.failed.Kind), "degraded", r.failed.Text)
		if detailed && r.failed.Details != "" {
			row.Cause = r.failed.Details
		}
		row.Since = moment(r.failed.Time, now)
	default:
		set(severityNone, "serving", "fine", "")
	}
}

func newTargetRow(t parachute.TargetStatus, now time.Time, detailed bool) TargetRow {
	row := TargetRow{
		Address:  t.Address,
		Role:     keyOf(t).role(),
		Health:   string(t.Health),
		Class:    "fine",
		Since:    moment(t.Since, now),
		Requests: t.Requests,
		Streams:  t.Streams,
		Rate:     formatRate(t.Traffic.Rate),
		Errors:   formatShare(t.Traffic.ErrorRate),
		P50:      shortTime(t.Traffic.P50),
		P99:      shortTime(t.Traffic.P99),
		Probe:    probeText(t.Probe, detailed),
	}
	switch t.Health {
	case parachute.HealthUnhealthy:
		row.Class = "down"
	case parachute.HealthUnknown:
		row.Class = "degraded"
	}
	return row
}

func probeText(p *parachute.Probe, detailed bool) string {
	if p == nil {
		return "no probe yet"
	}
	text, details := describeProbe(*p)
	if detailed && details != "" {
		return details
	}
	return text
}

// changeText says what is under way, in a service whose deployments bake for so long.
func changeText(c parachute.Change, bake time.Duration, now time.Time) string {
	text := string(c.Kind)
	if c.Requests > 0 || c.Streams > 0 {
		text += fmt.Sprintf(" %d requests, %d streams", c.Requests, c.Streams)
	}
	text = fmt.Sprintf("%s (generation %d) for %d s", text, c.Generation, int(now.Sub(c.Since).Seconds()))
	if c.Kind == parachute.EventBaking && bake > 0 {
		text += fmt.Sprintf(" of %d", int(bake.Seconds()))
	}
	return text
}

const maxShownHosts = 3

func hostsText(d parachute.Deployment) string {
	if len(d.Hosts) == 0 {
		return "every host"
	}
	text := strings.Join(d.Hosts[:min(len(d.Hosts), maxShownHosts)], ", ")
	if more := len(d.Hosts) - maxShownHosts; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// A CertificateRow is a certificate that somebody should know of.
type CertificateRow struct{ Host, Source, State, Class, Expires string }

// nearEnd is how long before its end a certificate is shown.
const nearEnd = 14 * 24 * time.Hour

// certificateRows returns those that are missing, late or near their end, the most
// urgent first.
func certificateRows(all []parachute.Certificate, now time.Time, detailed bool) []CertificateRow {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b parachute.Certificate) int { return a.Expires.Compare(b.Expires) })
	var rows []CertificateRow
	for _, c := range all {
		row := CertificateRow{Host: c.Host, Source: string(c.Source), Class: "degraded"}
		switch {
		case c.Expires.IsZero():
			row.State, row.Class = "missing", "down"
		case c.Expires.Before(now):
			row.State, row.Class = "expired", "down"
		case c.Error != "":
			row.State = "could not be renewed"
		case c.Expires.Sub(now) < nearEnd:
			row.State = "near its end"
		default:
			continue
		}
		if detailed && c.Error != "" {
			row.State += ": " + c.Error
		}
		if !c.Expires.IsZero() {
			row.Expires = c.Expires.UTC().Format("2006-01-02 15:04")
		}
		rows = append(rows, row)
	}
	return rows
}

// An EventRow is an event in the table.
type EventRow struct {
	Time, Service, Link, Kind, Class, About string
	Generation                              uint64
}

func eventRows(events []Event, now time.Time, detailed bool) []EventRow {
	rows := make([]EventRow, len(events))
	for i, e := range events {
		row := EventRow{
			Time: moment(e.Time, now), Service: e.Service, Kind: string(e.Kind), Class: "fine", Generation: e.Generation,
			About: e.Text,
		}
		if e.Service != "" {
			row.Link = "services/" + url.PathEscape(e.Service)
		}
		if detailed && e.Details != "" {
			row.About = e.Details
		}
		if about := cmp.Or(e.Target, e.Host); about != "" {
			row.About = strings.TrimPrefix(about+": "+row.About, ": ")
		}
		switch e.Kind {
		case parachute.EventFailed, parachute.EventTakenBack, parachute.EventUnhealthy, parachute.EventNoCertificate:
			row.Class = "down"
		}
		rows[i] = row
	}
	return rows
}

// Overview is the first page.
type Overview struct {
	Summary      string
	Rows         []Row
	Certificates []CertificateRow
}

func (p *Page) overview(now time.Time) Overview {
	var o Overview
	trouble := 0
	for _, s := range p.config.Services() {
		row := newRow(s, p.config.Recorder.recording(s.Service, false), now, p.detailed())
		if row.severity < severityHalted {
			trouble++
		}
		o.Rows = append(o.Rows, row)
	}
	slices.SortStableFunc(o.Rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.severity, b.severity), cmp.Compare(a.Name, b.Name))
	})
	o.Certificates = certificateRows(p.config.Certificates(), now, p.detailed())
	switch {
	case len(o.Rows) == 0:
		o.Summary = "Nothing is deployed."
	case trouble == 0:
		o.Summary = fmt.Sprintf("%s, none in trouble.", plural(len(o.Rows), "service"))
	default:
		o.Summary = fmt.Sprintf("%s, %d in trouble.", plural(len(o.Rows), "service"), trouble)
	}
	return o
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Service is the page of a service.
type Service struct {
	Row
	Charts  []Chart
	Parts   []ChartGroup // by role and by target; empty: there is only one
	Options string       // the deploy command
	Events  []EventRow
	History []Deployed
}

// A ChartGroup is the charts of a part of a service.
type ChartGroup struct {
	Title  string
	Charts []Chart
}

// service returns the page of a service; it reports false if there is none of that
// name.
func (p *Page) service(name string, now time.Time) (Service, bool) {
	all := p.config.Services()
	i := slices.IndexFunc(all, func(s parachute.Status) bool { return s.Service == name })
	if i < 0 {
		return Service{}, false
	}
	r := p.config.Recorder.recording(name, true)
	v := Service{
		Row:     newRow(all[i], r, now, p.detailed()),
		Charts:  charts("all", r.steps, r.marks, now),
		Events:  eventRows(p.config.Recorder.lastEvents(func(e Event) bool { return e.Service == name }), now, p.detailed()),
		History: p.history(name, now),
	}
	if p.config.Command != nil {
		v.Options = p.config.Command(all[i].Deployment)
	}
	for _, role := range slices.Sorted(keysOf(r.roles)) {
		v.Parts = append(v.Parts, ChartGroup{"Role " + role, charts("role-"+role, r.roles[role], r.marks, now)})
	}
	for _, k := range slices.SortedFunc(keysOf(r.targets), compareTargets) {
		title := "Target " + k.address + " (" + k.role() + ")"
		v.Parts = append(v.Parts, ChartGroup{title, charts(elementID("t", k.address+k.role()), r.targets[k], r.marks, now)})
	}
	return v, true
}

func compareTargets(a, b targetKey) int {
	return cmp.Or(cmp.Compare(a.role(), b.role()), cmp.Compare(a.address, b.address))
}

// charts returns those of a service or of a part of it. They have the titles that they have
// on the dashboard for Grafana.
func charts(id string, all []step, marks []mark, now time.Time) []Chart {
	return []Chart{
		newChart(id+"-requests", "Requests", formatPerSecond, classLines(all), marks, now),
		newChart(id+"-times", "Latency of the targets", formatSeconds, timeLines(all), marks, now),
		newChart(id+"-flight", "In flight", formatCount, flightLines(all), marks, now),
	}
}

// A Deployed is a row of a service's history.
type Deployed struct {
	Generation                       uint64
	Release, By, When, Served, Ended string
	Requests                         uint64
	Errors, P50, P99                 string
}

// history returns the deployments of a service that are known, the latest first.
func (p *Page) history(service string, now time.Time) []Deployed {
	if p.config.History == nil {
		return nil
	}
	past, err := p.config.History(service)
	if err != nil {
		return nil // none is known
	}
	rows := make([]Deployed, len(past))
	for i, d := range past {
		rows[i] = Deployed{
			Generation: d.Generation, Release: d.Release, By: d.By,
			When: "not known", Served: shortTime(d.Figures.Served.Round(time.Second)), Ended: "serves",
			Requests: d.Figures.Requests, Errors: formatShare(d.Figures.ErrorRate),
			P50: shortTime(d.Figures.P50), P99: shortTime(d.Figures.P99),
		}
		if !d.Switched.IsZero() {
			rows[i].When = moment(d.Switched, now)
		}
		if !d.Ended.IsZero() {
			rows[i].Ended = fmt.Sprintf("%s %s", d.End, moment(d.Ended, now))
		}
	}
	return rows
}
