package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	clients = 16
	pause   = 5 * time.Millisecond // of a client between two requests
)

// A load is a number of clients that keep proxies busy, and what they saw.
type load struct {
	// mu guards all below.
	mu       sync.Mutex
	expected expectation
	requests int
	failed   int
	failure  error // the first
	slowest  time.Duration
}

// An expectation is which version must answer between two deploys.
type expectation struct {
	deploys int    // how many there were
	version string // "" while there is one going on: any
}

// start starts clients of each address. The func that it returns ends them, and returns
// when the last one has its answer.
func (l *load) start(addrs []string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, addr := range addrs {
		for range clients {
			running.Go(func() { l.run(ctx, addr) })
		}
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// deploying says that a deploy begins: from now on both versions may answer.
func (l *load) deploying() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expected.version = ""
}

// deployed says that the deploy has returned: from now on only version may
// answer.
func (l *load) deployed(version string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expected = expectation{l.expected.deploys + 1, version}
}

// run is one client.
func (l *load) run(ctx context.Context, addr string) {
	c := &client{addr: addr}
	defer c.close()
	for ctx.Err() == nil {
		expected := l.expectation()
		begin := time.Now()
		version, err := c.ask()
		if err != nil {
			err = fmt.Errorf("%s: %w", addr, err)
		}
		l.count(expected, version, time.Since(begin), err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func (l *load) expectation() expectation {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.expected
}

// count counts a request that began with an expectation. If that still stands
// now that it is over, it held for all of the request.
func (l *load) count(expected expectation, version string, took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && expected.version != "" && expected == l.expected && version != expected.version {
		err = fmt.Errorf("version %s answered after the deploy of version %s had returned", version, expected.version)
	}
	l.requests++
	l.slowest = max(l.slowest, took)
	if err != nil {
		l.failed++
		if l.failure == nil {
			l.failure = err
		}
	}
}

// String is the summary.
func (l *load) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d requests, %d failed, %d deploys, slowest %v",
		l.requests, l.failed, l.expected.deploys, l.slowest.Round(time.Millisecond))
}

// err returns nil if no request failed.
func (l *load) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d requests failed; the first: %w", l.failed, l.requests, l.failure)
}

// A client asks on one connection, and asks once: the client of net/http sends
// a GET again when it lost the connection, which would hide what the demo is
// there to count.
type client struct {
	addr    string
	conn    net.Conn // nil before the first request and after a failed one
	answers *bufio.Reader
}

// ask returns the version that answered.
func (c *client) ask() (version string, err error) {
	if c.conn == nil {
		if c.conn, err = net.DialTimeout("tcp", c.addr, patience); err != nil {
			c.conn = nil
			return "", err
		}
		c.answers = bufio.NewReader(c.conn)
	}
	version, err = c.exchange()
	if err != nil {
		c.close()
	}
	return version, err
}

func (c *client) exchange() (version string, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c.conn, "GET / HTTP/1.1\r\nHost: demo.localhost\r\n\r\n"); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return "", fmt.Errorf("answer: %w", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("body of the answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("answer: %s", resp.Status)
	}
	words := strings.Fields(string(body)) // version 1 on host
	if len(words) < 2 || words[0] != "version" {
		return "", fmt.Errorf("answer: %.40q", body)
	}
	return words[1], nil
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}
