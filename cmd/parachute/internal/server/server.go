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
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/accesslog"
	"github.com/shahnk19/parachute/cmd/parachute/internal/acmedns"
	"github.com/shahnk19/parachute/cmd/parachute/internal/asflags"
	"github.com/shahnk19/parachute/cmd/parachute/internal/certstore"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
	"github.com/shahnk19/parachute/cmd/parachute/internal/metrics"
	"github.com/shahnk19/parachute/cmd/parachute/internal/notify"
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
	"github.com/shahnk19/parachute/cmd/parachute/internal/tickets"
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

	// Predecessor returns a connection to the process that this one takes the place
	// of, or nil if there is none. If the func is nil, there is none.
	Predecessor func(ctx context.Context) (handover.Conn, error)

	// Program is what is started to take the place of this process.
	Program handover.Program

	// Upgrades has this process replaced by its Program each time that something is
	// received.
	Upgrades <-chan os.Signal

	// ReadyTimeout is how long a process may take until it is ready to take the place of
	// another one, and Guard how long that is there to take up again. If 0, they are
	// those of package handover.
	ReadyTimeout time.Duration
	Guard        time.Duration

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

	// Notify says who is told what happens to services. Version, Logger and EncodeEvent
	// are set by Run.
	Notify notify.Config

	// TargetHeader is handed to parachute.Options.
	TargetHeader string

	// MinTLSVersion is the oldest version of TLS that clients may use, as a
	// number of crypto/tls; if 0, TLS 1.2.
	MinTLSVersion uint16

	// ACME says where automatic certificates come from. They are kept in DataDir, and
	// shared as Fleet says, whatever Cache and CacheAt say. ACMEDNS says how TXT records
	// are set for them, whatever DNS says.
	ACME    parachute.ACME
	ACMEDNS acmedns.Config

	// Fleet says what the proxy shares with others.
	Fleet FleetConfig

	// Limits are the limits for clients.
	Limits Limits

	// ShutdownDelay is how long everything goes on once Run was told to stop,
	// except that /readyz answers 503.
	ShutdownDelay time.Duration

	// ShutdownTimeout bounds how long running requests may take once Run was
	// told to stop. If 0, 30 s; if negative, they are cut off at once.
	ShutdownTimeout time.Duration

	// TrustedProxies, MaxHeld and KeepHistory are handed to parachute.Options.
	TrustedProxies []netip.Prefix
	MaxHeld        int
	KeepHistory    int

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

// The folders in DataDir.
const (
	certificatesName = "certificates"
	spoolName        = "spool"
)

// Run runs the proxy until ctx ends, a listener fails, or another process has taken its
// place. If a listener fails, it returns that error. In any case running requests may
// finish first, within ShutdownTimeout; if ctx ends, ShutdownDelay is waited for before.
// If the proxy cannot start, Run returns the reason and leaves nothing behind: no lock,
// no socket, no listener; and a Predecessor goes on.
func Run(ctx context.Context, c Config) (err error) {
	c.ReadyTimeout = cmp.Or(c.ReadyTimeout, handover.ReadyTimeout)
	c.Guard = cmp.Or(c.Guard, handover.Guard)
	arrival, err := c.meetPredecessor(ctx)
	if err != nil {
		return err
	}
	var p parts
	defer func() { err = errors.Join(err, p.close(c)) }()
	s, err := c.start(ctx, &p, arrival)
	if err == nil && arrival != nil {
		err = c.takePlace(ctx, &p, arrival, s)
	}
	if err != nil {
		if arrival != nil {
			arrival.fail(err)
		}
		if s != nil {
			err = errors.Join(err, s.proxy.Close())
		}
		return err
	}
	p.logger.Info("started", "version", c.Version, "pid", os.Getpid(),
		"socket", c.Socket, "data_dir", c.DataDir, "services", len(s.proxy.Services()))
	p.listeners.log(p.logger)
	p.notifier.Serve(c.whyItServes(arrival))
	return c.serve(ctx, &p, s)
}

// start opens all parts, and returns a server that has restored the services. With an
// arrival, it changes nothing that the other process uses.
func (c *Config) start(ctx context.Context, p *parts, a *arrival) (*server, error) {
	err := c.findSockets()
	p.sockets = c.Sockets // also where it is an error: they have to be closed
	if err != nil {
		return nil, err
	}
	if a == nil {
		p.store, err = state.Open(c.DataDir)
	} else {
		p.store, err = state.OpenReadOnly(c.DataDir)
	}
	if err != nil {
		return nil, err
	}
	p.log = accesslog.New(c.Output, c.LogFormat)
	p.logger = slog.New(p.log.Handler(c.logLevel()))
	p.store.Warn = func(what string) { p.logger.Warn(what) }
	p.notifier = c.newNotifier(p.logger)
	folder := filepath.Join(c.DataDir, certificatesName)
	if a == nil {
		p.certificates, err = certstore.Open(folder)
	} else {
		p.certificates = certstore.At(folder)
	}
	if err != nil {
		return nil, err
	}
	if p.shared, err = c.Fleet.open(p.certificates, p.logger); err != nil {
		return nil, err
	}
	services, err := c.savedServices(ctx, p, a)
	if err != nil {
		return nil, err
	}
	c.SpoolDir = cmp.Or(c.SpoolDir, filepath.Join(c.DataDir, spoolName))
	if err := os.MkdirAll(c.SpoolDir, 0o700); err != nil {
		return nil, fmt.Errorf("folder for bodies: %w", err)
	}
	if p.commands, err = c.listenForCommands(); err != nil {
		return nil, err
	}
	if a != nil {
		p.commands.Leave(true) // it is the other one's until it says so
	}
	if p.listeners, err = listenAll(*c, newQuotas(p.logger)); err != nil {
		return nil, err
	}
	if p.listeners.noHTTPS != nil && c.HTTPSOptional {
		p.logger.Warn(p.listeners.noHTTPS.Error())
	}
	if a == nil {
		if p.affinityKey, err = p.store.Key(); err != nil {
			p.logger.Warn("the key of --affinity does not outlive a restart, after which visitors move to another target once", "error", err)
		}
		p.tickets, p.datagrams = tickets.New(nil), closedChannel()
	} else {
		p.affinityKey, p.tickets = a.offer.AffinityKey, tickets.New(a.offer.TicketKeys)
		p.predecessor, p.handedOn, p.hold, p.datagrams = a.predecessor(), a.gone, a.ordered, a.datagrams
		p.adopted = kv.Lease(a.offer.Lease)
	}
	s := newServer(*c, *p)
	s.arrival = a
	if err := s.proxy.Restore(services); err != nil {
		p.logger.Error("not every service could be restored", "error", err)
	}
	return s, nil
}

// savedServices returns what is to be restored. With an arrival, all that is saved must
// be readable.
func (c *Config) savedServices(ctx context.Context, p *parts, a *arrival) ([]parachute.Status, error) {
	if a == nil {
		return c.load(ctx, p.store, p.certificates, p.logger)
	}
	isNew, err := p.store.IsNew()
	if err != nil || isNew { // what kamal-proxy has left was taken over by the other process
		return a.services, err
	}
	return p.store.Read()
}

// serve has s serve, and after it each server that takes up again, until the last one
// ends.
func (c *Config) serve(ctx context.Context, p *parts, s *server) error {
	var left sync.WaitGroup
	defer left.Wait()
	for {
		again, err := s.serve(ctx)
		if !again {
			return err
		}
		next := c.takeUpAgain(p, s) // before s forgets its services
		before := s
		hurried := context.AfterFunc(ctx, before.hurry)
		left.Go(func() {
			before.finish()
			hurried()
		})
		s = next
	}
}

// parts are what servers of one process, one after another, are made of. No server
// closes them.
type parts struct {
	log          *accesslog.Log
	logger       *slog.Logger // to log
	store        *state.Store
	certificates *certstore.Folder
	shared       *shared  // with other proxies; nil: nothing is
	adopted      kv.Lease // that of the process before, in the fleet
	notifier     *notify.Notifier
	sockets      *handover.Sockets
	listeners    *listeners
	commands     *control.Listener
	affinityKey  []byte
	tickets      *tickets.Keys

	predecessor parachute.Predecessor
	handedOn    <-chan struct{} // closed when the predecessor hands no change on any more; nil: there is none
	hold        <-chan struct{} // closed when certificates may be ordered; nil: at once
	datagrams   <-chan struct{} // closed when packets of HTTP/3 may be read
}

// close closes what is there.
func (p *parts) close(c Config) error {
	if p.listeners != nil {
		p.listeners.close()
	}
	var err error
	if p.commands != nil {
		p.commands.Close() // an error was never of use
	}
	if p.notifier != nil {
		p.closeNotifier()
	}
	if p.shared != nil {
		err = p.shared.close()
	}
	if p.log != nil {
		err = errors.Join(err, c.closeLog(p.log))
	}
	if p.store != nil {
		err = errors.Join(err, p.store.Close())
	}
	p.sockets.Close()
	return err
}

// A server serves the proxy, its control socket and its metrics port.
type server struct {
	shutdownDelay   time.Duration
	shutdownTimeout time.Duration
	logger          *slog.Logger
	proxy           *parachute.Proxy
	control         *control.Server
	commands        *operatorServer // serves control
	listeners       *listeners
	version         string
	store           *state.Store
	notifier        *notify.Notifier
	commits         *committer
	affinityKey     []byte
	tickets         *tickets.Keys
	frontends       []frontend   // serve proxy
	altSvc          []string     // Alt-Svc header of answers over HTTPS; nil without HTTP/3
	handlers        atomic.Int64 // running handlers, including those of hijacked connections

	monitoring *operatorServer // serves the metrics port; nil if there is none
	page       *pageServer     // nil if there is none
	stopping   atomic.Bool
	until      atomic.Int64 // when s has stopped at the latest, if stopping; in nanoseconds of Unix time

	status string // what the service manager is told when the server is ready

	commandSocket *control.Listener
	quicConn      net.PacketConn // nil without HTTP/3

	arrival   *arrival  // nil: the process was not started in the place of another one
	before    *server   // of this process, which has handed over in vain; nil: there is none
	upgrader  *upgrader // hands over to another process
	ending    chan struct{}
	departing atomic.Bool // another process serves

	membership *membership // in a fleet; nil: it is in none

	// When it has handed over: see beginLeaving.
	end       *deadline     // of what it has left
	ordered   chan struct{} // closed when no certificate is being ordered any more
	datagrams chan struct{} // closed when no packets of HTTP/3 are read any more
	drained   chan struct{} // closed when no request is left
	finished  chan struct{} // closed when nothing is left
	followers sync.WaitGroup

	mu     sync.Mutex // guards drains
	drains map[uint64]chan struct{}
}

func newServer(c Config, p parts) *server {
	s := &server{
		shutdownDelay:   c.ShutdownDelay,
		shutdownTimeout: cmp.Or(c.ShutdownTimeout, 30*time.Second),
		logger:          p.logger,
		control:         control.NewServer(c.Version),
		listeners:       p.listeners,
		version:         c.Version,
		store:           p.store,
		notifier:        p.notifier,
		affinityKey:     p.affinityKey,
		tickets:         p.tickets,
		status:          "serving at " + p.listeners.String(),
		commandSocket:   p.commands,
		ending:          make(chan struct{}),
		ordered:         make(chan struct{}),
		datagrams:       make(chan struct{}),
		drained:         make(chan struct{}),
		finished:        make(chan struct{}),
		drains:          make(map[uint64]chan struct{}),
	}
	s.commits = &committer{save: s.commit}
	s.upgrader = newUpgrader(s, c)
	s.control.Handover = control.Handover{Upgrade: s.upgrader.upgrade, TakeOver: s.upgrader.takeOver}
	s.control.Logs = logsOf(p.log)
	s.control.Stopping, s.control.Succeeded = s.progress, s.listeners.closeOwn
	s.control.Before, s.control.Predecessor = s.changesBefore, p.handedOn
	options := parachute.Options{
		Logger:          s.logger,
		CommitDelta:     s.commits.commit,
		Predecessor:     p.predecessor,
		Notify:          s.control.Notify,
		Agree:           s.control.Agree,
		Compare:         asflags.Difference,
		UserAgent:       "parachute/" + c.Version,
		AffinityKey:     p.affinityKey,
		TrustedProxies:  c.TrustedProxies,
		TargetHeader:    c.TargetHeader,
		MaxHeld:         c.MaxHeld,
		KeepHistory:     c.KeepHistory,
		Listening:       p.listeners.addresses(),
		HTTPSPort:       p.listeners.httpsPort(),
		PublicHTTPPort:  c.PublicHTTPPort,
		PublicHTTPSPort: c.PublicHTTPSPort,
		NoHTTPS:         p.listeners.noHTTPS,
		ACME:            c.ACME,
	}
	options.Spool.Dir = c.SpoolDir
	options.ACME.Cache, options.ACME.Hold = p.certificateCache(), p.hold
	options.ACME.DNS = c.ACMEDNS.DNS(p.logger)
	options.ACME.CacheAt = func(dir string) autocert.Cache { return certstore.At(dir) }
	if !c.NoAccessLog {
		options.Observe = p.log.Observe
	}
	if len(c.Notify.URLs) > 0 {
		addHooks(&options, nil, p.notifier.Notify)
	}
	var m *metrics.Metrics
	if p.listeners.metrics != nil {
		m = metrics.New()
		m.CountNotifications(p.notifier.Counts)
		if c.KamalMetrics {
			m.CountAsKamal()
		}
		addHooks(&options, m.Observe, m.Notify)
	}
	if p.listeners.page != nil {
		s.page = newPageServer()
		s.page.addHooks(&options)
	}
	s.membership = s.newMembership(c, p, &options)
	s.proxy = parachute.New(options)
	if m != nil {
		m.SetProxy(s.proxy)
		s.addMonitoring(c, p, m)
	}
	if s.page != nil {
		s.page.show(c, s.proxy, p)
		s.control.Page = "http://" + s.page.server.listener.Addr().String() + "/"
	}
	commands := s.control.HTTPServer(s.proxy)
	commands.ErrorLog = slog.NewLogLogger(p.logger.Handler(), slog.LevelError)
	s.commands = newOperatorServer(commands, p.commands.Acceptor(), s.control.EndStreams)
	s.addFrontends(c, p)
	return s
}
