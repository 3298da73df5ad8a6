package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/screen"
)

// numbered returns a view of a report whose lines are about services 1 to n, each
// with four lines and an empty one behind them.
func numbered(n int) *viewport {
	r := &report{now: time.Date(2026, 5, 1, 12, 0, 7, 0, time.UTC)}
	for i := range n {
		r.services = append(r.services, parachute.Status{Service: fmt.Sprint(i + 1), State: parachute.StateServing})
	}
	return &viewport{report: r}
}

func TestViewShowsThePartThatFits(t *testing.T) {
	is := is.New(t)
	v, d := numbered(2), display{columns: 60, rows: 5}
	is.Equal(v.frame(d, true), []string{
		"service  1", "state    serving, generation 0", "hosts    any", "tls      off",
		"12:00:07   lines 1-4 of 9   arrows, space, g, G: scroll   q…",
	})
	v.scroll('j')
	v.scroll(screen.Down)
	is.Equal(v.frame(d, false), []string{
		"hosts    any", "tls      off", "", "service  2",
		"12:00:07   lines 3-6 of 9",
	})
	is.Equal(v.frame(display{columns: 60, rows: 12, colour: true}, true), []string{
		"service  1", "state    serving, generation 0", "hosts    any", "tls      off", "",
		"service  2", "state    serving, generation 0", "hosts    any", "tls      off", "", "",
		"\x1b[7m12:00:07   q: quit\x1b[0m",
	})
	is.Equal(v.top, 0) // all of it fits
	is.Equal(v.frame(display{columns: 60, rows: 1}, true), []string{"service  1"})
}

func TestViewStaysWithinTheReport(t *testing.T) {
	is := is.New(t)
	v, d := numbered(20), display{columns: 60, rows: 11} // of 99 lines
	top := func(keys ...screen.Key) int {
		for _, key := range keys {
			v.frame(d, true)
			v.scroll(key)
		}
		v.frame(d, true)
		return v.top
	}
	is.Equal(top('k', screen.Up), 0)
	is.Equal(top('j', 'j', 'k'), 1)
	is.Equal(top(' ', screen.PageDown), 21)
	is.Equal(top('b', screen.PageUp, screen.PageUp), 0)
	is.Equal(top('G'), 89)
	is.Equal(top('j', ' '), 89)
	is.Equal(top('g'), 0)
	is.Equal(top(screen.End), 89)
	v.report = numbered(3).report // most services are removed
	is.Equal(top(), 4)
	is.Equal(top(screen.Home, 'x'), 0)
}

func TestServicesInTroubleAreWatchedFirst(t *testing.T) {
	is := is.New(t)
	service := func(name string, rate, errors float64, health ...parachute.Health) parachute.Status {
		s := parachute.Status{Service: name, State: parachute.StateServing, Live: &parachute.Live{}}
		for _, h := range health {
			s.Live.Targets = append(s.Live.Targets, parachute.TargetStatus{Health: h, Traffic: parachute.Traffic{Rate: rate, ErrorRate: errors}})
		}
		return s
	}
	const well, sick = parachute.HealthHealthy, parachute.HealthUnhealthy
	paused := service("paused", 0, 0, well)
	paused.State = parachute.StatePaused
	uncertified := service("uncertified", 0, 0, well)
	uncertified.Deployment.Hosts = []string{"a.test"}
	r := &report{
		services: []parachute.Status{
			service("idle", 0, 0, well), service("busy", 100, 0.04, well, well), service("busier", 300, 0, well), uncertified, paused,
			service("half", 10, 0, well, sick), service("failing", 30, 0.1, well), service("down", 0, 0, sick, sick),
			{Service: "broken", State: parachute.StateFailed},
		},
		certificates: []parachute.Certificate{{Host: "a.test", Error: "rate limited"}, {Host: "b.test"}},
	}
	r.sortByTrouble()
	var names []string
	for _, s := range r.services {
		names = append(names, s.Service)
	}
	is.Equal(names, []string{"broken", "down", "failing", "half", "paused", "uncertified", "busier", "busy", "idle"})
}
