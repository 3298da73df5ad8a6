package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// The commands that change a service without deploying or removing it.

type pauseCommand struct {
	Service string `arg:"" help:"The service to pause."`

	MaxPause     durationLimit `placeholder:"30s" help:"Longest time that a request is held before it is answered 504; 0 is as long as its client waits."`
	DrainTimeout durationLimit `placeholder:"30s" help:"How long running requests may take before they are cut off; 0 cuts them off at once."`
	changeFlags
}

// Help explains what happens to requests.
func (pauseCommand) Help() string {
	return `New requests are held from now on, until "resume" lets them go or they have waited for too long. The command returns when those that were running are done: nothing reaches the targets then. GET and HEAD of the health path are answered with 200, unless that is "/". A deploy does not end a pause.`
}

func (pauseCommand) Examples() string {
	return `
# Hold requests while a database moves, each for a minute at most.
parachute pause web --max-pause 1m`
}

func (c *pauseCommand) Run(ctx context.Context, p *program) error {
	return c.change(ctx, p, "pause", newFormatter(parachute.Deployment{Service: c.Service}),
		func(client *control.Client, events func(parachute.Event)) (control.Result, error) {
			how := parachute.Pause{Max: time.Duration(c.MaxPause), Drain: time.Duration(c.DrainTimeout)}
			return client.Pause(ctx, c.Service, how, events)
		})
}

type stopCommand struct {
	Service string `arg:"" help:"The service to stop."`

	Message      string        `placeholder:"TEXT" help:"Text of the page that visitors get meanwhile."`
	DrainTimeout durationLimit `placeholder:"30s" help:"How long running requests may take before they are cut off; 0 cuts them off at once."`
	changeFlags
}

// Help explains what happens to requests.
func (stopCommand) Help() string {
	return `New requests are answered 503 from now on, until "resume". The command returns when those that were running are done. GET and HEAD of the health path are answered with 200, unless that is "/". A deploy does not end a stop.`
}

func (stopCommand) Examples() string {
	return `
# Show visitors a page for the time being.
parachute stop web --message 'Back at noon'`
}

func (c *stopCommand) Run(ctx context.Context, p *program) error {
	return c.change(ctx, p, "stop", newFormatter(parachute.Deployment{Service: c.Service}),
		func(client *control.Client, events func(parachute.Event)) (control.Result, error) {
			how := parachute.Stop{Message: c.Message, Drain: time.Duration(c.DrainTimeout)}
			return client.Stop(ctx, c.Service, how, events)
		})
}

type resumeCommand struct {
	Service string `arg:"" help:"The service to resume."`
	changeFlags
}

func (resumeCommand) Examples() string {
	return `
# Serve again.
parachute resume web`
}

func (c *resumeCommand) Run(ctx context.Context, p *program) error {
	return c.change(ctx, p, "resume", newFormatter(parachute.Deployment{Service: c.Service}),
		func(client *control.Client, events func(parachute.Event)) (control.Result, error) {
			return client.Resume(ctx, c.Service, events)
		})
}

// rolloutCommand groups the commands for a second version of a service, which
// serves beside the first.
type rolloutCommand struct {
	Deploy rolloutDeployCommand `cmd:"" help:"Bring a second version of a service into service, beside the first."`
	Set    rolloutSetCommand    `cmd:"" help:"Say which visitors go to the second version."`
	Stop   rolloutStopCommand   `cmd:"" help:"Take the second version out of service, when its requests are done."`
}

func (rolloutCommand) Examples() string {
	return `
# Try a second version on every tenth visitor, then end that.
parachute rollout deploy web --target web-2:3000
parachute rollout set web --percent 10
parachute rollout stop web`
}

type rolloutDeployCommand struct {
	Service string `arg:"" help:"The service, which is deployed already."`

	Target        targetList    `required:"" placeholder:"HOST:PORT" help:"Target of the second version, as in deploy. May be repeated, or several be separated by commas."`
	ReadTarget    readerList    `placeholder:"HOST:PORT" help:"Target of the second version for GET and HEAD alone, as in deploy."`
	DeployTimeout durationLimit `placeholder:"30s" help:"Longest wait for the targets to become healthy; 0 is no limit. If not given, that of the service."`
	DrainTimeout  durationLimit `placeholder:"30s" help:"How long requests that run on the previous targets of the second version may take before they are cut off; 0 cuts them off at once. If not given, that of the service."`
	releaseFlags
	changeFlags
}

// Help explains who gets the second version.
func (rolloutDeployCommand) Help() string {
	return `The second version gets no visitors until "rollout set" says which, unless an earlier "rollout set" has said so. Apart from its targets, it has the options of the service. A deploy of the service leaves it in place.`
}

func (rolloutDeployCommand) Examples() string {
	return `
# Bring up a second version, which gets no visitors yet.
parachute rollout deploy web --target web-2:3000`
}

func (c *rolloutDeployCommand) Run(ctx context.Context, p *program) error {
	format := newFormatter(parachute.Deployment{Service: c.Service, Targets: c.Target, ReadTargets: c.ReadTarget})
	format.effect = "rollout beside the first version"
	return c.change(ctx, p, "rollout deploy", format,
		func(client *control.Client, events func(parachute.Event)) (control.Result, error) {
			return client.Rollout(ctx, c.Service, parachute.Rollout{
				Targets:     c.Target,
				ReadTargets: c.ReadTarget,
				Release:     c.Release,
				By:          c.By,
				Timeouts: parachute.Timeouts{
					Deploy: time.Duration(c.DeployTimeout),
					Drain:  time.Duration(c.DrainTimeout),
				},
			}, events)
		})
}

type rolloutSetCommand struct {
	Service string `arg:"" help:"The service."`

	Percent    *percentage `placeholder:"N" help:"Percentage of the visitors that go to the second version."`
	List       nameList    `placeholder:"VALUE,..." help:"Visitors whose cookie parachute-rollout or kamal-rollout has one of these values always go there."`
	CookieOnly *bool       `negatable:"" help:"Leave visitors without a cookie with the first version, or give them one, so that they share in the percentage; if neither is given, leave them where the program is called kamal-proxy."`
	changeFlags
}

func (rolloutSetCommand) Examples() string {
	return `
# Send every tenth visitor there, and whoever's cookie says staff or testers.
parachute rollout set web --percent 10 --list staff,testers`
}

func (c *rolloutSetCommand) Run(ctx context.Context, p *program) error {
	if c.Percent == nil && c.List == nil {
		return &usageError{"rollout set", errors.New("neither --percent nor --list says who goes to the second version: want --percent, --list or both")}
	}
	split := parachute.Split{List: c.List, CookieOnly: p.environ.asKamal}
	if c.CookieOnly != nil {
		split.CookieOnly = *c.CookieOnly
	}
	if c.Percent != nil {
		split.Percent = int(*c.Percent)
	}
	format := newFormatter(parachute.Deployment{Service: c.Service})
	format.verb, format.effect = "split", "rollout for "+visitors(split)
	return c.change(ctx, p, "rollout set", format,
		func(client *control.Client, events func(parachute.Event)) (control.Result, error) {
			return client.SetSplit(ctx, c.Service, split, events)
		})
}

// visitors describes who is sent to the rollout.
func visitors(s parachute.Split) string {
	share := fmt.Sprintf("%d %%", s.Percent)
	if s.CookieOnly {
		share += " of those with a cookie"
	}
	switch {
	case len(s.List) == 0 && s.Percent == 0:
		return "nobody"
	case len(s.List) == 0:
		return share
	case s.Percent == 0:
		return strings.Join(s.List, ", ")
	}
	return share + " and " + strings.Join(s.List, ", ")
}

type rolloutStopCommand struct {
	Service string `arg:"" help:"The service."`
	changeFlags
}

func (rolloutStopCommand) Examples() string {
	return `
# Send everybody to the first version again.
parachute rollout stop web`
}

func (c *rolloutStopCommand) Run(ctx context.Context, p *program) error {
	format := newFormatter(parachute.Deployment{Service: c.Service})
	format.verb, format.effect = "ended", "rollout takes no more requests"
	return c.change(ctx, p, "rollout stop", format,
		func(client *control.Client, events func(parachute.Event)) (control.Result, error) {
			return client.EndRollout(ctx, c.Service, events)
		})
}
