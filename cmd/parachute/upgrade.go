package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

type upgradeCommand struct {
	Path string `arg:"" optional:"" help:"The program that takes the place of the one that runs, with an absolute path; if none is given, the file that the running one was started from, as it is on disk now."`

	Wait  bool `help:"Wait for an upgrade that is under way, and for what the last one has left, in place of giving up."`
	JSON  bool `name:"json" xor:"output" help:"Print the result as JSON."`
	Quiet bool `xor:"output" help:"Print nothing but what went wrong."`
	remoteFlags
}

// Help explains what happens, and what does not.
func (upgradeCommand) Help() string {
	return `The proxy starts the program with its own arguments, hands its listening sockets over to the new process, and lets its own requests end. A request is handled by the old process or by the new one; none is refused, none is reset. The command returns when the new process serves.

The new process first reads the state and probes the targets. If it ends before it is ready, is not ready within 30 s, cannot read all of the state, or would have a service fail or be unhealthy that is not now, the old one goes on as if nothing had been: the command says why, with exit code 1. For 30 s after that, the old one is there to take up again if the new one dies.

It is for root and the user of the proxy alone, and so must be the program: nobody else may be able to write it.`
}

func (upgradeCommand) Examples() string {
	return `
# Run the version that was just installed.
parachute upgrade

# Run another one.
parachute upgrade /opt/parachute-1.4/parachute`
}

func (c *upgradeCommand) Run(ctx context.Context, p *program) error {
	if c.JSON {
		p.printer = control.NewPrinter(p.stdout)
	}
	if c.Path != "" && !filepath.IsAbs(c.Path) {
		return &usageError{"upgrade", fmt.Errorf("%s is no absolute path: the proxy may have another working directory", c.Path)}
	}
	client, err := c.client(p)
	if err != nil {
		return err
	}
	done, err := client.Upgrade(ctx, c.Path, c.Wait)
	switch {
	case errors.Is(err, control.ErrNoProxy), errors.Is(err, control.ErrForbidden):
		return err
	case err != nil:
		return &remoteError{err}
	case c.Quiet:
		return nil
	case c.JSON:
		return json.NewEncoder(p.stdout).Encode(done)
	}
	fmt.Fprintf(p.stdout, "upgraded in %v: process %d (%s) has taken the place of process %d (%s)\n",
		done.Duration().Round(time.Millisecond), done.PID, done.Version, done.Previous.PID, done.Previous.Version)
	if done.Requests > 0 {
		fmt.Fprintf(p.stdout, "process %d still has %s, which may end\n", done.Previous.PID, pluralize(done.Requests, "request"))
	}
	return nil
}
