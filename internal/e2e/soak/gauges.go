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
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if to := wanted[name]; to != nil {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return g, fmt.Errorf("%s: %w", name, err)
			}
			*to = int64(n)
		}
	}
	return g, nil
}

// Leaks are more goroutines or descriptors than these, beyond those at the start: the
// number of targets, each of which is probed, is another at the end, and goroutines that
// have served a connection wait for another, up to 64.
const (
	moreGoroutines  = 94
	moreDescriptors = 30
)

// leaks reports whether g is more than can be explained by what is deployed.
func (g gauges) leaks(start gauges) bool {
	return g.goroutines > start.goroutines+moreGoroutines || g.descriptors > start.descriptors+moreDescriptors
}

// rest returns the gauges when they are as low as at the start, or will not be.
func (p *proxy) rest(ctx context.Context, start gauges) (g gauges, err error) {
	for late := time.Now().Add(20 * time.Second); ; {
		if g, err = p.gauges(ctx); err != nil || !g.leaks(start) || time.Now().After(late) {
			return g, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}
