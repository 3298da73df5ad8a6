package server

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
	"github.com/shahnk19/parachute/cmd/parachute/internal/systemd"
	"github.com/shahnk19/parachute/cmd/parachute/internal/tcp"
	"github.com/shahnk19/parachute/internal/descriptors"
)

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

// A ListenError says that Run could not listen for a protocol.
type ListenError struct {
	Protocol string // http, https, http3, metrics, page, or --listen for a FurtherListener
	Err      error
}

func (e *ListenError) Error() string { return e.Protocol + ": " + e.Err.Error() }
func (e *ListenError) Unwrap() error { return e.Err }

// listeners are the listeners for clients, and for the metrics port and the page.
type listeners struct {
	http    *tcp.Listener
	further []further
	https   *tcp.Listener  // nil without HTTPS
	quic    net.PacketConn // nil without HTTP/3

	metrics *tcp.Listener // nil without a metrics port
	page    *tcp.Listener // nil without a page

	noHTTPS error // why there is no HTTPS

	quotas quotas
	given  *handover.Sockets // used where they suit, before others are opened
	names  []string          // of those in given that somebody else keeps open
	kept   []*tcp.Listener   // what they have become

	suspended []*tcp.Listener // at which the next process does not listen
}

// further is the listener of a FurtherListener.
type further struct {
	*tcp.Listener
	services []string
}

// quotas limit how many connections may be open.
type quotas struct {
	clients  *tcp.Quota
	monitors *tcp.Quota // on the metrics port
}

// newQuotas returns quotas that fit the limit of file descriptors. When one is
// used up, it is logged.
func newQuotas(logger *slog.Logger) quotas {
	limit := descriptors.Limit()
	ofClients, ofMonitors := descriptors.NewReporter(logger), descriptors.NewReporter(logger)
	q := quotas{
		clients: tcp.NewQuota(descriptors.Clients(limit), func(open int, err error) {
			ofClients.Report("clients wait to be accepted", err, "clients", open)
		}),
		monitors: tcp.NewQuota(descriptors.Monitors(limit), func(open int, err error) {
			ofMonitors.Report("connections wait on the metrics port", err, "connections", open)
		}),
	}
	q.monitors.Vital = true
	return q
}

// listenAll returns the listeners that c asks for, or none and an error.
func listenAll(c Config, q quotas) (*listeners, error) {
	l := &listeners{quotas: q, given: cmp.Or(c.Sockets, new(handover.Sockets)), names: c.Kept}
	err := l.listenPlain(c)
	if err == nil && c.HTTPSPort < 0 {
		l.noHTTPS = errors.New("HTTPS is turned off by --https-port -1")
		return l, nil
	}
	if err == nil {
		err = l.listenTLS(c)
	}
	var refused *ListenError
	if c.HTTPSOptional && errors.As(err, &refused) && refused.Protocol == "https" {
		l.noHTTPS = fmt.Errorf("HTTPS is not served, because port %d could not be opened when the proxy started (%w): choose one with run --https-port", c.HTTPSPort, refused.Err)
		return l, nil
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// listenPlain listens for HTTP, on all ports, and on the metrics port.
func (l *listeners) listenPlain(c Config) error {
	var err error
	if l.http, err = l.listen(handover.HTTP, at(c.Bind, int(c.HTTPPort)), l.quotas.clients); err != nil {
		return &ListenError{"http", err}
	}
	for _, f := range c.Further {
		bound, err := l.listen(handover.Further, c.furtherAddress(f), l.quotas.clients)
		if err != nil {
			return &ListenError{"--listen", err}
		}
		l.further = append(l.further, further{bound, f.Services})
	}
	if c.MetricsPort != 0 {
		if l.metrics, err = l.listen(handover.Metrics, at(c.Bind, max(c.MetricsPort, 0)), l.quotas.monitors); err != nil {
			return &ListenError{"metrics", err}
		}
	}
	if c.Page.Port != 0 {
		ip := c.Page.Bind
		if !ip.IsValid() {
			ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		if l.page, err = l.listen(handover.Page, at(ip, max(c.Page.Port, 0)), l.quotas.monitors); err != nil {
			return &ListenError{"page", err}
		}
	}

	return nil
}

// freePortAttempts is how many free TCP ports are tried to find one that is free
// for UDP too.
const freePortAttempts = 10

// listenTLS listens for HTTPS, and for HTTP/3 on the same port.
func (l *listeners) listenTLS(c Config) error {
	for attempt := 1; ; attempt++ {
		https, err := l.listen(handover.HTTPS, at(c.Bind, c.HTTPSPort), l.quotas.clients)
		if err != nil {
			return &ListenError{"https", err}
		}
		if !c.HTTP3 {
			l.https = https
			return nil
		}
		quic, err := l.listenPacket(handover.HTTP3, at(c.Bind, portOf(https)))
		if err == nil {
			l.https, l.quic = https, quic
			return nil
		}
		https.Close()
		if c.HTTPSPort != 0 || attempt == freePortAttempts || !errors.Is(err, syscall.EADDRINUSE) {
			return &ListenError{"http3", err}
		}
	}
}

// listen returns the listener that was given for an address, or opens one.
func (l *listeners) listen(name string, want netip.AddrPort, q *tcp.Quota) (*tcp.Listener, error) {
	given, err := l.given.Listener(name, suits(want))
	if err != nil {
		return nil, err
	}
	if given != nil {
		bound := tcp.NewListener(given.(*net.TCPListener), q)
		if slices.Contains(l.names, name) {
			l.kept = append(l.kept, bound)
		}
		return bound, nil
	}
	return tcp.Listen(joinHostPort(want), q)
}

// listenPacket is listen for UDP.
func (l *listeners) listenPacket(name string, want netip.AddrPort) (net.PacketConn, error) {
	given, err := l.given.PacketConn(name, suits(want))
	if given != nil || err != nil {
		return given, err
	}
	for until := time.Now().Add(packetPatience); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.ListenPacket("udp", joinHostPort(want))
		if want.Port() == 0 || !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(until) {
			return c, err
		}
	}
}

// packetPatience is how long a process that ends may take to give up its UDP port, if it
// has no requests there.
const packetPatience = 2 * time.Second

// datagrams returns another descriptor of the UDP socket, which outlives whoever reads
// from it.
func (l *listeners) datagrams() (net.PacketConn, error) {
	copied := new(handover.Sockets)
	defer copied.Close()
	if err := copied.Duplicate(handover.HTTP3, l.quic.(*net.UDPConn)); err != nil {
		return nil, err
	}
	return copied.PacketConn(handover.HTTP3, func(net.Addr) bool { return true })
}

// suits returns a func that reports whether what is bound to an address may be used
// where want is asked for.
func suits(want netip.AddrPort) func(net.Addr) bool {
	return func(bound net.Addr) bool {
		switch a := bound.(type) {
		case *net.TCPAddr:
			return systemd.Suits(a.AddrPort(), want)
		case *net.UDPAddr:
			return systemd.Suits(a.AddrPort(), want)
		}
		return false
	}
}

func at(ip netip.Addr, port int) netip.AddrPort { return netip.AddrPortFrom(ip, uint16(port)) }

// furtherAddress returns where f is to listen.
func (c Config) furtherAddress(f FurtherListener) netip.AddrPort {
	if !f.Address.Addr().IsValid() {
		return netip.AddrPortFrom(c.Bind, f.Address.Port())
	}
	return f.Address
}

func joinHostPort(a netip.AddrPort) string {
	host := ""
	if a.Addr().IsValid() {
		host = a.Addr().String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(a.Port())))
}

func portOf(l *tcp.Listener) int { return int(addrPort(l).Port()) }

func addrPort(l *tcp.Listener) netip.AddrPort { return l.Addr().(*net.TCPAddr).AddrPort() }

// httpsPort returns where HTTPS is served, or 0 if it is not.
func (l *listeners) httpsPort() int {
	if l.https == nil {
		return 0
	}
	return portOf(l.https)
}

// addresses returns the TCP addresses for clients.
func (l *listeners) addresses() []netip.AddrPort {
	addrs := []netip.AddrPort{addrPort(l.http)}
	if l.https != nil {
		addrs = append(addrs, addrPort(l.https))
	}
	for _, f := range l.further {
		addrs = append(addrs, addrPort(f.Listener))
	}
	return addrs
}

// log logs the address of each listener.
func (l *listeners) log(logger *slog.Logger) {
	logger.Info("listening", "protocol", "http", "address", l.http.Addr().String())
	for _, f := range l.further {
		attrs := []any{"protocol", "http", "address", f.Addr().String()}
		if len(f.services) > 0 {
			attrs = append(attrs, "services", f.services)
		}
		logger.Info("listening", attrs...)
	}
	if l.https != nil {
		logger.Info("listening", "protocol", "https", "address", l.https.Addr().String())
	}
	if l.quic != nil {
		logger.Info("listening", "protocol", "http3", "address", l.quic.LocalAddr().String())
	}
	if l.metrics != nil {
		logger.Info("listening", "protocol", "metrics", "address", l.metrics.Addr().String())
	}
	if l.page != nil {
		logger.Info("listening", "protocol", "page", "address", l.page.Addr().String())
	}
}

// forClients returns the TCP listeners for clients.
func (l *listeners) forClients() []*tcp.Listener {
	all := []*tcp.Listener{l.http, l.https}
	for _, f := range l.further {
		all = append(all, f.Listener)
	}
	return slices.DeleteFunc(all, func(l *tcp.Listener) bool { return l == nil })
}

// finish closes the TCP listeners for clients as their Finish does, and returns then.
// Those that somebody else keeps open are only let go of.
func (l *listeners) finish() {
	var finishing sync.WaitGroup
	for _, bound := range l.forClients() {
		finishing.Go(func() {
			if slices.Contains(l.kept, bound) {
				bound.Leave()
			} else {
				bound.Finish()
			}
		})
	}
	finishing.Wait()
}

// suspend has clients refused at a listener until resume, once all are accepted that have
// connected to it. One that somebody else keeps open stays as it is.
func (l *listeners) suspend(bound *tcp.Listener) {
	if !slices.Contains(l.kept, bound) && bound.Suspend() == nil {
		l.suspended = append(l.suspended, bound)
	}
}

// resume undoes suspend for all listeners.
func (l *listeners) resume() error {
	var errs []error
	for _, bound := range l.suspended {
		errs = append(errs, bound.Resume())
	}
	l.suspended = nil
	return errors.Join(errs...)
}

// closeOwn closes the listeners that are not for clients, but for whoever watches this
// process.
func (l *listeners) closeOwn() {
	for _, bound := range []*tcp.Listener{l.metrics, l.page} {
		if bound != nil {
			bound.Close()
		}
	}
}

// close closes all listeners. Those that are closed already are no problem.
func (l *listeners) close() {
	for _, bound := range l.forClients() {
		bound.Close()
	}
	if l.metrics != nil {
		l.metrics.Close()
	}
	if l.page != nil {
		l.page.Close()
	}
	if l.quic != nil {
		l.quic.Close()
	}
}
