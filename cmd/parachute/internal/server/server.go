// Package server is the proxy as a process: its listeners, and the order in
// which everything starts and stops.
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
	"strconv"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/accesslog"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
)

// A Config says what to run.
type Config struct {
	// Version is what the proxy says that it is.
	Version string

	// DataDir is the folder of the state; it is made if it is missing. One
	// proxy at a time may have it.
	DataDir string

	// Socket is the path of the control socket, and SocketOptions who may
	// speak to it.
	Socket        string
	SocketOptions control.SocketOptions

	// Bind is the address to listen on; the zero Addr is every address of
	// the machine.
	Bind netip.Addr

	// HTTPPort is the port for HTTP; 0 is any free one.
	HTTPPort uint16

	// ShutdownTimeout bounds how long running requests may take once Run was
	// told to stop. If 0, 30 s; if negative, they are cut off at once.
	ShutdownTimeout time.Duration

	// TrustedProxies and MaxHeld are handed to parachute.Options.
	TrustedProxies []netip.Prefix
	MaxHeld        int

	// Output gets the log, lines in LogFormat.
	Output    io.Writer
	LogFormat accesslog.Format

	// NoAccessLog leaves out the line per request, and Debug puts in what
	// helps to find out what is wrong.
	NoAccessLog bool
	Debug       bool
}

// Limits of the server that the clients meet. It sets none on bodies and
// answers: an upload or an event stream may take its time.
const (
	// A head comes in one packet or a few. Who needs longer for it is on a
	// line too bad to be served, or holds connections open on purpose.
	readHeaderTimeout = 10 * time.Second

	// Longer than the minute after which common load balancers close their
	// idle connections: were ours the shorter, they would send a request on
	// a connection that we are just closing.
	idleTimeout = 2 * time.Minute

	maxHeaderBytes = 64 << 10
)

// farewell bounds what is left to be said when everything has ended: handlers
// that were cut off answer 504 and write a line to the log, and the control
// plane tells how changes ended.
const farewell = 2 * time.Second

// Run runs the proxy until ctx ends, or until a listener fails, whose error it
// returns. Either way running requests finish first, for as long as
// ShutdownTimeout lets them. If the proxy cannot start, Run says why and leaves
// nothing behind: no lock, no socket, no listener.
func Run(ctx context.Context, c Config) (err error) {
	store, err := state.Open(c.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	log := accesslog.New(c.Output, c.LogFormat)
	defer func() { err = errors.Join(err, log.Close()) }()
	s := newServer(c, log, store)
	services, warnings, err := store.Load()
	for _, w := range warnings {
		s.logger.Warn(w)
	}
	if err != nil {
		return err
	}
	commands, err := control.Listen(c.Socket, c.SocketOptions)
	if err != nil {
		return err
	}
	defer commands.Close()
	requests, err := listen(c.Bind, c.HTTPPort)
	if err != nil {
		return err
	}
	defer requests.Close()

	if err := s.proxy.Restore(services); err != nil {
		s.logger.Error("not every service could be restored", "error", err)
	}
	s.logger.Info("started", "version", c.Version, "pid", os.Getpid(),
		"socket", c.Socket, "data_dir", c.DataDir, "services", len(services))
	s.logger.Info("listening", "protocol", "http", "address", requests.Addr().String())
	return s.serve(ctx, commands, requests)
}

// listen returns a bare TCP listener: only the *net.TCPConn that it accepts
// can be spliced to a target's.
func listen(ip netip.Addr, port uint16) (net.Listener, error) {
	host := ""
	if ip.IsValid() {
		host = ip.String()
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	return l, nil
}

// server is what Run runs. Until serve is called nothing does.
type server struct {
	shutdownTimeout time.Duration
	logger          *slog.Logger
	proxy           *parachute.Proxy
	control         *control.Server
	commands        *http.Server // serves control
	requests        *http.Server // serves proxy
	handlers        atomic.Int64 // that run, also those of hijacked connections
}

func newServer(c Config, log *accesslog.Log, store *state.Store) *server {
	level := slog.LevelInfo
	if c.Debug {
		level = slog.LevelDebug
	}
	handler := log.Handler(level)
	s := &server{
		shutdownTimeout: cmp.Or(c.ShutdownTimeout, 30*time.Second),
		logger:          slog.New(handler),
		control:         control.NewServer(c.Version),
	}
	options := parachute.Options{
		Logger:         s.logger,
		Commit:         store.Save,
		Notify:         s.control.Notify,
		UserAgent:      "parachute/" + c.Version,
		TrustedProxies: c.TrustedProxies,
		MaxHeld:        c.MaxHeld,
	}
	if !c.NoAccessLog {
		options.Observe = log.Observe
	}
	s.proxy = parachute.New(options)
	s.commands = s.control.HTTPServer(s.proxy)
	s.commands.ErrorLog = slog.NewLogLogger(handler, slog.LevelError)
	s.requests = &http.Server{
		Handler:           http.HandlerFunc(s.handle),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// What it says is about clients, and any client can make it say so.
		ErrorLog: slog.NewLogLogger(handler, slog.LevelDebug),
	}
	return s
}

func (s *server) handle(w http.ResponseWriter, r *http.Request) {
	s.handlers.Add(1)
	defer s.handlers.Add(-1)
	s.proxy.ServeHTTP(w, r)
}

// awaitHandlers returns when no handler runs any more, or ctx ends.
func (s *server) awaitHandlers(ctx context.Context) {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for s.handlers.Load() > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// serve serves until ctx ends or a listener fails, then stops everything and
// waits for it.
func (s *server) serve(ctx context.Context, commands, requests net.Listener) error {
	ended := make(chan error, 2)
	go accept(s.commands, commands, ended)
	go accept(s.requests, requests, ended)

	var err error
	running := 2
	select {
	case <-ctx.Done():
		s.logger.Info("stopping", "shutdown_timeout", max(s.shutdownTimeout, 0).String())
	case err = <-ended:
		running--
		s.logger.Error("stopping", "error", err)
	}
	s.stop()
	for range running {
		<-ended
	}
	s.logger.Info("stopped")
	return err
}

// accept serves l until that fails or server is shut down.
func accept(server *http.Server, l net.Listener, ended chan<- error) {
	ended <- server.Serve(l)
}

// stop ends everything, requests first.
func (s *server) stop() {
	s.control.Refuse()
	ctx, cancel := context.WithTimeout(context.Background(), max(s.shutdownTimeout, 0))
	defer cancel()
	// One waits for connections, the other for what the first does not see
	// or would wait for in vain: hijacked connections and event streams.
	drained := make(chan error, 1)
	go shutdown(ctx, s.proxy, drained)
	err := errors.Join(s.requests.Shutdown(ctx), <-drained)
	if err != nil {
		s.logger.Warn("requests were cut off", "error", err)
	}
	s.close("proxy", s.proxy.Close())

	last, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	s.awaitHandlers(last)
	if s.requests.Shutdown(last) != nil {
		s.close("http", s.requests.Close())
	}
	if s.commands.Shutdown(last) != nil {
		s.close("control", s.commands.Close())
	}
}

func shutdown(ctx context.Context, p *parachute.Proxy, done chan<- error) {
	done <- p.Shutdown(ctx)
}

// close says that something could not be closed in good order. There is
// nothing else to be done about it: the process ends.
func (s *server) close(what string, err error) {
	if err != nil {
		s.logger.Warn("closing", "what", what, "error", err)
	}
}
