package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// rolloutCommand groups the commands for a second version of a service, which
// serves beside the first.
type rolloutCommand struct {
	Deploy  rolloutDeployCommand  `cmd:"" help:"Bring a second version of a service into service, beside the first."`
	Set     rolloutSetCommand     `cmd:"" help:"Say which visitors go to the second version."`
	Status  rolloutStatusCommand  `cmd:"" help:"Show both versions, and their requests of the last ten minutes."`
	Promote rolloutPromoteCommand `cmd:"" help:"Make the second version the first one, when it has proved itself."`
	Stop    rolloutStopCommand    `cmd:"" help:"Take the second version out of service, when its requests are done."`
}

func (rolloutCommand) Examples() string {
	return `
# Try a second version on every tenth visitor, look at it, and then take it for all.
parachute rollout deploy web --target web-2:3000
parachute rollout set web --percent 10
parachute rollout status web
parachute rollout promote web`
}

type rolloutDeployCommand struct {
	Service string `arg:"" help:"The service, which is deployed already."`

	Target        targetList    `required:"" placeholder:"HOST:PORT" help:"Target of the second version, as in deploy. May be repeated, or several be separated by commas."`
	ReadTarget    readerList    `placeholder:"HOST:PORT" help:"Target of the second version for GET and HEAD alone, as in deploy."`
	DeployTimeout durationLimit `placeholder:"30s" help:"Longest wait for the targets to become healthy; 0 is no limit. If not given, that of the service."`
	DrainTimeout  durationLimit `placeholder:"30s" help:"How long requests that run on the previous targets of the second version may take before they are cut off; 0 cuts them off at once. If not given, that of the service."`
	PreviewHeader string        `placeholder:"'NAME: SECRET'" help:"Whoever sends this header goes to the second version, and stays there by a cookie, whatever the split says of others."`
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
parachute rollout deploy web --target web-2:3000

# Have nobody see it but who sends a header.
parachute rollout deploy web --target web-2:3000 --preview-header 'X-Preview: opensesame'`
}

func (c *rolloutDeployCommand) Run(ctx context.Context, p *program) error {
	format := newFormatter(parachute.Deployment{Service: c.Service, Targets: c.Target, ReadTargets: c.ReadTarget})
	format.effect = rolloutEffect
	return c.change(ctx, p, "rollout deploy", format,
		func(client *control.Client, events func(parachute.Event)) (control.Result, error) {
			return client.Rollout(ctx, c.Service, parachute.Rollout{
				Targets:     c.Target,
				ReadTargets: c.ReadTarget,
				Release:     c.Release,
				By:          c.By,
				Split:       parachute.Split{Preview: c.PreviewHeader},
				Timeouts: parachute.Timeouts{
					Deploy: time.Duration(c.DeployTimeout),
					Drain:  time.Duration(c.DrainTimeout),
				},
			}, events)
		})
}

// rolloutEffect is where requests go when a rollout is deployed.
const rolloutEffect = "rollout beside the first version"

type rolloutSetCommand struct {
	Service string `arg:"" help:"The service."`

	Percent       *percentage `placeholder:"N" help:"Percentage of the visitors that go to the second version."`
	List          nameList    `placeholder:"VALUE,..." help:"Visitors whose cookie parachute-rollout or kamal-rollout has one of these values always go there; an empty value is none of them."`
	CookieOnly    *bool       `negatable:"" help:"Leave visitors without a cookie with the first version, or give them one, so that they share in the percentage. Where the program is called kamal-proxy, they are left if neither is given."`
	PreviewHeader *string     `placeholder:"'NAME: SECRET'" help:"Whoever sends this header goes there, and stays there by a cookie; an empty value is for nobody."`
	changeFlags
}

// Help explains what happens to what is not given.
func (rolloutSetCommand) Help() string {
	return `What is not given stays as it was set before: the list with --percent alone, and the percentage with --list alone. Under the name of kamal-proxy, it is taken to be nobody, as there.`
}

func (rolloutSetCommand) Examples() string {
	return `
# Send every tenth visitor there, and whoever's cookie says staff or testers.
parachute rollout set web --percent 10 --list staff,testers

# Then every second one; the list stays.
parachute rollout set web --percent 50`
}

func (c *rolloutSetCommand) Run(ctx context.Context, p *program) error {
	if c.Percent == nil && c.List == nil && c.CookieOnly == nil && c.PreviewHeader == nil {
		return &usageError{"rollout set", errors.New("neither --percent nor --list says who goes to the second version: want --percent, --list or both, or --preview-header")}
	}
	format := newFormatter(parachute.Deployment{Service: c.Service})
	format.verb = "split"
	return c.change(ctx, p, "rollout set", format,
		func(client *control.Client, events func(parachute.Event)) (control.Result, error) {
			return client.AmendSplit(ctx, c.Service, c.patch(p.environ.asKamal), events)
		})
}

// patch returns what the flags say. As kamal-proxy, they say all.
func (c *rolloutSetCommand) patch(asKamal bool) control.SplitPatch {
	patch := control.SplitPatch{Percent: (*int)(c.Percent), CookieOnly: c.CookieOnly, Preview: c.PreviewHeader}
	if c.List != nil || asKamal {
		patch.List = new(append([]string{}, c.List...))
	}
	if asKamal {
		patch.Percent = cmp.Or(patch.Percent, new(0))
		patch.CookieOnly = cmp.Or(patch.CookieOnly, new(true))
	}
	return patch
}

// visitors describes who is sent to the rollout.
func visitors(s parachute.Split) string {
	share := fmt.Sprintf("%d %%", s.Percent)
	if s.CookieOnly {
		share += " of those with a cookie"
	}
	switch {
	case len(s.List) == 0 && s.Percent == 0 && s.Preview != "":
		return "whoever sends the preview header"
	case len(s.List) == 0 && s.Percent == 0:
		return "nobody"
	case len(s.List) == 0:
		return share
	case s.Percent == 0:
		return strings.Join(s.List, ", ")
	}
	return share + " and " + strings.Join(s.List, ", ")
}

type rolloutPromoteCommand struct {
	Service string `arg:"" help:"The service."`
	changeFlags
}

// Help explains what stays.
func (rolloutPromoteCommand) Help() string {
	return `All requests go to the targets of the second version from then on; nothing has to be repeated, for the service keeps its options. The command returns as a deploy does, when what was replaced may be stopped.`
}

func (rolloutPromoteCommand) Examples() string {
	return `
# Send everybody to the second version, for good.
parachute rollout promote web`
}

func (c *rolloutPromoteCommand) Run(ctx context.Context, p *program) error {
	format := newFormatter(parachute.Deployment{Service: c.Service})
	format.verb, format.effect = "promoted", "" // its hosts are as before
	return c.change(ctx, p, "rollout promote", format,
		func(client *control.Client, events func(parachute.Event)) (control.Result, error) {
			return client.Promote(ctx, c.Service, events)
		})
}

type rolloutStatusCommand struct {
	Service string `arg:"" help:"The service."`

	JSON bool `name:"json" negatable:"" help:"Print JSON: the service, the split, and release, targets and figures of main and rollout."`
	remoteFlags
}

func (rolloutStatusCommand) Examples() string {
	return `
# Compare the two versions.
parachute rollout status web`
}

// A rolloutStatus is what rollout status prints as JSON.
type rolloutStatus struct {
	Service string          `json:"service"`
	Split   parachute.Split `json:"split"`
	Main    rolloutSide     `json:"main"`
	Rollout rolloutSide     `json:"rollout"`
}

// A rolloutSide is one of the two versions.
type rolloutSide struct {
	Release string                `json:"release,omitempty"`
	Targets []string              `json:"targets"`
	Figures parachute.BakeFigures `json:"figures"` // of the last ten minutes
}

func (c *rolloutStatusCommand) Run(ctx context.Context, p *program) error {
	client, err := c.client(p)
	if err != nil {
		return err
	}
	s, err := client.Service(ctx, c.Service)
	switch {
	case errors.Is(err, parachute.ErrNotFound):
		return &remoteError{fmt.Errorf("rollout status %s: %w", c.Service, parachute.ErrNotFound)}
	case err != nil:
		return &remoteError{fmt.Errorf("rollout status: %w", err)}
	case s.Rollout == nil:
		return &remoteError{fmt.Errorf("rollout status %s: the service has no rollout: deploy one first", c.Service)}
	}
	d, r, live := s.Deployment, s.Rollout, cmp.Or(s.Live, new(parachute.Live))
	status := rolloutStatus{
		Service: s.Service,
		Split:   r.Split,
		Main:    rolloutSide{d.Release, slices.Concat(d.Targets, d.ReadTargets), live.Main},
		Rollout: rolloutSide{r.Release, slices.Concat(r.Targets, r.ReadTargets), *cmp.Or(live.Rollout, new(parachute.BakeFigures))},
	}
	if c.JSON {
		return p.printJSON(status)
	}
	_, err = io.WriteString(p.stdout, status.table().text(p.displayOf(p.stdout).columns))
	return err
}

// table returns a row for each version.
func (s *rolloutStatus) table() *textTable {
	t := &textTable{header: []string{"VERSION", "RELEASE", "VISITORS", "REQUESTS", "ERRORS", "P99", "TARGETS"}}
	add := func(name, who string, side rolloutSide) {
		f := side.Figures
		errors, p99 := "-", "-"
		if f.Requests > 0 {
			errors, p99 = shareOf(f), formatDuration(f.P99)
		}
		t.rows = append(t.rows, []cell{
			breakable(name), breakable(orDash(side.Release)), breakable(who), breakable(strconv.FormatUint(f.Requests, 10)),
			breakable(errors), breakable(p99), listCell(side.Targets, ","),
		})
	}
	add("main", "all others", s.Main)
	add("rollout", visitors(s.Split), s.Rollout)
	return t
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
