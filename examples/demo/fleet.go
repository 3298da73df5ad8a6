package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"text/template"
	"time"
)

// members are the proxies of a fleet.
var members = [...]string{"eu-1", "eu-2", "eu-3"}

// A member is a proxy of the fleet: its name, its address and the address of its health.
type member struct{ Name, Addr, Health string }

// balancing is the configuration of HAProxy. It asks no other proxy where one does not
// answer, which would hide that from the clients.
var balancing = template.Must(template.New("").Parse(`defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout check 1s

frontend www
    bind {{.Addr}}
    default_backend parachutes

backend parachutes
    balance roundrobin
    retries 0
    option httpchk GET /readyz
    default-server inter 100ms fall 1 rise 1
{{range .Members}}    server {{.Name}} {{.Addr}} check addr {{.Health}}
{{end}}`))

// startFleet starts an etcd, the proxies that share it, and HAProxy in front of them, on
// port 8080 if that is free. It returns when all proxies are ready.
func (s *stage) startFleet(ctx context.Context) error {
	ports, err := freePorts(3 + 2*len(members))
	if err != nil {
		return err
	}
	next := func() string {
		addr := net.JoinHostPort(loopback, ports[0])
		ports = ports[1:]
		return addr
	}
	store, peer := next(), "http://"+next()
	err = s.launch(ctx, "etcd", store, s.etcd, "--data-dir", filepath.Join(s.dir, "etcd"), "--name", "one",
		"--listen-client-urls", "http://"+store, "--advertise-client-urls", "http://"+store,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "one="+peer)
	if err != nil {
		return err
	}
	fleet := make([]member, len(members))
	for i, name := range members {
		fleet[i] = member{name, next(), next()}
		if err := s.startMember(ctx, fleet[i], store); err != nil {
			return err
		}
	}
	s.addr = net.JoinHostPort(loopback, "8080")
	if l, err := net.Listen("tcp", s.addr); err != nil {
		s.addr = next()
	} else if err := l.Close(); err != nil {
		return err
	}
	config, err := os.Create(filepath.Join(s.dir, "haproxy.cfg"))
	if err != nil {
		return err
	}
	err = balancing.Execute(config, struct {
		Addr    string
		Members []member
	}{s.addr, fleet})
	if err := errors.Join(err, config.Close()); err != nil {
		return err
	}
	return s.launch(ctx, "haproxy", s.addr, s.haproxy, "-db", "-f", config.Name())
}

// startMember starts one of the proxies, and returns when it is ready.
func (s *stage) startMember(ctx context.Context, m member, store string) error {
	_, port, err := net.SplitHostPort(m.Addr)
	if err != nil {
		return err
	}
	_, health, err := net.SplitHostPort(m.Health)
	if err != nil {
		return err
	}
	socket := filepath.Join(s.dir, m.Name+".sock")
	err = s.launch(ctx, m.Name, m.Addr, s.parachute, "run", "--bind", loopback, "--http-port", port, "--https-port=-1", "--metrics-port", health,
		"--data-dir", filepath.Join(s.dir, m.Name), "--socket", socket, "--etcd", "http://"+store, "--fleet-name", m.Name)
	if err != nil {
		return err
	}
	s.proxies = append(s.proxies, proxy{m.Addr, socket})
	return awaitReady(ctx, "http://"+m.Health+"/readyz")
}

// awaitReady returns when url answers 200.
func awaitReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%s does not say yes", url))
	defer cancel()
	for {
		resp, err := http.Get(url)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// freePorts returns n ports where nobody listens.
func freePorts(n int) (ports []string, err error) {
	for range n {
		l, listenErr := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
		if listenErr != nil {
			return nil, errors.Join(err, listenErr)
		}
		defer func() { err = errors.Join(err, l.Close()) }() // all at once, lest one is returned twice
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports, nil
}
