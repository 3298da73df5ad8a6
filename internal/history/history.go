// Package history tells what was deployed, and which of that to bring back.
package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shahnk19/parachute/internal/histogram"
)

// A Past is a deployment of a service that was switched to.
type Past struct {
	Service    string    `json:"service"`
	Generation uint64    `json:"generation"`
	Release    string    `json:"release,omitempty"`
	By         string    `json:"by,omitempty"`
	Restores   uint64    `json:"restores,omitempty"` // the generation that it brought back; 0: none
	Targets    []string  `json:"targets"`            // then the ReadTargets
	Switched   time.Time `json:"switched,omitzero"`  // when it was; zero: not known
	Ended      time.Time `json:"ended,omitzero"`     // zero: it serves
	End        End       `json:"end,omitempty"`
	Figures    Figures   `json:"figures"`

	// Deployment is what was deployed, in what Commit gets. It may have been written
	// by another version of this package, so only a rollback looks into it.
	Deployment json.RawMessage `json:"deployment,omitempty"`

	Counted []*histogram.Total `json:"-"` // beside Figures
}

// End says how a deployment came to its end.
type End string

const (
	Replaced  End = "replaced"   // a later one took its place
	TakenBack End = "taken back" // the one before took its place again, because it failed
	Removed   End = "removed"    // with its service
)

// Figures are of the requests that were sent to the targets of a deployment, which
// count as in Traffic, and of those that ended during its drain. P50 and P99 are of
// those since this process was started, if there are any.
type Figures struct {
	Served    time.Duration `json:"served"` // how long it has served
	Requests  uint64        `json:"requests"`
	Errors    uint64        `json:"errors"`
	ErrorRate float64       `json:"error_rate"` // how much of Requests were Errors: 0 to 1
	P50       time.Duration `json:"p50"`
	P99       time.Duration `json:"p99"`
}

// MarshalJSON and UnmarshalJSON do without reflection, for a history has thousands of
// figures.
func (f Figures) MarshalJSON() ([]byte, error) { return f.append(nil) }

func (f Figures) append(b []byte) ([]byte, error) {
	b = strconv.AppendUint(append(b, `{"requests":`...), f.Requests, 10)
	b = strconv.AppendUint(append(b, `,"errors":`...), f.Errors, 10)
	b = append(b, `,"error_rate":`...)
	b, err := appendValue(b, f.ErrorRate)
	b = append(append(append(b, `,"served":"`...), f.Served.String()...), '"')
	b = append(append(append(b, `,"p50":"`...), f.P50.String()...), '"')
	b = append(append(append(b, `,"p99":"`...), f.P99.String()...), '"')
	return append(b, '}'), err
}

// appendValue appends v in JSON.
func appendValue(b []byte, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	return append(b, text...), err
}

func (f *Figures) UnmarshalJSON(b []byte) error {
	c := cursor{rest: string(b), ok: true}
	if figures := c.figures(); c.ok && c.rest == "" {
		*f = figures
		return nil
	}
	var told struct {
		Served    string  `json:"served"`
		Requests  uint64  `json:"requests"`
		Errors    uint64  `json:"errors"`
		ErrorRate float64 `json:"error_rate"`
		P50       string  `json:"p50"`
		P99       string  `json:"p99"`
	}
	if err := json.Unmarshal(b, &told); err != nil {
		return err
	}
	*f = Figures{Requests: told.Requests, Errors: told.Errors, ErrorRate: told.ErrorRate}
	for _, d := range []struct {
		to   *time.Duration
		text string
	}{{&f.Served, told.Served}, {&f.P50, told.P50}, {&f.P99, told.P99}} {
		if d.text == "" {
			continue
		}
		var err error
		if *d.to, err = time.ParseDuration(d.text); err != nil {
			return err
		}
	}
	return nil
}

// Plus returns f with what else was counted.
func (f Figures) Plus(counted []*histogram.Total) Figures {
	m := histogram.Sum(counted)
	if f.Requests, f.Errors = f.Requests+m.Count, f.Errors+m.Failed; m.Count > 0 {
		f.P50, f.P99 = m.P50, m.P99
		f.ErrorRate = float64(f.Errors) / float64(f.Requests)
	}
	return f
}

// MarshalJSON has the figures as they are now.
func (r Past) MarshalJSON() ([]byte, error) { return r.AppendJSON(nil) }

// AppendJSON appends to b what MarshalJSON returns. Whoever writes thousands of them
// saves the time in which package json checks again what MarshalJSON has returned.
func (r Past) AppendJSON(b []byte) ([]byte, error) {
	var errs []error
	value := func(key string, v any) {
		var err error
		b, err = appendValue(append(b, key...), v)
		errs = append(errs, err)
	}
	text := func(key, s string) {
		if isPlain(s) {
			b = append(append(append(append(b, key...), '"'), s...), '"')
			return
		}
		value(key, s)
	}
	text(`{"service":`, r.Service)
	b = strconv.AppendUint(append(b, `,"generation":`...), r.Generation, 10)
	if r.Release != "" {
		text(`,"release":`, r.Release)
	}
	if r.By != "" {
		text(`,"by":`, r.By)
	}
	if r.Restores != 0 {
		b = strconv.AppendUint(append(b, `,"restores":`...), r.Restores, 10)
	}
	at := func(key string, t time.Time) {
		var err error
		b, err = t.AppendText(append(append(b, key...), '"'))
		b, errs = append(b, '"'), append(errs, err)
	}
	if slices.ContainsFunc(r.Targets, func(s string) bool { return !isPlain(s) }) || len(r.Targets) == 0 {
		value(`,"targets":`, r.Targets)
	} else {
		b = append(append(append(b, `,"targets":["`...), strings.Join(r.Targets, `","`)...), `"]`...)
	}
	if !r.Switched.IsZero() {
		at(`,"switched":`, r.Switched)
	}
	if !r.Ended.IsZero() {
		at(`,"ended":`, r.Ended)
	}
	if r.End != "" {
		text(`,"end":`, string(r.End))
	}
	var err error
	b, err = r.Figures.Plus(r.Counted).append(append(b, `,"figures":`...))
	errs = append(errs, err)
	if len(r.Deployment) > 0 {
		value(`,"deployment":`, r.Deployment)
	}
	return append(b, '}'), errors.Join(errs...)
}

// isPlain reports whether s is the same in JSON, between quotes.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || strings.IndexByte(`"\<>&`, c) >= 0 {
			return false
		}
	}
	return true
}

// Told returns r as it is told at the time now: with the figures up to then, and without the
// Deployment, which is for a rollback.
func (r Past) Told(now time.Time) Past {
	if r.Ended.IsZero() {
		r.Figures.Served = served(r.Switched, now)
	}
	r.Figures = r.Figures.Plus(r.Counted)
	r.Deployment, r.Counted = nil, nil
	return r
}

// EndedAs returns r, which served until now, with how it has ended.
func (r Past) EndedAs(end End, now time.Time) Past {
	r.End, r.Ended, r.Figures.Served = end, now, served(r.Switched, now)
	return r
}

func served(since, until time.Time) time.Duration {
	if since.IsZero() {
		return 0
	}
	return max(until.Sub(since), 0).Round(time.Millisecond)
}

// mostRemoved is how many removed services have their history kept.
const mostRemoved = 100

// Removals have the history of services that were removed, by name: one Past or more of
// each, the latest first. They never change, and may be nil.
type Removals map[string][]Past

// WithService returns r with the history of another service that was removed. If there are too
// many services then, the one that was removed first makes room.
func (r Removals) WithService(service string, past []Past) Removals {
	with := maps.Clone(r)
	if with == nil {
		with = make(Removals)
	}
	with[service] = past
	if len(with) > mostRemoved {
		delete(with, slices.MinFunc(slices.Collect(maps.Keys(with)), func(a, b string) int {
			return with[a][0].Ended.Compare(with[b][0].Ended)
		}))
	}
	return with
}

// WithoutService returns r without the history of a service, which is there again.
func (r Removals) WithoutService(service string) Removals {
	if r[service] == nil {
		return r
	}
	without := maps.Clone(r)
	delete(without, service)
	return without
}

// Missing returns the services whose history r has and other has not, by name.
func (r Removals) Missing(other Removals) (services []string) {
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if other[name] == nil {
			services = append(services, name)
		}
	}
	return services
}

// ErrEmpty is why nothing can be chosen where nothing is known.
var ErrEmpty = errors.New("nothing was deployed")

// Restore is Choose, but also decodes the Deployment that was chosen into deployment.
func Restore(past []Past, to string, deployment any) (Past, error) {
	r, err := Choose(past, to)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(r.Deployment, deployment); err != nil {
		return r, fmt.Errorf("generation %d cannot be deployed again: %v", r.Generation, err)
	}
	return r, nil
}

// Choose returns the deployment that to names, by its generation or else by its
// release. past is the history of a service, the latest first. If to is empty, Choose
// returns the latest that was not taken back, leaving out the one that serves and the
// one that this has brought back. The error says what there is.
func Choose(past []Past, to string) (Past, error) {
	if len(past) == 0 {
		return Past{}, ErrEmpty
	}
	var serves Past
	if past[0].Ended.IsZero() {
		serves, past = past[0], past[1:]
	}
	number, fault := strconv.ParseUint(to, 10, 64)
	isNumber := fault == nil
	var matches []func(Past) bool
	if to == "" {
		matches = append(matches, func(r Past) bool { return r.End != TakenBack && r.Generation != serves.Restores })
	} else {
		matches = append(matches,
			func(r Past) bool { return isNumber && r.Generation == number },
			func(r Past) bool { return r.Release == to })
	}
	for _, match := range matches {
		if at := slices.IndexFunc(past, match); at >= 0 {
			return past[at], nil
		}
	}
	switch {
	case to == "":
		return Past{}, fmt.Errorf("nothing was deployed before generation %d, which serves", serves.Generation)
	case isNumber && number == serves.Generation || to == serves.Release:
		return Past{}, fmt.Errorf("%s is what serves", to)
	case len(past) == 0:
		return Past{}, fmt.Errorf("%s is not in the history: nothing was deployed before generation %d, which serves", to, serves.Generation)
	}
	var known []string
	for _, r := range past {
		known = append(known, strings.TrimSpace(fmt.Sprintf("%d %s", r.Generation, r.Release)))
	}
	return Past{}, fmt.Errorf("%s is neither a generation nor a release in the history, which has %s", to, strings.Join(known, ", "))
}
