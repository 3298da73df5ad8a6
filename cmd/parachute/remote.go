package main

import (
	"context"
	"slices"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// remoteFlags are the flags of the commands that talk to a running proxy.
type remoteFlags struct {
	Socket string `envar:"prefixed" placeholder:"PATH" help:"Control socket of the proxy; if none is given, the system's is tried, then the user's."`
}

// client returns a client of the sockets that the command may try. It speaks to
// whoever lets it in at a socket that the user names, and at the system's, whose folder
// only root can make. Anybody may have put something in the place of the user's own.
func (r remoteFlags) client(p *program) (*control.Client, error) {
	if r.Socket != "" {
		return &control.Client{Sockets: []string{r.Socket}}, nil
	}
	sockets, err := p.paths.sockets()
	isSystems := func(socket string) bool { return socket == systemSocket }
	return &control.Client{Sockets: sockets, OwnOnly: slices.DeleteFunc(slices.Clone(sockets), isSystems)}, err
}

// briefTimeout bounds the wait for an answer that a command can do without.
const briefTimeout = time.Second

// queryBriefly calls ask with a client of the running proxy and a context that
// ends after briefTimeout.
func (r remoteFlags) queryBriefly(ctx context.Context, p *program, ask func(ctx context.Context, client *control.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, briefTimeout)
	defer cancel()
	client, err := r.client(p)
	if err != nil {
		return err
	}
	return ask(ctx, client)
}

// changeFlags are the flags of the commands that change a service.
type changeFlags struct {
	JSON  bool `name:"json" xor:"output" help:"Print a line of JSON for each event, and at last one for the result or the error."`
	Quiet bool `xor:"output" help:"Print nothing but what went wrong."`
	remoteFlags
}

// AfterApply is called by kong after it has parsed the command line.
func (c changeFlags) AfterApply(p *program) error {
	if c.JSON {
		p.printer = control.NewPrinter(p.stdout)
	}
	return nil
}

// change has a running proxy make a change, and shows its progress.
func (c changeFlags) change(ctx context.Context, p *program, command string, f *formatter,
	do func(client *control.Client, events func(parachute.Event)) (control.Result, error)) error {
	client, err := c.client(p)
	if err != nil {
		return err
	}
	change := p.newProgress(f, c.Quiet)
	p.progress = change
	defer change.stop()
	result, err := do(client, change.handleEvent)
	return p.conclude(ctx, command, change, result, err)
}
