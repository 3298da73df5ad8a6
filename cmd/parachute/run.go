package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/accesslog"
	"github.com/shahnk19/parachute/cmd/parachute/internal/acmedns"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
	"github.com/shahnk19/parachute/cmd/parachute/internal/notify"
	"github.com/shahnk19/parachute/cmd/parachute/internal/server"
)

type runCommand struct {
	HTTPPort  port         `name:"http-port" envar:"both" default:"80" help:"Port for HTTP; 0 is any free one, and the log says which."`
	HTTPSPort httpsPort    `name:"https-port" envar:"both" placeholder:"443" help:"Port for HTTPS; 0 is any free one, -1 is none. If it is not given and 443 cannot be opened, HTTPS is not served, with a warning."`
	Listen    listenerList `envar:"prefixed" placeholder:"ADDRESS:PORT[=SERVICE,...]" help:"Listen for HTTP at another address or port, too, for all services or for those that are named, which are then served there alone. May be repeated; in the variable, separated by spaces."`

	PublicHTTPPort  publicPort `name:"public-http-port" envar:"both" placeholder:"PORT" help:"Port at which clients reach HTTP, for redirects; if none is given, the one that each client names."`
	PublicHTTPSPort publicPort `name:"public-https-port" envar:"both" placeholder:"PORT" help:"Port at which clients reach HTTPS, for redirects, and HTTP/3, for Alt-Svc; if none is given, the one that is listened on."`

	HTTP3        bool  `name:"http3" envar:"both" negatable:"" help:"Serve HTTP/3 beside HTTPS, on the UDP port of the same number."`
	MetricsPort  port  `envar:"both" placeholder:"0" help:"Port for metrics and health checks; 0 is none."`
	KamalMetrics *bool `envar:"both" negatable:"" help:"Serve the metrics of kamal-proxy beside parachute's own, or do not; if neither is given, they are served where the program is called kamal-proxy."`
	pageFlags
	notifyFlags
	Bind address `envar:"both" placeholder:"ADDRESS" help:"Address to listen on; if none is given, every one."`

	TrustedProxies prefixes `envar:"both" placeholder:"CIDR,..." help:"Networks of the proxies in front of this one, whose X-Forwarded headers are believed, or none; if not given, loopback and private ones."`

	MaxHeld optionalCount `envar:"both" placeholder:"1000" help:"How many requests of one service may wait while it is paused, or until its targets can be reached again (see deploy --hold); 0 is none."`

	ShutdownDelay durationLimit `envar:"both" placeholder:"0s" help:"How long everything goes on after SIGTERM, while /readyz on the metrics port already answers 503: the time in which a load balancer in front notices that."`
	KeepHistory   positiveCount `envar:"both" placeholder:"10" help:"How many of the last deployments of each service history knows, and rollback can return to, with the one that serves."`

	ShutdownTimeout durationLimit `envar:"both" placeholder:"30s" help:"How long running requests may take after SIGTERM before they are cut off; 0 cuts them off at once."`

	Takeover bool `envar:"both" negatable:"" help:"Take the place of the proxy that runs, which answers on the control socket: with its sockets, and without a client noticing. If there is none, start as always."`

	DataDir         string   `envar:"prefixed" placeholder:"PATH" help:"Folder of the state; if none is given, /var/lib/parachute for root, else parachute below $$XDG_STATE_HOME or ~/.local/state."`
	Socket          string   `envar:"prefixed" placeholder:"PATH" help:"Control socket; if none is given, /run/parachute/parachute.sock for root, else one below $$XDG_RUNTIME_DIR or the temporary directory."`
	SpoolDir        string   `envar:"prefixed" placeholder:"PATH" help:"Folder of the files for bodies that are buffered and too large for memory; if none is given, one in the folder of the state."`
	SocketMode      mode     `envar:"both" placeholder:"0600" help:"Permissions of the control socket: whoever may write to it may deploy. If none are given, they are 0600, or 0660 with --socket-group."`
	SocketGroup     string   `envar:"both" placeholder:"GROUP" help:"Group of the control socket, whose members may then deploy. If none is given, the socket has the group of the process, whose members may not."`
	SocketDeployers userList `envar:"both" placeholder:"UID,..." help:"Users who may make changes, besides root and the user of the proxy, by number or name. Others whom mode or group let in may then only look, and see no header values and no log. If none is given, whoever may connect may do everything."`

	TLSMinVersion  tlsVersion `envar:"both" group:"TLS:" placeholder:"1.2" help:"Oldest version of TLS that clients may speak, 1.2 or 1.3."`
	ACMEDirectory  directory  `name:"acme-directory" envar:"both" group:"TLS:" placeholder:"URL" help:"Directory of the ACME server that automatic certificates come from; if none is given, that of Let's Encrypt."`
	ACMEEmail      string     `name:"acme-email" envar:"both" group:"TLS:" placeholder:"ADDRESS" help:"Address to which the certificate authority writes about problems."`
	ACMEEABKID     string     `name:"acme-eab-kid" envar:"both" group:"TLS:" placeholder:"ID" help:"Identifier of the key that binds the ACME account to one at the certificate authority."`
	ACMEEABHMACKey secret     `name:"acme-eab-hmac-key" envar:"both" group:"TLS:" placeholder:"KEY" help:"The key that binds the ACME account, in base64url. In a variable it is not seen in the list of processes."`
	ACMECARoot     string     `name:"acme-ca-root" envar:"both" group:"TLS:" placeholder:"FILE" help:"Certificate authorities, in PEM form, by which the ACME server itself is verified, beside the system's."`
	dnsFlags
	etcdFlags

	ReadHeaderTimeout durationLimit `envar:"both" group:"Limits for clients:" placeholder:"10s" help:"How long the head of a request may take; 0 is no limit."`
	IdleTimeout       durationLimit `envar:"both" group:"Limits for clients:" placeholder:"75s" help:"How long a connection without a request is kept; 0 is no limit."`
	MaxHeaderBytes    positiveSize  `envar:"both" group:"Limits for clients:" placeholder:"64KiB" help:"How large the head of a request may be."`
	MaxHeaderFields   positiveCount `envar:"both" group:"Limits for clients:" placeholder:"128" help:"How many fields the head of a request may have."`
	MaxTargetBytes    positiveSize  `envar:"both" group:"Limits for clients:" placeholder:"8KiB" help:"How long the target of a request may be, its path and query."`
	MaxConnRequests   optionalCount `envar:"both" group:"Limits for clients:" placeholder:"0" help:"After how many requests a connection of HTTP/1 is closed; 0 is no limit."`
	HTTP2MaxStreams   positiveCount `name:"http2-max-streams" envar:"both" group:"Limits for clients:" placeholder:"100" help:"How many requests may run at once on a connection of HTTP/2 or HTTP/3."`

	LogFormat   logFormat `envar:"both" default:"json" help:"Form of the log on standard output, json or text."`
	NoAccessLog bool      `envar:"both" negatable:"access-log" help:"Leave out the line for each request."`
	Debug       bool      `envar:"both" negatable:"" help:"Log more, to find the cause of a problem."`
}

// Help explains where options come from, and what signals do.
func (runCommand) Help() string {
	return `Every option may also be given in the environment. A flag goes before the variable that begins with PARACHUTE_, and that goes before the one without. An empty variable counts as unset. If the value of one without PARACHUTE_ makes no sense, it is ignored, with a warning, since it may belong to another program.

SIGTERM and SIGINT end the proxy when running requests are done, with exit code 0. A second one ends it at once, with exit code 1. SIGHUP has the program started anew, as "upgrade" does, if the proxy has no terminal; if it has one, that is about to close, and the proxy ends.`
}

func (runCommand) Examples() string {
	return `
# Serve on ports 80 and 443.
parachute run

# Serve as an ordinary user, without HTTPS.
parachute run --http-port 8080 --https-port=-1

# Go on with other options, in the place of the proxy that runs.
parachute run --takeover --http3`
}

func (c *runCommand) Run(ctx context.Context, p *program) error {
	config, err := c.config(p)
	if err != nil {
		return wrapStartError(err)
	}
	config.Predecessor = func(ctx context.Context) (handover.Conn, error) {
		conn, err := handover.Inherited(p.environ.getenv)
		if conn != nil || err != nil || !c.Takeover {
			return conn, err
		}
		conn, err = (&control.Client{Sockets: []string{config.Socket}}).TakeOver(ctx)
		if errors.Is(err, control.ErrNoProxy) && !errors.Is(err, fs.ErrPermission) {
			return nil, nil
		}
		return conn, err
	}
	if !hasTerminal() {
		upgrades := make(chan os.Signal, 1)
		signal.Notify(upgrades, syscall.SIGHUP)
		defer signal.Stop(upgrades)
		config.Upgrades = upgrades
	}
	if err := server.Run(ctx, config); err != nil {
		return wrapStartError(err)
	}
	return nil
}

// hasTerminal reports whether the process has a controlling terminal, which sends SIGHUP
// when it closes.
func hasTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// wrapStartError puts "run: " in front of an error, except of a usageError, which
// names the command itself.
func wrapStartError(err error) error {
	var usage *usageError
	if errors.As(err, &usage) {
		return err
	}
	return fmt.Errorf("run: %w", err)
}

func (c *runCommand) config(p *program) (server.Config, error) {
	if c.HTTP3 && c.HTTPSPort.number < 0 {
		return server.Config{}, &usageError{"run", errors.New(
			"--http3 goes with HTTPS, and --https-port -1 turns that off: want one of them")}
	}
	authority, err := c.acme()
	if err == nil {
		err = c.checkListeners()
	}
	var page server.PageConfig
	if err == nil {
		page, err = c.pageFlags.config()
	}
	var records acmedns.Config
	if err == nil {
		records, err = c.dnsFlags.config()
	}
	var told notify.Config
	if err == nil {
		told, err = c.notifyFlags.config()
	}
	var fleet server.FleetConfig
	if err == nil {
		fleet, err = c.etcdFlags.config()
	}
	if err != nil {
		return server.Config{}, &usageError{"run", err}
	}
	config := server.Config{
		Version:       versionName(),
		Program:       p.program,
		DataDir:       c.DataDir,
		Socket:        c.Socket,
		SocketOptions: control.SocketOptions{Mode: fs.FileMode(c.SocketMode), Group: c.SocketGroup, Deployers: c.SocketDeployers},
		Bind:          c.Bind.Addr,
		HTTPPort:      uint16(c.HTTPPort),
		HTTPSPort:     c.HTTPSPort.orDefault(),
		HTTPSOptional: !c.HTTPSPort.isSet,
		HTTP3:         c.HTTP3,

		Further:         c.Listen,
		PublicHTTPPort:  int(c.PublicHTTPPort),
		PublicHTTPSPort: int(c.PublicHTTPSPort),

		MetricsPort:   int(c.MetricsPort),
		Page:          page,
		Notify:        told,
		KamalMetrics:  p.environ.asKamal && c.KamalMetrics == nil || c.KamalMetrics != nil && *c.KamalMetrics,
		MinTLSVersion: uint16(c.TLSMinVersion),
		ACME:          authority,
		ACMEDNS:       records,
		Fleet:         fleet,
		Limits: server.Limits{
			ReadHeader:   time.Duration(c.ReadHeaderTimeout),
			Idle:         time.Duration(c.IdleTimeout),
			HeaderBytes:  int(c.MaxHeaderBytes),
			HeaderFields: int(c.MaxHeaderFields),
			TargetBytes:  int(c.MaxTargetBytes),
			Requests:     int(c.MaxConnRequests),
			Streams:      int(c.HTTP2MaxStreams),
		},
		ShutdownDelay:   max(time.Duration(c.ShutdownDelay), 0),
		ShutdownTimeout: time.Duration(c.ShutdownTimeout),
		TrustedProxies:  c.TrustedProxies,
		SpoolDir:        c.SpoolDir,
		MaxHeld:         int(c.MaxHeld),
		KeepHistory:     int(c.KeepHistory),
		Output:          p.stdout,
		LogLost:         func(err error) { p.warnf("%v", err) },
		LogFormat:       accesslog.Format(c.LogFormat),
		NoAccessLog:     c.NoAccessLog,
		Debug:           c.Debug,
	}
	if p.environ.asKamal {
		config.TargetHeader = "X-Kamal-Target"
	}
	if config.DataDir == "" {
		if config.DataDir, err = p.paths.dataDir(); err != nil {
			return config, err
		}
	}
	if config.Socket == "" {
		config.Socket, err = p.paths.socket()
	}
	return config, err
}

// acme returns where automatic certificates come from.
func (c *runCommand) acme() (parachute.ACME, error) {
	a := parachute.ACME{Directory: string(c.ACMEDirectory), Email: c.ACMEEmail}
	switch {
	case c.ACMEEABKID != "" && len(c.ACMEEABHMACKey) == 0:
		return a, errors.New("--acme-eab-kid is there without --acme-eab-hmac-key: want both, as the certificate authority gave them, or neither")
	case c.ACMEEABKID == "" && len(c.ACMEEABHMACKey) > 0:
		return a, errors.New("--acme-eab-hmac-key is there without --acme-eab-kid: want both, as the certificate authority gave them, or neither")
	case c.ACMEEABKID != "":
		a.ExternalAccount = &acme.ExternalAccountBinding{KID: c.ACMEEABKID, Key: c.ACMEEABHMACKey}
	}
	var err error
	if a.RootCAs, err = rootCAs(c.ACMECARoot); err != nil {
		return a, fmt.Errorf("--acme-ca-root: %w", err)
	}
	return a, nil
}
