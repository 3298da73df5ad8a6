package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	deploys  = 6
	loopback = "127.0.0.1"
)

// A stage is what the demo plays on.
type stage struct {
	parachute, backend string // the programs
	etcd, haproxy      string // likewise, for a fleet; empty: there is one proxy
	dir                string // for the state of all, sockets and logs
	out                io.Writer
	pace               time.Duration // from one deploy to the next

	addr     string     // where clients come
	proxies  []proxy    // behind that, or there
	versions []version  // of the app
	running  []*process // in the order they were started
}

// A proxy is one that runs.
type proxy struct{ addr, socket string }

// A version of the app, and where it listens.
type version struct{ name, addr string }

// play starts everything, deploys to and fro under load, and tells how that
// went. Then, unless it is to play only once, it waits until ctx ends. A
// request that failed is an error. When play returns, whatever it started has
// ended.
func (s *stage) play(ctx context.Context, once bool) (err error) {
	defer func() { err = errors.Join(err, s.end()) }()
	if err := s.start(ctx); err != nil {
		return err
	}
	l := new(load)
	if err := s.perform(ctx, l); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "\n%v\n", l)
	if once {
		return l.err()
	}
	s.invite()
	select {
	case <-ctx.Done():
		return l.err()
	case <-s.front().ended:
		return errors.Join(l.err(), fmt.Errorf("%s has ended", s.front().name()))
	}
}

// front returns the process that clients come to.
func (s *stage) front() *process { return s.running[len(s.running)-1] }

// start starts the two versions, and in front of them the proxy or the fleet, on port 8080
// if that is free.
func (s *stage) start(ctx context.Context) error {
	for _, name := range []string{"1", "2"} {
		port, err := freePort("0")
		if err != nil {
			return err
		}
		v := version{name, net.JoinHostPort(loopback, port)}
		if err := s.launch(ctx, "version-"+name, v.addr, s.backend, "--bind", loopback, "--port", port, "--version", name); err != nil {
			return err
		}
		s.versions = append(s.versions, v)
	}
	if s.etcd != "" {
		return s.startFleet(ctx)
	}
	return s.startProxy(ctx)
}

// startProxy starts one proxy.
func (s *stage) startProxy(ctx context.Context) error {
	port, err := freePort("8080")
	if err != nil {
		return err
	}
	s.addr = net.JoinHostPort(loopback, port)
	s.proxies = []proxy{{s.addr, filepath.Join(s.dir, "parachute.sock")}}
	return s.launch(ctx, "proxy", s.addr, s.parachute, "run", "--bind", loopback, "--http-port", port, "--https-port", "0",
		"--data-dir", filepath.Join(s.dir, "data"), "--socket", s.proxies[0].socket)
}

// launch starts a program and returns when it accepts connections at addr.
func (s *stage) launch(ctx context.Context, name, addr, program string, args ...string) error {
	p, err := startProcess(s.log(name), program, args...)
	if err != nil {
		return err
	}
	s.running = append(s.running, p)
	return p.accepts(ctx, addr)
}

// end ends all programs, each before what is behind it.
func (s *stage) end() error {
	var errs []error
	for _, p := range slices.Backward(s.running) {
		errs = append(errs, p.end())
	}
	return errors.Join(errs...)
}

// perform deploys one version after the other with l on the proxy.
func (s *stage) perform(ctx context.Context, l *load) error {
	if err := s.deploy(ctx, l, s.proxies[0], s.versions[0]); err != nil {
		return err
	}
	busy := []string{s.addr}
	for _, p := range s.proxies {
		if p.addr != s.addr {
			busy = append(busy, p.addr)
		}
	}
	for _, addr := range busy {
		fmt.Fprintf(s.out, "%d clients keep http://%s/ busy\n", clients, addr)
	}
	stop := l.start(busy)
	defer stop()
	for n := 1; ; n++ {
		select {
		case <-time.After(s.pace):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if n == deploys {
			return nil
		}
		if err := s.deploy(ctx, l, s.proxies[n%len(s.proxies)], s.versions[n%len(s.versions)]); err != nil {
			return err
		}
	}
}

// deploy deploys v as an operator would, by a command to p.
func (s *stage) deploy(ctx context.Context, l *load, p proxy, v version) error {
	l.deploying()
	begin := time.Now()
	deploy := exec.CommandContext(ctx, s.parachute, "deploy", "demo", "--target", v.addr)
	deploy.Env = append(os.Environ(), "PARACHUTE_SOCKET="+p.socket)
	out, err := deploy.CombinedOutput()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("deploy of version %s: %w\n%s", v.name, err, out)
	}
	l.deployed(v.name)
	fmt.Fprintf(s.out, "version %s serves, deployed in %v\n", v.name, time.Since(begin).Round(time.Millisecond))
	return nil
}

// invite tells what can be tried as long as the proxy is up.
func (s *stage) invite() {
	proxy := "PARACHUTE_SOCKET=" + quote(s.proxies[0].socket) + " " + quote(s.parachute)
	fmt.Fprintf(s.out, "\nIt all stays up until Ctrl-C. What to try in another terminal:\n")
	for _, try := range [][2]string{
		{"who answers", "curl http://" + s.addr + "/"},
		{"what is deployed", proxy + " list"},
		{"back to version 1", proxy + " deploy demo --target " + s.versions[0].addr},
		{"to version 2, while a request takes 5 s: the deploy waits for it",
			"curl 'http://" + s.addr + "/slow?for=5s' & sleep 1; " + proxy + " deploy demo --target " + s.versions[1].addr},
		{"to where nobody listens: that fails, and changes nothing", proxy + " deploy demo --target 127.0.0.1:9 --deploy-timeout 2s"},
		{"what the proxy logs", "tail -f " + quote(s.log(s.logged()))},
	} {
		fmt.Fprintf(s.out, "\n  # %s\n  %s\n", try[0], try[1])
	}
}

// logged returns the name of a log of a proxy.
func (s *stage) logged() string {
	if s.etcd != "" {
		return members[0]
	}
	return "proxy"
}

func (s *stage) log(name string) string { return filepath.Join(s.dir, name+".log") }

// freePort returns preferred, or if somebody listens there, a port where nobody
// does.
func freePort(preferred string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(loopback, preferred))
	if err != nil {
		l, err = net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	}
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// quote returns s as one word of a shell's.
func quote(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("/.-_:=", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}
