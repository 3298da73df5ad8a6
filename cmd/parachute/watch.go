package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/screen"
)

// watchInterval is the time from one report of status --watch to the next.
const watchInterval = time.Second

// printReports prints reports one below the other, until ctx ends or the proxy does not
// answer.
func (c *statusCommand) printReports(ctx context.Context, p *program, client *control.Client) error {
	for isFirst := true; ; isFirst = false {
		r, err := c.fetch(ctx, client)
		if err == nil {
			err = c.append(p.stdout, r, isFirst)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchInterval):
		}
	}
}

// append prints r below what was printed before.
func (c *statusCommand) append(w io.Writer, r *report, isFirst bool) error {
	if c.JSON {
		return json.NewEncoder(w).Encode(r.services)
	}
	text := r.watchText(0)
	if !isFirst {
		text = "\n" + text
	}
	_, err := io.WriteString(w, text)
	return err
}

// watchText is text for status --watch.
func (r *report) watchText(columns int) string {
	if len(r.services) == 0 {
		return nothingDeployed + "\n"
	}
	return r.text(columns)
}

// showReports takes over the terminal and shows the latest report there, until ctx
// ends, the user ends it, or the proxy does not answer.
func (c *statusCommand) showReports(ctx context.Context, p *program, client *control.Client) error {
	s, err := screen.Open(p.stdout.(*os.File))
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(ctx)
	reports := make(chan fetched)
	var fetching sync.WaitGroup
	defer fetching.Wait()
	defer cancel()
	fetching.Go(func() { c.keepFetching(ctx, client, reports) })

	var v viewport
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-reports:
			switch {
			case ctx.Err() != nil:
				return nil
			case f.err != nil:
				return f.err
			}
			v.report = f.report
		case <-s.Changed():
		case key := <-s.Keys():
			if key == 'q' || key == 'Q' {
				return nil
			}
			v.scroll(key)
		}
		if v.report == nil {
			continue
		}
		if err := s.Draw(v.frame(p.displayOf(p.stdout), s.HasKeys())); err != nil {
			return err
		}
	}
}

// A fetched is what came of asking for a report.
type fetched struct {
	report *report
	err    error
}

// keepFetching sends a report to out each second, until ctx ends or an error was
// sent. The user can scroll and quit while the proxy does not answer.
func (c *statusCommand) keepFetching(ctx context.Context, client *control.Client, out chan<- fetched) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		r, err := c.fetch(ctx, client)
		select {
		case <-ctx.Done():
			return
		case out <- fetched{r, err}:
		}
		if err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// A viewport is the part of a report that a terminal has room for.
type viewport struct {
	report *report
	top    int // the first line of the report that is shown
	rows   int // of the report that were shown last, at least 1
	lines  int // of the report as it was shown last
}

// scroll moves the viewport. The next frame sees to it that it does not leave the
// report.
func (v *viewport) scroll(key screen.Key) {
	switch key {
	case screen.Up, 'k':
		v.top--
	case screen.Down, 'j', '\r', '\n':
		v.top++
	case screen.PageUp, 'b':
		v.top -= v.rows
	case screen.PageDown, ' ', 'f':
		v.top += v.rows
	case screen.Home, 'g':
		v.top = 0
	case screen.End, 'G':
		v.top = v.lines
	}
	v.top = max(min(v.top, v.lines-v.rows), 0)
}

// frame returns the lines that are shown on d. The last one says what part it is,
// and which keys there are.
func (v *viewport) frame(d display, hasKeys bool) []string {
	lines := strings.Split(strings.TrimSuffix(v.report.watchText(d.columns), "\n"), "\n")
	v.lines, v.rows = len(lines), max(d.rows-1, 1)
	v.top = max(min(v.top, v.lines-v.rows), 0)
	if d.rows == 1 {
		return lines[v.top : v.top+1]
	}
	shown := slices.Clone(lines[v.top:min(v.top+v.rows, v.lines)])
	for len(shown) < v.rows {
		shown = append(shown, "")
	}
	return append(shown, v.footer(d, hasKeys))
}

// footer returns the line below the report.
func (v *viewport) footer(d display, hasKeys bool) string {
	parts := []string{v.report.now.Format(time.TimeOnly)}
	if v.lines > v.rows {
		parts = append(parts, fmt.Sprintf("lines %d-%d of %d", v.top+1, v.top+v.rows, v.lines))
	}
	if hasKeys {
		if v.lines > v.rows {
			parts = append(parts, "arrows, space, g, G: scroll")
		}
		parts = append(parts, "q: quit")
	}
	text := truncate(strings.Join(parts, "   "), d.columns)
	if d.colour {
		return reverseColours + text + resetColour
	}
	return text
}

// sortByTrouble puts the services in trouble first, and those with more requests
// before others.
func (r *report) sortByTrouble() {
	slices.SortStableFunc(r.services, func(a, b parachute.Status) int {
		return cmp.Or(
			cmp.Compare(r.trouble(b), r.trouble(a)),
			cmp.Compare(requestRate(b), requestRate(a)),
		)
	})
}

// trouble returns how much of what s should do it cannot do; 0 is nothing.
func (r *report) trouble(s parachute.Status) int {
	if s.State == parachute.StateFailed {
		return 5
	}
	var targets []parachute.TargetStatus
	if s.Live != nil {
		targets = s.Live.Targets
	}
	healthy, unhealthy, failing := 0, 0, 0.0 // failing requests per second
	for _, t := range targets {
		failing += t.Traffic.Rate * t.Traffic.ErrorRate
		switch t.Health {
		case parachute.HealthHealthy:
			healthy++
		case parachute.HealthUnhealthy:
			unhealthy++
		}
	}
	switch {
	case unhealthy > 0 && healthy == 0:
		return 4
	case unhealthy > 0 || failing > troublingErrorRate*requestRate(s):
		return 3
	case s.State != parachute.StateServing:
		return 2
	case slices.ContainsFunc(r.certificates, func(c parachute.Certificate) bool {
		return c.Error != "" && slices.Contains(s.Deployment.Hosts, c.Host)
	}):
		return 1
	}
	return 0
}

// troublingErrorRate is the part of requests that may fail before that is trouble.
const troublingErrorRate = 0.05

// requestRate returns how many requests a second have ended.
func requestRate(s parachute.Status) (rate float64) {
	if s.Live == nil {
		return 0
	}
	for _, t := range s.Live.Targets {
		rate += t.Traffic.Rate
	}
	return rate
}
