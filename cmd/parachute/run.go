package main

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"github.com/shahnk19/parachute/cmd/parachute/internal/accesslog"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/server"
)

type runCommand struct {
	HTTPPort  port    `name:"http-port" envar:"both" default:"80" help:"Port for HTTP; 0 is any free one, and the log says which."`
	HTTPSPort port    `name:"https-port" envar:"both" default:"443" help:"Port for HTTPS, which is not served yet."`
	Bind      address `envar:"both" placeholder:"ADDRESS" help:"Address to listen on; if none is given, every one."`

	TrustedProxies prefixes `envar:"both" placeholder:"CIDR,..." help:"Networks of the proxies in front of this one, whose X-Forwarded headers are believed, or none; if not given, loopback and private ones."`

	MaxHeld quota `envar:"both" placeholder:"1000" help:"How many requests of one service may wait for its targets to be there again, see deploy --hold; 0 is none."`

	ShutdownTimeout limit `envar:"both" placeholder:"30s" help:"How long running requests may take after SIGTERM before they are cut off; 0 cuts them off at once."`

	DataDir     string `envar:"prefixed" placeholder:"PATH" help:"Folder of the state; if none is given, /var/lib/parachute for root, else parachute below $$XDG_STATE_HOME or ~/.local/state."`
	Socket      string `envar:"prefixed" placeholder:"PATH" help:"Control socket; if none is given, /run/parachute/parachute.sock for root, else one below $$XDG_RUNTIME_DIR or the temporary directory."`
	SocketMode  mode   `envar:"both" placeholder:"0600" help:"Permissions of the control socket: who may write to it may deploy."`
	SocketGroup string `envar:"both" placeholder:"GROUP" help:"Group of the control socket; if none is given, that of the process."`

	LogFormat   logFormat `envar:"both" default:"json" help:"Form of the log on standard output, json or text."`
	NoAccessLog bool      `envar:"both" negatable:"access-log" help:"Leave out the line for each request."`
	Debug       bool      `envar:"both" negatable:"" help:"Log what helps to find out what is wrong."`
}

// Help says where options come from, and what signals do.
func (runCommand) Help() string {
	return `Every option may also be given in the environment: a flag wins, then the variable that begins with PARACHUTE_, then the bare one. An empty variable counts as unset. A bare one that makes no sense belongs to somebody else and is ignored, with a warning.

SIGTERM and SIGINT end the proxy when running requests are done, exit code 0. A second one ends it at once, exit code 1.`
}

func (c *runCommand) Run(ctx context.Context, p *program) error {
	config, err := c.config(p)
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	for _, w := range p.environ.warnings() {
		p.warnf("%s", w)
	}
	if err := server.Run(ctx, config); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

func (c *runCommand) config(p *program) (server.Config, error) {
	config := server.Config{
		Version:         versionName(),
		DataDir:         c.DataDir,
		Socket:          c.Socket,
		SocketOptions:   control.SocketOptions{Mode: fs.FileMode(c.SocketMode), Group: c.SocketGroup},
		Bind:            c.Bind.Addr,
		HTTPPort:        uint16(c.HTTPPort),
		ShutdownTimeout: time.Duration(c.ShutdownTimeout),
		TrustedProxies:  c.TrustedProxies,
		MaxHeld:         int(c.MaxHeld),
		Output:          p.stdout,
		LogFormat:       accesslog.Format(c.LogFormat),
		NoAccessLog:     c.NoAccessLog,
		Debug:           c.Debug,
	}
	var err error
	if config.DataDir == "" {
		if config.DataDir, err = p.places.dataDir(); err != nil {
			return config, err
		}
	}
	if config.Socket == "" {
		config.Socket, err = p.places.socket()
	}
	return config, err
}
