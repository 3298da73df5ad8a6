package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
)

type deployCommand struct {
	Service string `arg:"" name:"service|host:port" help:"The service to deploy, with --target; or its only target, without."`

	Target list `placeholder:"HOST:PORT" help:"Target to send requests to: HOST:PORT or unix:/PATH, or https://HOST:PORT for TLS, or h2c://HOST:PORT for HTTP/2 without TLS. May be repeated, or several be separated by commas."`
	Host   list `placeholder:"HOST" help:"Host that the service answers for, or *.HOST for one label below it; if none is given, every host that no other service claims. May be repeated, or several be separated by commas."`
	Force  bool `negatable:"" help:"Switch to the targets without waiting for them to be healthy."`

	TargetCA         string `name:"target-ca" group:"Targets over TLS:" placeholder:"FILE" help:"Certificate authorities, in PEM form, that https:// targets are verified by, in place of the system's."`
	TargetServerName string `group:"Targets over TLS:" placeholder:"NAME" help:"Name that their certificates must have, in place of the target's host."`
	TargetInsecure   bool   `group:"Targets over TLS:" negatable:"" help:"Accept any certificate."`

	HealthCheckPath     string `group:"Health checks:" placeholder:"/up" help:"Path that a healthy target answers with 2xx."`
	HealthCheckPort     port   `group:"Health checks:" placeholder:"PORT" help:"Port to probe; if none is given, the target's own."`
	HealthCheckHost     string `group:"Health checks:" placeholder:"HOST" help:"Host header of the probes; if none is given, the target's address."`
	HealthCheckInterval period `group:"Health checks:" placeholder:"1s" help:"Pause between probes; while a deploy waits it begins with shorter ones."`
	HealthCheckTimeout  period `group:"Health checks:" placeholder:"5s" help:"Longest wait for the answer to a probe."`

	DeployTimeout      limit `group:"Time limits:" placeholder:"30s" help:"Longest wait for the targets to become healthy; 0 is no limit."`
	DrainTimeout       limit `group:"Time limits:" placeholder:"30s" help:"How long requests running on the previous targets may take before they are cut off; 0 cuts them off at once."`
	StreamDrainTimeout limit `group:"Time limits:" placeholder:"DURATION" help:"How long upgraded connections and event streams may outlive those requests; if not given, they are closed when the requests are done; 0 closes them at the switch."`
	TargetTimeout      limit `group:"Time limits:" placeholder:"30s" help:"Longest wait for a target's answer to begin; 0 is no limit."`
	Hold               limit `group:"Time limits:" placeholder:"5s" help:"How long a request waits while no target can be connected to, as when the only one is restarted; 0 is not at all."`

	remote
}

// Help tells the two forms of the command apart.
func (deployCommand) Help() string {
	return `An argument with a colon in it is a target: "deploy web-1:3000" deploys it as a service that is named after its first --host, or "default" if it has none. Without a colon it is a service: "deploy web --target web-1:3000".

The command returns when the targets serve and the previous ones get no request any more: those may be stopped then. If the targets do not become healthy, nothing has changed.

Exit codes: 0 the targets serve, also where requests had to be cut off; 1 the proxy refused, for instance because a target or host is not well formed; 2 the command line was not understood; 4 a newer change of the service came first; 5 no proxy answered. After all but 0 what served before serves on.`
}

func (c *deployCommand) Run(ctx context.Context, p *program) error {
	d, err := c.deployment()
	if err != nil {
		return err
	}
	client, err := c.client(p)
	if err != nil {
		return err
	}
	progress := newProgress(p.stdout, d)
	result, err := client.Deploy(ctx, d, progress.show)
	return p.conclude(ctx, "deploy", progress, result, err)
}

// deployment returns what is asked for. Whether that can be is for the library
// to say.
func (c *deployCommand) deployment() (parachute.Deployment, error) {
	ca, err := absolute(c.TargetCA)
	if err != nil {
		return parachute.Deployment{}, err
	}
	d := parachute.Deployment{
		Service: c.Service,
		Targets: c.Target,
		TargetTLS: parachute.TargetTLS{
			CAFile:     ca,
			ServerName: c.TargetServerName,
			Insecure:   c.TargetInsecure,
		},
		Hosts: c.Host,
		HealthCheck: parachute.HealthCheck{
			Path:     c.HealthCheckPath,
			Port:     int(c.HealthCheckPort),
			Host:     c.HealthCheckHost,
			Interval: time.Duration(c.HealthCheckInterval),
			Timeout:  time.Duration(c.HealthCheckTimeout),
		},
		Timeouts: parachute.Timeouts{
			Deploy:   time.Duration(c.DeployTimeout),
			Drain:    time.Duration(c.DrainTimeout),
			Stream:   time.Duration(c.StreamDrainTimeout),
			Response: time.Duration(c.TargetTimeout),
			Hold:     time.Duration(c.Hold),
		},
		Force: c.Force,
	}
	isTarget := strings.Contains(c.Service, ":")
	switch {
	case isTarget && len(c.Target) > 0:
		return d, &usageError{"deploy", fmt.Errorf(
			"%s is a target, because of its colon, and --target names another: want either SERVICE --target HOST:PORT, or HOST:PORT alone", c.Service)}
	case isTarget:
		d.Targets = []string{c.Service}
		d.Service = serviceOf(c.Host)
	case len(c.Target) == 0:
		return d, &usageError{"deploy", fmt.Errorf(
			"%q is a service, because it has no colon, and there is no --target: want either SERVICE --target HOST:PORT, or HOST:PORT alone", c.Service)}
	}
	return d, nil
}

// absolute returns a path that means the same to the proxy, whose working
// directory is another.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}

// serviceOf names the service of the short form after its first host, whichever
// way that is spelled. What a name cannot hold no host can either, so that it
// is the host that will be refused.
func serviceOf(hosts []string) string {
	if len(hosts) == 0 {
		return "default"
	}
	name := strings.ToLower(strings.TrimSuffix(hosts[0], "."))
	return cmp.Or(strings.ReplaceAll(name, "/", "_"), "default")
}
