package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// gauges are what a process of the proxy has in use.
type gauges struct {
	goroutines, descriptors, memory int64
	busy                            int64 // requests and streams in flight, and requests that wait
}

// gauges returns those of the process that runs, as its metrics have them.
func (p *proxy) gauges(ctx context.Context) (g gauges, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.metrics+"/metrics", nil)
	if err != nil {
		return g, err
	}
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return g, err
	}
	defer resp.Body.Close()
	wanted := map[string]*int64{
		"go_goroutines": &g.goroutines, "process_open_fds": &g.descriptors, "process_resident_memory_bytes": &g.memory,
	}
	for _, name := range []string{"parachute_requests_in_flight", "parachute_streams_open", "parachute_requests_held"} {
		wanted[name] = &g.busy
	}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		series, value, _ := strings.Cut(lines.Text(), " ")
		name, _, _ := strings.Cut(series, "{")
		if to := wanted[name]; to != nil {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return g, fmt.Errorf("%s: %w", name, err)
			}
			*to += int64(n)
		}
	}
	return g, nil
}

// Leaks are more goroutines or descriptors than these, beyond those at the start: the
// number of targets, each of which is probed, is another at the end, and goroutines that
// have served a connection wait for another, up to 64 of each server, with a descriptor each.
const (
	moreGoroutines  = 2*64 + 30
	moreDescriptors = 2*64 + 15
)

// leaks reports whether g, when nobody asks for anything, is more than can be explained.
func (g gauges) leaks(start gauges) bool {
	return g.goroutines > start.goroutines+moreGoroutines || g.descriptors > start.descriptors+moreDescriptors || g.busy > 0
}

// idleTime is how long the proxy keeps what it does not use at the moment, and more:
// connections to targets for 4 s, pipes for 2 s.
const idleTime = 6 * time.Second

// rest returns the gauges when they are as low as at the start, or will not be.
func (p *proxy) rest(ctx context.Context, start gauges) (g gauges, err error) {
	time.Sleep(idleTime)
	for late := time.Now().Add(20 * time.Second); ; {
		if g, err = p.gauges(ctx); err != nil || !g.leaks(start) || time.Now().After(late) {
			return g, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}
