package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"log"
	"log/slog"
	"net"
	"net/http"

	"github.com/quic-go/quic-go"

	"github.com/shahnk19/parachute/cmd/parachute/internal/http2"
	"github.com/shahnk19/parachute/cmd/parachute/internal/tcp"
)

// A frontend serves clients over one protocol.
type frontend struct {
	protocol string
	listener *tcp.Listener // nil: it is served over UDP
	serve    func() error  // serves until it fails, or server is retired or shut down
	server   interface {
		// Retire takes no more connections, and has those end that there are.
		Retire()
		Shutdown(ctx context.Context) error
		Close() error
	}
}

// addFrontends adds the frontends for each listener for clients. Where further
// listeners name services, these are served there, and nowhere else.
func (s *server) addFrontends(c Config, p parts) {
	l, b := p.listeners, frontendBuilder{
		limits: c.Limits.normalize(),
		// The servers log errors of clients, which any client can cause.
		errorLog: slog.NewLogLogger(p.logger.Handler(), slog.LevelDebug),
	}
	b.resetKey = newResetKey(p.affinityKey)
	b.uploads = newUploadLimiter(b.limits.Unread, p.logger)
	handle := s.handle(s.proxy)
	if named := c.dedicated(); len(named) > 0 {
		handle = s.handle(s.proxy.Except(named...))
	}
	s.frontends = append(s.frontends, b.plain(l.http, handle))
	for _, f := range l.further {
		own := handle
		if len(f.services) > 0 {
			own = s.handle(s.proxy.Only(f.services...))
		}
		s.frontends = append(s.frontends, b.plain(f.Listener, own))
	}
	if l.https == nil {
		return
	}
	config := s.proxy.TLSConfig().Clone()
	config.MinVersion = cmp.Or(c.MinTLSVersion, tls.VersionTLS12)
	s.tickets.Use(config)
	s.frontends = append(s.frontends, b.secure(l.https, config, s.withAltSvc(handle)))
	if l.quic == nil {
		return
	}
	s.altSvc = altSvc(cmp.Or(c.PublicHTTPSPort, l.httpsPort()))
	own, err := l.datagrams()
	if err != nil {
		p.logger.Error("HTTP/3 is not served", "error", err)
		return
	}
	s.quicConn = own
	s.frontends = append(s.frontends, b.quic(own, config.Clone(), handle, p.logger, p.datagrams))
}

// A frontendBuilder makes frontends that share limits.
type frontendBuilder struct {
	limits   Limits // normalized
	uploads  *uploadLimiter
	errorLog *log.Logger
	resetKey *quic.StatelessResetKey
}

// plain returns the frontend of a listener without TLS.
func (b frontendBuilder) plain(l *tcp.Listener, handler http.HandlerFunc) frontend {
	return b.tcp("http", l, nil, handler)
}

// secure returns the frontend of a listener with TLS.
func (b frontendBuilder) secure(l *tcp.Listener, config *tls.Config, handler http.HandlerFunc) frontend {
	return b.tcp("https", l, config, handler)
}

func (b frontendBuilder) tcp(protocol string, l *tcp.Listener, config *tls.Config, handler http.HandlerFunc) frontend {
	accepted := l.NewAcceptor()
	s := &tcpServer{b.limits.newHTTP1(handler), &http2.Server{New: b.newHTTP2(handler)}}
	s.one.TLSConfig, s.one.HTTP2, s.one.ErrorLog = config, s.two.Serve, b.errorLog
	return frontend{protocol, l, func() error { return s.serve(accepted) }, s}
}

// newHTTP2 returns what makes servers of HTTP/2.
func (b frontendBuilder) newHTTP2(handler http.HandlerFunc) func() *http.Server {
	handler = b.uploads.countBodies(b.limits.check(handler))
	return func() *http.Server {
		s := &http.Server{Handler: handler, ConnContext: b.uploads.tcpContext, ErrorLog: b.errorLog}
		b.limits.apply(s)
		return s
	}
}

// quic returns the frontend of a UDP port for HTTP/3. It reads nothing before free is
// closed.
func (b frontendBuilder) quic(c net.PacketConn, config *tls.Config, handler http.HandlerFunc, logger *slog.Logger, free <-chan struct{}) frontend {
	server := newQUICServer(b.uploads.countBodies(b.limits.check(handler)))
	server.server.ConnContext = b.uploads.quicContext(b.limits.quicWindow())
	server.server.TLSConfig, server.resetKey = config, b.resetKey
	server.server.Logger = logger
	b.limits.applyQUIC(server.server)
	return frontend{"http3", nil, func() error { return server.serve(c, free) }, server}
}

// handle returns h as a handler whose calls are counted while they run.
func (s *server) handle(h http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.handlers.Add(1)
		defer s.handlers.Add(-1)
		h.ServeHTTP(w, r)
	}
}

// withAltSvc returns next as the handler of requests over TLS and TCP.
func (s *server) withAltSvc(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.altSvc != nil {
			w.Header()["Alt-Svc"] = s.altSvc
		}
		next(w, r)
	}
}
