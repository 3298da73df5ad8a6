package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/asflags"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// takeCleared returns the words of a command line without the flags whose value is
// empty, and the names of these, if it is a deploy with --keep: they take away what the
// service has. What nobody can take away stays.
func takeCleared(words []string) (rest, cleared []string) {
	if len(words) == 0 || words[0] != "deploy" || !slices.Contains(words, "--keep") {
		return words, nil
	}
	for i := 0; i < len(words); i++ {
		if words[i] == "--" {
			return append(rest, words[i:]...), cleared
		}
		name, value, joined := strings.Cut(words[i], "=")
		apart := !joined && i+1 < len(words) && words[i+1] == ""
		if (joined || apart) && value == "" && canBeCleared(strings.TrimPrefix(name, "--")) {
			cleared = append(cleared, strings.TrimPrefix(name, "--"))
			if apart {
				i++
			}
			continue
		}
		rest = append(rest, words[i])
	}
	return rest, cleared
}

func canBeCleared(flag string) bool {
	return slices.ContainsFunc(asflags.Fields(), func(f asflags.Field) bool { return f.Flag == flag && !f.IsOnce() })
}

// runKeep is Run with --keep.
func (c *deployCommand) runKeep(ctx context.Context, p *program) error {
	service, targets := c.serviceAndTargets()
	format := newFormatter(parachute.Deployment{Service: service, Targets: targets, ReadTargets: c.ReadTarget, Force: true})
	format.effect = "" // as before
	return c.change(ctx, p, "deploy", format,
		func(client *control.Client, events func(parachute.Event)) (control.Result, error) {
			return c.keep(ctx, p, client, events)
		})
}

// keep has the proxy deploy what the service serves, but for what the flags say.
func (c *deployCommand) keep(ctx context.Context, p *program, client *control.Client, events func(parachute.Event)) (control.Result, error) {
	service, _ := c.serviceAndTargets()
	served, err := client.Service(ctx, service)
	if err != nil && !errors.Is(err, parachute.ErrNotFound) { // which Amend says better
		return control.Result{}, fmt.Errorf("parachute: deploy %s: %w", c.Service, err)
	}
	patch, d, err := c.patch(p, served.Deployment.TLS)
	if err != nil {
		return control.Result{}, err
	}
	return client.Amend(ctx, d.Service, d.Targets, patch, c.manner(), events)
}

// patch returns what the flags change of what serves with that TLS, as a JSON merge patch,
// and the deployment that they would ask for without --keep.
func (c *deployCommand) patch(p *program, served parachute.TLS) (map[string]any, parachute.Deployment, error) {
	c.keepTLS(p, served)
	d, err := c.deployment()
	if err != nil {
		return nil, d, err
	}
	text, err := json.Marshal(d)
	if err != nil {
		return nil, d, err
	}
	var asked map[string]any
	if err := json.Unmarshal(text, &asked); err != nil {
		return nil, d, err
	}
	patch := make(map[string]any)
	tls := p.says("tls") || slices.ContainsFunc(asflags.Fields(), func(f asflags.Field) bool {
		return strings.HasPrefix(f.Path, "tls.") && p.says(f.Flag)
	})
	for _, f := range asflags.Fields() {
		isTLS := strings.HasPrefix(f.Path, "tls.")
		if p.says(f.Flag) || isTLS && tls || f.Path == "targets" && len(d.Targets) > 0 {
			setIn(patch, f.Path, asflags.LookUp(asked, f.Path))
		}
	}
	return patch, d, nil
}

// keepTLS sets the flags about TLS that are not given to what serves, for they say
// together where the certificates come from.
func (c *deployCommand) keepTLS(p *program, served parachute.TLS) {
	if !p.says("tls") {
		switch served.Mode {
		case parachute.TLSInherit:
		case parachute.TLSOff:
			c.TLS = new(bool)
		default:
			on := true
			c.TLS = &on
		}
	}
	if !c.asksForTLS() {
		return
	}
	for _, f := range []struct {
		flag, served string
		other        string // a flag in whose place it stands
		value        *string
	}{
		{"tls-certificate-path", served.CertFile, "tls-on-demand-url", &c.TLSCertificatePath},
		{"tls-private-key-path", served.KeyFile, "tls-on-demand-url", &c.TLSPrivateKeyPath},
		{"tls-on-demand-url", served.AskURL, "tls-certificate-path", &c.TLSOnDemandURL},
		{"tls-acme-cache-path", served.CacheDir, "", &c.TLSACMECachePath},
	} {
		if !p.says(f.flag) && !p.given[f.other] {
			*f.value = f.served
		}
	}
	if !p.says("tls-staging") {
		c.TLSStaging = served.Staging
	}
	if !p.says("tls-redirect") {
		c.TLSRedirect = !served.NoRedirect
	}
	if !p.says("wait-certificate") {
		c.WaitCertificate = served.Wait
	}
}

// says reports whether the command line has a flag, be it to take something away.
func (p *program) says(flag string) bool { return p.given[flag] || slices.Contains(p.cleared, flag) }

// setIn sets the value at a path of objects.
func setIn(object map[string]any, path string, v any) {
	name, rest, nested := strings.Cut(path, ".")
	if !nested {
		object[name] = v
		return
	}
	inner, _ := object[name].(map[string]any)
	if inner == nil {
		inner = make(map[string]any)
		object[name] = inner
	}
	setIn(inner, rest, v)
}
