package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

type deployCommand struct {
	Service string `arg:"" name:"service|host:port" help:"The service to deploy, with --target; or its only target, without."`

	Target          targetList `placeholder:"HOST:PORT" help:"Target to send requests to: HOST:PORT or unix:/PATH, or https://HOST:PORT for TLS, or h2c://HOST:PORT for HTTP/2 without TLS; without :PORT it is 80, or 443 for TLS. May be repeated, or several be separated by commas."`
	Host            nameList   `placeholder:"HOST" help:"Host that the service answers for, or *.HOST for one label below it; if none is given, every host that no other service claims. May be repeated, or several be separated by commas."`
	PathPrefix      pathList   `placeholder:"/PATH" help:"Path below which the service answers, so that several services can share a host; if none is given, every path. May be repeated, or several be separated by commas."`
	StripPathPrefix bool       `default:"true" negatable:"" help:"Cut the prefix off before the target sees the path."`
	CanonicalHost   string     `placeholder:"HOST" help:"Host, one of the service's own, to which requests for the others are redirected."`

	Affinity string `placeholder:"cookie[=NAME]" help:"Have each visitor stay with one target as long as it is healthy and serves, by the cookie parachute-affinity or one called NAME."`

	TargetKeepalive         bool  `default:"true" negatable:"" help:"Use a connection to a target for several requests; without it, each request has a connection of its own."`
	TargetKeepaliveRequests count `placeholder:"N" help:"How many requests a connection to a target is used for; 0 is no limit, as if not given."`

	releaseFlags
	manners
	Force bool `negatable:"" help:"Switch to the targets without waiting for them to be healthy."`

	TLS                *bool  `group:"TLS:" negatable:"" help:"Serve the hosts over HTTPS, or do not; if neither is given, the other services of these hosts decide. The certificates come from Let's Encrypt, unless the flags below or those of run say otherwise."`
	TLSStaging         bool   `group:"TLS:" negatable:"" help:"Get the certificates from Let's Encrypt's staging directory, which no browser trusts, to try it out."`
	TLSCertificatePath string `group:"TLS:" placeholder:"FILE" help:"Take the certificate, with the intermediate ones behind it, from a file in PEM form, which is read again when it changes."`
	TLSPrivateKeyPath  string `group:"TLS:" placeholder:"FILE" help:"The file with the key of that certificate, in PEM form."`
	TLSOnDemandURL     string `name:"tls-on-demand-url" group:"TLS:" placeholder:"URL" help:"Get a certificate at the first visit to a name, if GET URL?host=NAME answers 200. A path is asked of the service itself. For a service without --host."`
	TLSACMECachePath   string `name:"tls-acme-cache-path" group:"TLS:" placeholder:"FOLDER" help:"Keep the certificates of this service in a folder of its own."`
	TLSRedirect        bool   `group:"TLS:" default:"true" negatable:"" help:"Redirect plain requests to https as soon as there is a certificate."`
	WaitCertificate    bool   `group:"TLS:" negatable:"" help:"Wait for the certificates before the switch; if they do not come within --deploy-timeout, the deploy fails."`

	TargetCA         string `name:"target-ca" group:"Targets over TLS:" placeholder:"FILE" help:"Certificate authorities, in PEM form, that https:// targets are verified by, in place of the system's."`
	TargetServerName string `group:"Targets over TLS:" placeholder:"NAME" help:"Name that the certificates of https:// targets must have, in place of the target's host."`
	TargetInsecure   bool   `group:"Targets over TLS:" negatable:"" help:"Accept any certificate of a target."`

	healthFlags

	DeployTimeout      durationLimit `group:"Time limits:" placeholder:"30s" help:"Longest wait for the targets to become healthy; 0 is no limit."`
	DrainTimeout       durationLimit `group:"Time limits:" placeholder:"30s" help:"How long requests running on the previous targets may take before they are cut off; 0 cuts them off at once."`
	StreamDrainTimeout durationLimit `group:"Time limits:" placeholder:"DURATION" help:"How long upgraded connections and event streams may outlive the requests on the previous targets; if not given, they are closed when the requests are done; 0 closes them at the switch."`
	WebSocketClose     bool          `name:"websocket-close" group:"Time limits:" default:"true" negatable:"" help:"Send a Close frame 1001 (going away) to both ends of a WebSocket that a drain closes; without it, the connection just ends."`
	TargetTimeout      durationLimit `group:"Time limits:" placeholder:"30s" help:"Longest wait for a target's answer to begin, or for it to take more of the request; 0 is no limit."`
	Hold               durationLimit `group:"Time limits:" placeholder:"5s" help:"How long a request waits while no target can be connected to, as when the only one is restarted; 0 is not at all."`

	readerFlags
	bufferFlags
	answerFlags
	accessFlags
	reportFlags

	bakeFlags
	changeFlags

	agree func(context.Context, control.Question) error // nil: there is no --pre-switch
}

// Help explains the two forms of the command, and its exit codes.
func (deployCommand) Help() string {
	return `An argument with a colon in it is a target: "deploy web-1:3000" deploys it as a service that is named after its first --host, or "default" if it has none. Without a colon it is a service: "deploy web --target web-1:3000".

The command returns when the targets serve and the previous ones get no more requests: then the previous ones may be stopped. If the targets do not become healthy, nothing has changed. If all of them fail while requests to the previous ones still run, and one of those is healthy, the deploy is taken back: the previous ones serve again.

With --bake the version before stays warm for a while after the switch, and is returned to if the new one is worse. Interrupt the command then, and it leaves with 3; the bake goes on.

With --canary a growing share of the visitors tries the new version first. If it is worse than the version that serves all others, it is taken back for everybody, and the command ends with 1. If there are too few requests to tell, it ends with 3, and the share stays as it is: "rollout promote" or "rollout stop" decides.

With --tls the service answers over HTTPS as well, and a certificate is obtained and renewed by itself. The deploy does not wait for that, unless --wait-certificate is given. As soon as the certificate is there, plain requests are redirected to https.

Exit codes: 0 the targets serve, even if requests had to be cut off; 1 the proxy refused, for instance because a target did not become healthy, another service has the host, or a certificate did not come in time with --wait-certificate, or the program of --pre-switch failed, or the deploy was taken back; 2 the command line was not understood; 3 it is not decided, since the command was interrupted after the switch, lost the proxy, or no target is healthy: stop neither the targets nor the previous ones; 4 a newer change of the service came first; 5 no proxy answered. After 1, 2 and 5, what served before goes on serving; after 4, the newer change decides.`
}

func (deployCommand) Examples() string {
	return `
# Have web-2:3000 serve in place of what the service web has now.
parachute deploy web --target web-2:3000

# Take it back if it fails more requests than the version before in its first minute.
parachute deploy web --target web-2:3000 --bake 60s

# Have one visitor in a hundred try it, then ten, then fifty, and then all of them.
parachute deploy web --target web-2:3000 --canary 1%,10%,50%

# Have a program try it before anybody else can.
parachute deploy web --target web-2:3000 --pre-switch -- sh smoke-test.sh

# Let the service answer for one host, also over HTTPS.
parachute deploy web --target web-2:3000 --host app1.example.com --tls

# The same, as a service that is named after the host.
parachute deploy web-2:3000 --host app1.example.com --tls`
}

func (c *deployCommand) Run(ctx context.Context, p *program) error {
	argv, err := c.PreSwitch.argv(p.behind)
	if err != nil {
		return &usageError{"deploy", err}
	}
	if argv != nil {
		c.agree = p.agreeBy(argv)
	}
	if c.Keep {
		return c.runKeep(ctx, p)
	}
	d, err := c.deployment()
	if err != nil {
		return err
	}
	if flags := c.waitingTLSFlags(); len(flags) > 0 {
		p.warnf("%s: no effect without --tls", strings.Join(flags, ", "))
	}
	if flags := c.withoutBake(); len(flags) > 0 {
		p.warnf("%s: no effect without --bake or --canary", strings.Join(flags, ", "))
	}
	return c.change(ctx, p, "deploy", newFormatter(d),
		func(client *control.Client, events func(parachute.Event)) (control.Result, error) {
			return client.DeployIn(ctx, d, c.manner(), events)
		})
}

// manner returns how the deploy is to be made.
func (c *deployCommand) manner() control.Manner {
	return control.Manner{Wait: c.Wait, DryRun: c.DryRun, Agree: c.agree}
}

// deployment returns the Deployment that the flags ask for. The library
// validates it.
func (c *deployCommand) deployment() (parachute.Deployment, error) {
	ca, err := absolutePath(c.TargetCA)
	if err != nil {
		return parachute.Deployment{}, err
	}
	tls, err := c.tls()
	if err != nil {
		return parachute.Deployment{}, err
	}
	access, err := c.access()
	if err != nil {
		return parachute.Deployment{}, err
	}
	pages, err := absolutePath(c.ErrorPages)
	if err != nil {
		return parachute.Deployment{}, err
	}
	d := parachute.Deployment{
		ReadTargets:    c.ReadTarget,
		ReadWebSockets: c.ReadTargetWebsockets,
		Affinity:       c.Affinity,
		TargetKeepAlive: parachute.TargetKeepAlive{
			Off:      !c.TargetKeepalive,
			Requests: int(c.TargetKeepaliveRequests),
		},
		TargetTLS: parachute.TargetTLS{
			CAFile:     ca,
			ServerName: c.TargetServerName,
			Insecure:   c.TargetInsecure,
		},
		Hosts:         c.Host,
		PathPrefixes:  withOneSlash(c.PathPrefix),
		KeepPrefix:    !c.StripPathPrefix,
		TLS:           tls,
		CanonicalHost: c.CanonicalHost,
		Redirects:     c.Redirect,
		HealthCheck:   c.healthCheck(),
		Timeouts: parachute.Timeouts{
			Deploy:   time.Duration(c.DeployTimeout),
			Drain:    time.Duration(c.DrainTimeout),
			Stream:   time.Duration(c.StreamDrainTimeout),
			Response: time.Duration(c.TargetTimeout),
			Hold:     time.Duration(c.Hold),

			WriterAffinity: time.Duration(c.WriterAffinityTimeout),
		},
		NoWebSocketClose: !c.WebSocketClose,

		Buffer:          c.buffer(),
		MaxRequestBody:  c.MaxRequestBody.bytes,
		MaxResponseBody: c.MaxResponseBody.bytes,
		Access:          access,
		Forwarded:       c.forwarded(),
		Headers:         c.headers(),
		ErrorPages:      pages,
		Report:          c.report(),
		Force:           c.Force,
		Bake:            c.bake(),
		Canary:          c.canary(),
		Release:         c.Release,
		By:              c.By,
	}
	d.Service, d.Targets = c.serviceAndTargets()
	isTarget := strings.Contains(c.Service, ":")
	switch {
	case isTarget && len(c.Target) > 0:
		return d, &usageError{"deploy", fmt.Errorf(
			"%s is a target, because of its colon, and --target names another: want either SERVICE --target HOST:PORT, or HOST:PORT alone", c.Service)}
	case len(d.Targets) == 0 && !c.Keep:
		return d, &usageError{"deploy", fmt.Errorf(
			"%q is a service, because it has no colon, and there is no --target: want either SERVICE --target HOST:PORT, or HOST:PORT alone", c.Service)}
	}
	return d, nil
}

// serviceAndTargets returns the service, and the targets that are named.
func (c *deployCommand) serviceAndTargets() (service string, targets []string) {
	if strings.Contains(c.Service, ":") {
		return serviceNameFor(c.Host), []string{c.Service}
	}
	return c.Service, c.Target
}

// tls returns how the hosts are served over HTTPS.
func (c *deployCommand) tls() (parachute.TLS, error) {
	if err := c.checkTLSFlags(); err != nil {
		return parachute.TLS{}, &usageError{"deploy", err}
	}
	switch {
	case c.TLS == nil:
		return parachute.TLS{Mode: parachute.TLSInherit}, nil
	case !*c.TLS:
		return parachute.TLS{Mode: parachute.TLSOff}, nil
	}
	t := parachute.TLS{
		Staging:    c.TLSStaging,
		AskURL:     c.TLSOnDemandURL,
		NoRedirect: !c.TLSRedirect,
		Wait:       c.WaitCertificate,
	}
	switch {
	case c.TLSCertificatePath != "":
		t.Mode = parachute.TLSFiles
	case c.TLSOnDemandURL != "":
		t.Mode = parachute.TLSOnDemand
	default:
		t.Mode = parachute.TLSAutomatic
	}
	for _, path := range []struct {
		given string
		into  *string
	}{
		{c.TLSCertificatePath, &t.CertFile},
		{c.TLSPrivateKeyPath, &t.KeyFile},
		{c.TLSACMECachePath, &t.CacheDir},
	} {
		var err error
		if *path.into, err = absolutePath(path.given); err != nil {
			return t, err
		}
	}
	return t, nil
}

// asksForTLS reports whether there is a --tls.
func (c *deployCommand) asksForTLS() bool { return c.TLS != nil && *c.TLS }

// waitingTLSFlags returns the flags that say how to serve HTTPS where no --tls asks
// for it. As with kamal-proxy, they have no effect before there is one. Nothing is
// said of --tls-redirect=false, because Kamal passes it for every application
// without TLS.
func (c *deployCommand) waitingTLSFlags() (flags []string) {
	if c.asksForTLS() {
		return nil
	}
	for _, f := range []struct {
		flag  string
		given bool
	}{
		{"--tls-staging", c.TLSStaging},
		{"--tls-certificate-path", c.TLSCertificatePath != ""},
		{"--tls-private-key-path", c.TLSPrivateKeyPath != ""},
		{"--tls-on-demand-url", c.TLSOnDemandURL != ""},
		{"--tls-acme-cache-path", c.TLSACMECachePath != ""},
	} {
		if f.given {
			flags = append(flags, f.flag)
		}
	}
	return flags
}

// checkTLSFlags returns an error if flags about TLS contradict each other. A
// --wait-certificate without --tls does, since there would be nothing to wait for.
func (c *deployCommand) checkTLSFlags() error {
	switch {
	case c.WaitCertificate && !c.asksForTLS():
		return errors.New("--wait-certificate waits for what --tls asks for, and there is no --tls: want both, or neither")
	case !c.asksForTLS():
		return nil
	case c.TLSCertificatePath != "" && c.TLSPrivateKeyPath == "":
		return errors.New("--tls-certificate-path is there without --tls-private-key-path: want both, or neither for a certificate that is obtained")
	case c.TLSCertificatePath == "" && c.TLSPrivateKeyPath != "":
		return errors.New("--tls-private-key-path is there without --tls-certificate-path: want both, or neither for a certificate that is obtained")
	case c.TLSCertificatePath != "" && c.TLSOnDemandURL != "":
		return errors.New("--tls-certificate-path and --tls-on-demand-url exclude each other: want a certificate from a file, or such as are obtained on demand")
	}
	return nil
}

// serviceNameFor returns the name of the service of the short form: its first
// host, in canonical spelling. A host that makes no valid name is no valid host
// either, so the library refuses the host.
func serviceNameFor(hosts []string) string {
	if len(hosts) == 0 {
		return "default"
	}
	name := strings.ToLower(strings.TrimSuffix(hosts[0], "."))
	return cmp.Or(strings.ReplaceAll(name, "/", "_"), "default")
}
