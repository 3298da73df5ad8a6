// Package server runs the proxy as a process: it opens the listeners, and starts
// and stops all parts in the right order.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/accesslog"
	"github.com/shahnk19/parachute/cmd/parachute/internal/certstore"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
	"github.com/shahnk19/parachute/cmd/parachute/internal/metrics"
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
)

// A Config says what to run.
type Config struct {
	// Version is the version that the proxy reports.
	Version string

	// DataDir is the folder of the state. It is created if it is missing. Only
	// one proxy at a time can use it.
	DataDir string

	// Socket is the path of the control socket, and SocketOptions says who may
	// connect to it.
	Socket        string
	SocketOptions control.SocketOptions

	// Bind is the address to listen on; the zero Addr is every address of
	// the machine.
	Bind netip.Addr

	// HTTPPort is the port for HTTP; 0 is any free one.
	HTTPPort uint16

	// HTTPSPort is the port for HTTPS; 0 is any free one, and a negative one
	// means no HTTPS. With HTTPSOptional, HTTPS is not served if the port is not
	// available, and the log says so.
	HTTPSPort     int
	HTTPSOptional bool

	// HTTP3 serves HTTP/3 beside HTTPS, on the UDP port of the same number.
	HTTP3 bool

	// Further are listeners for HTTP beside the one on HTTPPort. A service that
	// one of them names is served there alone: not on HTTPPort, not over HTTPS,
	// and not on listeners that name no service, which serve all others.
	Further []FurtherListener

	// Sockets are listeners that were opened before, by name. They are used where
	// they are bound to the address that is asked for; Run closes the others. If
	// nil, those that a service manager has opened for the process are used, and
	// one of these that is not asked for is an error.
	Sockets *handover.Sockets

	// Kept are names of Sockets that whoever opened them keeps open, as a service
	// manager does. When the proxy ends, it leaves them as they are: with the
	// clients that wait there, and with the file of the control socket.
	Kept []string

	// PublicHTTPPort and PublicHTTPSPort are the ports at which clients reach
	// HTTP and HTTPS, and HTTP/3 as well; 0 is what is listened on.
	PublicHTTPPort  int
	PublicHTTPSPort int

	// MetricsPort is the port for metrics and for health checks of this process
	// and of its services; 0 is none, and a negative one is any free one.
	MetricsPort int

	// Page is the page to look at.
	Page PageConfig

	// KamalMetrics has the metrics of kamal-proxy served beside those of ours.
	KamalMetrics bool

	// TargetHeader is handed to parachute.Options.
	TargetHeader string

	// MinTLSVersion is the oldest version of TLS that clients may use, as a
	// number of crypto/tls; if 0, TLS 1.2.
	MinTLSVersion uint16

	// ACME says where automatic certificates come from. They are kept in
	// DataDir, whatever Cache and CacheAt say.
	ACME parachute.ACME

	// Limits are the limits for clients.
	Limits Limits

	// ShutdownDelay is how long everything goes on once Run was told to stop,
	// except that /readyz answers 503.
	ShutdownDelay time.Duration

	// ShutdownTimeout bounds how long running requests may take once Run was
	// told to stop. If 0, 30 s; if negative, they are cut off at once.
	ShutdownTimeout time.Duration

	// TrustedProxies and MaxHeld are handed to parachute.Options.
	TrustedProxies []netip.Prefix
	MaxHeld        int

	// SpoolDir is the folder for the files of buffered bodies. It is created if
	// it is missing. If empty, it is a folder in DataDir.
	SpoolDir string

	// Output gets the log, lines in LogFormat.
	Output    io.Writer
	LogFormat accesslog.Format

	// LogLost, if not nil, is called with an error if the last lines of the log
	// could not be written to Output. If it is nil, Run returns that error.
	LogLost func(error)

	// NoAccessLog leaves out the line per request. Debug adds lines that help to
	// find the cause of a problem.
	NoAccessLog bool
	Debug       bool
}

// A FurtherListener is a listener for HTTP.
type FurtherListener struct {
	Address  netip.AddrPort // without an Addr, that of Bind; port 0 is any free one
	Services []string       // served there alone, and nothing else is; if empty, all others are
}

// dedicated returns the services that further listeners name.
func (c Config) dedicated() []string {
	var services []string
	for _, l := range c.Further {
		services = append(services, l.Services...)
	}
	return services
}

// The folders in DataDir.
const (
	certificatesName = "certificates"
	spoolName        = "spool"
)

// Run runs the proxy until ctx ends or a listener fails. In the latter case it
// returns the listener's error. In both cases running requests may finish first,
// within ShutdownTimeout; in the former, ShutdownDelay is waited for before. If the proxy cannot start, Run returns the reason and
// leaves nothing behind: no lock, no socket, no listener.
func Run(ctx context.Context, c Config) (err error) {
	if err := c.findSockets(); err != nil {
		return err
	}
	defer c.Sockets.Close()
	store, err := state.Open(c.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	log := accesslog.New(c.Output, c.LogFormat)
	defer func() { err = errors.Join(err, c.closeLog(log)) }()
	logger := slog.New(log.Handler(c.logLevel()))
	certificates, err := certstore.Open(filepath.Join(c.DataDir, certificatesName))
	if err != nil {
		return err
	}
	store.Warn = func(what string) { logger.Warn(what) }
	services, err := c.load(ctx, store, certificates, logger)
	if err != nil {
		return err
	}
	c.SpoolDir = cmp.Or(c.SpoolDir, filepath.Join(c.DataDir, spoolName))
	if err := os.MkdirAll(c.SpoolDir, 0o700); err != nil {
		return fmt.Errorf("folder for bodies: %w", err)
	}
	commands, err := c.listenForCommands()
	if err != nil {
		return err
	}
	defer commands.Close()
	l, err := listenAll(c, newQuotas(logger))
	if err != nil {
		return err
	}
	defer l.close()
	if l.noHTTPS != nil && c.HTTPSOptional {
		logger.Warn(l.noHTTPS.Error())
	}

	key, err := store.Key()
	if err != nil {
		logger.Warn("the key of --affinity does not outlive a restart, after which visitors move to another target once", "error", err)
	}
	s := newServer(c, parts{log, logger, store, certificates, l, key})
	if err := s.proxy.Restore(services); err != nil {
		logger.Error("not every service could be restored", "error", err)
	}
	logger.Info("started", "version", c.Version, "pid", os.Getpid(),
		"socket", c.Socket, "data_dir", c.DataDir, "services", len(services))
	l.log(logger)
	s.status = "serving at " + l.String()
	return s.serve(ctx, commands)
}

func (c Config) closeLog(log *accesslog.Log) error {
	err := log.Close()
	var lost *accesslog.LostError
	if c.LogLost != nil && errors.As(err, &lost) {
		c.LogLost(lost)
		return nil
	}
	return err
}

func (c Config) logLevel() slog.Level {
	if c.Debug {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// parts are what a server is made of. The server does not close them.
type parts struct {
	log          *accesslog.Log
	logger       *slog.Logger // to log
	store        *state.Store
	certificates *certstore.Folder
	listeners    *listeners
	affinityKey  []byte
}

// A server serves the proxy, its control socket and its metrics port.
type server struct {
	shutdownDelay   time.Duration
	shutdownTimeout time.Duration
	logger          *slog.Logger
	proxy           *parachute.Proxy
	control         *control.Server
	commands        *http.Server // serves control
	listeners       *listeners
	store           *state.Store
	frontends       []frontend   // serve proxy
	altSvc          []string     // Alt-Svc header of answers over HTTPS; nil without HTTP/3
	handlers        atomic.Int64 // running handlers, including those of hijacked connections

	monitoring         *http.Server // serves the metrics port; nil if there is none
	monitoringListener net.Listener // nil likewise
	page               *pageServer  // nil if there is none
	stopping           atomic.Bool
	until              atomic.Int64 // when s has stopped at the latest, if stopping; in nanoseconds of Unix time

	status string // what the service manager is told when the server is ready
}

func newServer(c Config, p parts) *server {
	s := &server{
		shutdownDelay:   c.ShutdownDelay,
		shutdownTimeout: cmp.Or(c.ShutdownTimeout, 30*time.Second),
		logger:          p.logger,
		control:         control.NewServer(c.Version),
		listeners:       p.listeners,
		store:           p.store,
	}
	s.control.Logs = logsOf(p.log)
	s.control.Stopping, s.control.Succeeded = s.progress, s.listeners.closeOwn
	options := parachute.Options{
		Logger:          s.logger,
		CommitDelta:     s.commit,
		Notify:          s.control.Notify,
		UserAgent:       "parachute/" + c.Version,
		AffinityKey:     p.affinityKey,
		TrustedProxies:  c.TrustedProxies,
		TargetHeader:    c.TargetHeader,
		MaxHeld:         c.MaxHeld,
		Listening:       p.listeners.addresses(),
		HTTPSPort:       p.listeners.httpsPort(),
		PublicHTTPPort:  c.PublicHTTPPort,
		PublicHTTPSPort: c.PublicHTTPSPort,
		NoHTTPS:         p.listeners.noHTTPS,
		ACME:            c.ACME,
	}
	options.Spool.Dir = c.SpoolDir
	options.ACME.Cache = p.certificates
	options.ACME.CacheAt = func(dir string) autocert.Cache { return certstore.At(dir) }
	if !c.NoAccessLog {
		options.Observe = p.log.Observe
	}
	var m *metrics.Metrics
	if p.listeners.metrics != nil {
		m = metrics.New()
		if c.KamalMetrics {
			m.CountAsKamal()
		}
		addHooks(&options, m.Observe, m.Notify)
	}
	if p.listeners.page != nil {
		s.page = newPageServer()
		s.page.addHooks(&options)
	}
	s.proxy = parachute.New(options)
	if m != nil {
		m.SetProxy(s.proxy)
		s.addMonitoring(c, p, m)
	}
	if s.page != nil {
		s.page.show(c, s.proxy, p)
		s.control.Page = "http://" + s.page.listener.Addr().String() + "/"
	}
	s.commands = s.control.HTTPServer(s.proxy)
	s.commands.ErrorLog = slog.NewLogLogger(p.logger.Handler(), slog.LevelError)
	s.addFrontends(c, p)
	return s
}

// logsOf returns access to log for the control plane.
func logsOf(log *accesslog.Log) control.Logs {
	return control.Logs{ContentType: log.ContentType(), Has: log.Has, Tail: log.Tail}
}
