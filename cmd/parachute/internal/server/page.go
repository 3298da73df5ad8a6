package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/page"
)

// A PageConfig says where the page to look at is served, and to whom.
type PageConfig struct {
	// Port is the port of the page; 0 is none, and a negative one is any free one.
	Port int

	// Bind is the address to listen on; the zero Addr is 127.0.0.1.
	Bind netip.Addr

	// Hosts are the names that clients may use, beside those of the loopback interface.
	Hosts []string

	// Allows reports whether a request has the password of a user. If nil, nobody needs
	// one, and nothing is shown that an app or a client has said.
	Allows func(ctx context.Context, h http.Header) (bool, error)
}

// pageServer serves the page.
type pageServer struct {
	recorder *page.Recorder
	page     *page.Page
	server   *operatorServer
}

// newPageServer returns the server of the page, without a proxy.
func newPageServer() *pageServer { return &pageServer{recorder: page.NewRecorder()} }

// addHooks makes the hooks of o call the recorder as well.
func (p *pageServer) addHooks(o *parachute.Options) {
	addHooks(o, p.recorder.Observe, p.recorder.Notify)
}

// show makes p serve the page about a proxy.
func (p *pageServer) show(c Config, proxy *parachute.Proxy, parts parts) {
	config := page.Config{
		Recorder:     p.recorder,
		Services:     proxy.Services,
		Certificates: proxy.Certificates,
		Command:      commandOf,
		History:      proxy.History,
		Hosts:        c.Page.Hosts,
		Allows:       c.Page.Allows,
		Version:      c.Version,
		Logs: func(ctx context.Context, service string, lines int, write func([]byte) error) error {
			return parts.log.Tail(ctx, service, lines, false, write)
		},
	}
	p.page = page.New(config)
	server := &http.Server{
		Handler:  p.page,
		ErrorLog: slog.NewLogLogger(parts.logger.Handler(), slog.LevelDebug),
	}
	c.Limits.normalize().apply(server)
	p.server = newOperatorServer(server, parts.listeners.page.NewAcceptor(), p.page.Close)
}

// serve serves the page until the server is shut down.
func (p *pageServer) serve(services func() []parachute.Status) error {
	ctx, stop := context.WithCancel(context.Background())
	recording := make(chan struct{})
	go p.record(ctx, services, recording)
	err := p.server.serve()
	stop()
	<-recording
	return err
}

func (p *pageServer) record(ctx context.Context, services func() []parachute.Status, done chan<- struct{}) {
	defer close(done)
	p.recorder.Run(ctx, services)
}
