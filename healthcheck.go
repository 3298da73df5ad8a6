package parachute

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/grpc"
	"github.com/shahnk19/parachute/internal/resolve"
	"github.com/shahnk19/parachute/internal/upstream"
)

// A prober sends the health checks of one target, the way that its traffic
// goes, but each on a connection of its own.
type prober struct {
	endpoint endpoint
	name     *resolve.Name // of the host; nil: it has none to be looked up
	upstream upstream.Options
	url      string
	path     string
	host     string
	header   http.Header
	call     []byte // what is sent to a gRPC server; nil: it is a GET
	first    int    // of the statuses that pass
	last     int
	timeout  time.Duration
}

// newProber returns the prober of the target at an endpoint, whose traffic goes
// as by u, to where name leads.
func newProber(at endpoint, u upstream.Options, d Deployment, agent string, hop []string, name *resolve.Name) *prober {
	u.DialTimeout, u.ResponseTimeout = -1, 0 // the probe's own time-out is for all of it
	u.Vital = true                           // or targets would be given up in a crowd
	authority := u.Address
	if port := d.HealthCheck.Port; port != 0 {
		name, _, _ := net.SplitHostPort(u.Address)
		u.Address = net.JoinHostPort(name, strconv.Itoa(port))
		authority = u.Address
	}
	scheme := "http"
	switch {
	case u.Network == "unix":
		authority = "localhost"
	case u.TLS != nil:
		scheme = "https"
	}
	header := http.Header{"User-Agent": {agent}, "Connection": {"close"}, "X-Parachute-Hop": hop}
	if policyOf(d).isSecure() {
		// An app that insists on TLS would redirect the probe otherwise.
		header["X-Forwarded-Proto"] = []string{"https"}
	}
	for _, h := range d.HealthCheck.Headers {
		name, value, _ := strings.Cut(h, ":")
		header.Add(name, strings.TrimSpace(value))
	}
	path := d.HealthCheck.Path
	var call []byte
	if d.HealthCheck.GRPC {
		path, call = grpc.HealthPath, grpc.HealthRequest(d.HealthCheck.GRPCService)
	}
	first, last, _ := d.HealthCheck.passing()
	return &prober{
		endpoint: at,
		name:     name,
		first:    first,
		last:     last,
		upstream: u,
		call:     call,
		url:      scheme + "://" + authority + path,
		path:     path,
		host:     cmp.Or(d.HealthCheck.Host, authority),
		header:   header,
		timeout:  d.HealthCheck.Timeout,
	}
}

// probe asks the target once.
func (p *prober) probe(ctx context.Context) Probe {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	saw := Probe{Time: time.Now(), URL: p.url, Host: p.host}
	if p.name == nil {
		p.ask(ctx, p.upstream, &saw)
	} else {
		p.askByName(ctx, &saw)
	}
	saw.Took = time.Since(saw.Time)
	return saw
}

// askByName is ask for a target that has a name, and may have several addresses:
// one of them is what was asked.
func (p *prober) askByName(ctx context.Context, saw *Probe) {
	type dialled struct {
		addr netip.Addr
		err  error
	}
	first := make(chan dialled, 1)
	u := p.upstream
	u.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := p.upstream.Dial(ctx, network, address)
		d := dialled{err: err}
		if err == nil {
			remote, _ := conn.RemoteAddr().(*net.TCPAddr)
			d.addr = remote.AddrPort().Addr()
		}
		select {
		case first <- d:
		default:
		}
		return conn, err
	}
	p.ask(ctx, u, saw)
	select {
	case d := <-first:
		if d.err == nil || !isOurs(d.err) {
			p.name.Judge(d.addr, saw.Passed)
		}
	default:
	}
}

// isOurs reports whether an error of a dial says nothing of the addresses that
// were to be connected to: none was known, or we have no descriptor left.
func isOurs(err error) bool {
	_, ok := errors.AsType[*net.DNSError](err)
	return ok || descriptors.IsShortage(err)
}

// ask asks the target that u leads to.
func (p *prober) ask(ctx context.Context, u upstream.Options, saw *Probe) {
	method, header := http.MethodGet, p.header
	if p.call != nil {
		method, header = http.MethodPost, p.callHeader()
	}
	r, err := http.NewRequestWithContext(ctx, method, p.url, bytes.NewReader(p.call))
	if err != nil {
		saw.Error = err.Error()
		return
	}
	r.Host = p.host
	conns := p.endpoint.open(u)
	defer conns.Close()
	resp, err := conns.Exchange(r, p.path, field.ViewOf(header), func(int, http.Header) {})
	if err != nil {
		saw.Error, saw.Cause = p.reason(ctx, err)
		return
	}
	defer resp.Body.Close()
	saw.Status = resp.StatusCode
	if p.call != nil && resp.StatusCode == http.StatusOK && field.IsGRPC(resp.Header) {
		p.askedCall(ctx, resp, saw)
		return
	}
	saw.Location = resp.Header.Get("Location")
	saw.Passed = p.first <= resp.StatusCode && resp.StatusCode <= p.last
	// What comes after is read too, within reason, so that the target does
	// not log a connection that broke.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	saw.Body = strings.ToValidUTF8(string(body[:min(len(body), 200)]), "\uFFFD")
	if p.call != nil {
		saw.Passed, saw.Cause = false, CauseNotGRPC
	} else if !saw.Passed {
		saw.Cause = causeOf(resp.StatusCode, saw.Location, string(body))
	}
}

// callHeader returns the header of a gRPC call.
func (p *prober) callHeader() http.Header {
	h := p.header.Clone()
	h["Content-Type"] = []string{grpc.ContentType}
	h["Te"] = []string{"trailers"}
	if ms := p.timeout.Milliseconds(); ms > 0 && ms < 1e8 { // eight digits are the most
		h["Grpc-Timeout"] = []string{strconv.FormatInt(ms, 10) + "m"}
	}
	return h
}

// askedCall sees what a gRPC server has answered.
func (p *prober) askedCall(ctx context.Context, resp *http.Response, saw *Probe) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		saw.Status = 0
		saw.Error, saw.Cause = p.reason(ctx, err)
		return
	}
	status, ok := grpc.StatusOf(resp.Header, resp.Trailer)
	if !ok {
		saw.GRPC, saw.Cause = "no grpc-status", CauseNotGRPC
		return
	}
	if status.Code != grpc.OK {
		saw.GRPC, saw.Cause = status.String(), causeOfCode(status.Code)
		return
	}
	health, err := grpc.ParseHealth(body)
	switch {
	case err != nil:
		saw.GRPC, saw.Cause = err.Error(), CauseNotGRPC
	case health == grpc.HealthServing:
		saw.GRPC, saw.Passed = health.String(), true
	default:
		saw.GRPC, saw.Cause = health.String(), CauseNotServing
	}
}

// causeOfCode tells why a gRPC server did not say how it is.
func causeOfCode(code grpc.Code) Cause {
	switch code {
	case grpc.Unimplemented:
		return CauseNoHealth
	case grpc.NotFound:
		return CauseUnknownService
	case grpc.Unauthenticated:
		return CauseUnauthorized
	case grpc.PermissionDenied:
		return CauseForbidden
	}
	return CauseServerError
}

// reason tells why there was no answer.
func (p *prober) reason(ctx context.Context, err error) (string, Cause) {
	if ctx.Err() != nil {
		return fmt.Sprintf("none within %v", p.timeout), CauseTimeout
	}
	cause := causeOfError(err)
	if p.call != nil && cause == CauseMalformed {
		cause = CauseNotGRPC
	}
	if e := (*upstream.Error)(nil); errors.As(err, &e) {
		err = e.Err // its reason goes without saying
	}
	return err.Error(), cause
}

// causeOfError tells by an error of an exchange why there was no answer.
func causeOfError(err error) Cause {
	var (
		failure *upstream.Error
		name    *net.DNSError
		record  tls.RecordHeaderError
		verify  *tls.CertificateVerificationError
	)
	switch isFailure := errors.As(err, &failure); {
	case descriptors.IsShortage(err):
		return CauseShortage
	case errors.As(err, &name):
		return CauseUnknownHost
	case errors.Is(err, upstream.ErrNoHTTP2):
		return CauseNotGRPC
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist): // of a unix socket
		return CauseRefused
	case errors.As(err, &record):
		return CauseSpeaksPlain
	case errors.As(err, &verify):
		return CauseCertificate
	case errors.Is(err, upstream.ErrTLS):
		return CauseSpeaksTLS
	case isFailure && failure.Reason == upstream.Dial:
		return CauseUnreachable
	case isFailure && failure.Reason == upstream.Malformed:
		return CauseMalformed
	case strings.Contains(err.Error(), "looked like an HTTP/1.1 header"): // of net/http, where HTTP/2 was asked
		return CauseMalformed
	}
	return CauseNoAnswer
}

// causeOf tells why an answer did not pass.
func causeOf(status int, location, body string) Cause {
	switch {
	case status == http.StatusBadRequest && wantsTLS.MatchString(body):
		return CauseSpeaksTLS
	case location != "" && 300 <= status && status <= 399:
		return CauseRedirect
	case status == http.StatusUnauthorized:
		return CauseUnauthorized
	case status == http.StatusForbidden:
		return CauseForbidden
	case status == http.StatusNotFound:
		return CauseNotFound
	case status >= 500:
		return CauseServerError
	}
	return CauseStatus
}

// wantsTLS matches what net/http, nginx and Apache answer on a port for TLS to
// who does not speak it.
var wantsTLS = regexp.MustCompile(`(?i)(HTTP request to an HTTPS server|HTTP request was sent to HTTPS port|speaking plain HTTP to an SSL-enabled)`)

// hint says what to try for the target of a service that has that host.
func (t UnhealthyTarget) hint(host string) string {
	if t.Last == nil {
		return "the deploy ended before the first answer: give --deploy-timeout more than --health-check-timeout, or see why the target takes so long"
	}
	if t.Last.method() == http.MethodPost {
		if hint := t.Last.callHint(); hint != "" {
			return hint
		}
	}
	path, at := pathOf(t.Last.URL), t.Address
	if asked, err := url.Parse(t.Last.URL); err == nil && !strings.HasPrefix(at, "unix:") {
		at = asked.Host // its port may be another
	}
	switch t.Last.Cause {
	case CauseRefused:
		return fmt.Sprintf("nothing listens on %s: see whether the app runs, and listens on that port for others than localhost", at)
	case CauseUnknownHost:
		return fmt.Sprintf("the proxy finds no address for the name in %s: see its spelling, and whether the proxy and the app are on one network", at)
	case CauseUnreachable:
		return fmt.Sprintf("there is no way from the proxy to %s: see the address, and whether both are on one network", at)
	case CauseShortage:
		return "the proxy has too many files open, and could not ask: " + descriptors.HowToRaise
	case CauseTimeout:
		return "the target takes the request and does not answer, or something in between swallows it: look at the app's log and at firewalls, or give it longer with --health-check-timeout"
	case CauseNoAnswer:
		return fmt.Sprintf("the target hangs up without an answer: look at the app's log, and see whether that is its port for HTTP; if it speaks TLS there, deploy it as https://%s", strings.TrimPrefix(t.Address, "https://"))
	case CauseSpeaksTLS:
		return fmt.Sprintf("the target speaks TLS: deploy it as https://%s", t.Address)
	case CauseSpeaksPlain:
		return fmt.Sprintf("the target does not speak TLS: deploy it as %s", strings.TrimPrefix(t.Address, "https://"))
	case CauseCertificate:
		return "the target's certificate is not trusted: name who vouches for it with --target-ca, or the name in it with --target-server-name, or accept any with --target-insecure"
	case CauseMalformed:
		if plain, ok := strings.CutPrefix(t.Address, "h2c://"); ok {
			return fmt.Sprintf("the target does not speak HTTP/2 without TLS: deploy it as %s", plain)
		}
		return "what answers there does not speak HTTP/1.1: see whether that is the app's port for HTTP"
	case CauseRedirect:
		if strings.HasPrefix(t.Last.Location, "https://") {
			return fmt.Sprintf("the app redirects plain requests; exclude %s from force_ssl, or use --health-check-path", path)
		}
		return fmt.Sprintf("the app redirects %s: name a path that it answers itself with --health-check-path, or let redirects pass with --health-check-status 200-399", path)
	case CauseUnauthorized:
		return fmt.Sprintf("the app wants a password for %s: exempt it from that, name another with --health-check-path, or send one with --health-check-header", path)
	case CauseForbidden:
		return fmt.Sprintf("the app refuses the request, perhaps because of its host, %s: allow that in the app, or send another with --health-check-host %s", t.Last.Host, cmp.Or(host, "HOST"))
	case CauseNotFound:
		return fmt.Sprintf("the app has nothing at %s: add that, or name another path with --health-check-path", path)
	case CauseServerError:
		if t.Last.Status == http.StatusLoopDetected {
			return fmt.Sprintf("%s leads back to this proxy: name the address and port that the app itself listens on", at)
		}
		return "the app fails: look at its log; if it only takes longer to start, give it longer with --deploy-timeout"
	}
	if t.Last.Status == 0 {
		return "there was no answer: see whether the app runs, and can be reached from the proxy"
	}
	return "the app answers, but not with what counts as healthy: see --health-check-status and --health-check-path"
}

// callHint is hint for what only a gRPC health check sees; "": it was something else.
func (p *Probe) callHint() string {
	switch p.Cause {
	case CauseNotGRPC:
		return "what answers there does not speak gRPC: see whether that is the app's port for it, or check the app without --health-check-grpc"
	case CauseNoAnswer:
		return "the target hangs up without an answer: look at the app's log, and see whether that is its port for gRPC; if it speaks TLS there, deploy it as https://, and otherwise as h2c://"
	case CauseNotServing:
		return "the app says that it is not ready: look at its log; if it only takes longer to start, give it longer with --deploy-timeout"
	case CauseNoHealth:
		return "the server has no grpc.health.v1.Health: register the health service of your gRPC library in it"
	case CauseUnknownService:
		return "the server keeps no health of that service: have it set one, see the spelling, or give --health-check-grpc no name, which asks for the server as a whole"
	case CauseUnauthorized, CauseForbidden:
		return fmt.Sprintf("the app does not let everybody ask for its health: exempt %s from that, or send what it wants with --health-check-header", grpc.HealthPath)
	}
	return ""
}

// answer tells what the target answered, but not to what.
func (p *Probe) answer() string {
	switch {
	case p.Cause == CauseTimeout:
		return p.Error
	case p.Status == 0:
		return "none: " + p.Error
	case p.GRPC != "":
		return p.GRPC
	case p.Location != "":
		return fmt.Sprintf("%d to %s", p.Status, p.Location)
	case p.Body != "" && !p.Passed:
		return fmt.Sprintf("%d %q", p.Status, p.Body)
	}
	return strconv.Itoa(p.Status)
}

// agentName returns the User-Agent of probes: parachute and the version that
// this program was built with.
func agentName() string {
	const path = "github.com/shahnk19/parachute"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "parachute"
	}
	for _, m := range append(slices.Clone(info.Deps), &info.Main) {
		if m.Path == path && m.Version != "" && m.Version != "(devel)" {
			return "parachute/" + m.Version
		}
	}
	return "parachute/devel"
}

// probe probes until ctx ends: at once, then after 50, 100, 200 ms and so on
// up to the interval until the target is healthy, and from then on at the
// interval.
func (t *target) probe(ctx context.Context) {
	defer close(t.stopped)
	eager := 50 * time.Millisecond
	for {
		saw := t.prober.probe(ctx)
		if ctx.Err() != nil {
			return // it tells nothing of the target
		}
		if t.name != nil {
			t.conns.CloseStale() // the probe has looked it up
		}
		t.watch.saw(t, saw, t.learn(saw))
		if t.healthy.Load() {
			eager = t.check.Interval
		}
		pause := time.NewTimer(min(eager, t.check.Interval))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
		eager = min(2*eager, t.check.Interval)
	}
}

// news is what a probe tells that was not known.
type news struct {
	probes  int  // how many of the target have ended
	changed bool // the target's health is another now
}

// learn keeps a probe.
func (t *target) learn(saw Probe) (n news) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.probes++
	n.probes = t.probes
	if saw.Cause == CauseShortage {
		if t.last == nil || t.last.Cause == CauseShortage {
			t.last = &saw // for there is nothing better to tell
		}
		return n
	}
	if t.last == nil || t.last.Passed != saw.Passed {
		t.streak = 0
	}
	t.last = &saw
	t.streak++
	now, needed := HealthUnhealthy, t.check.Fall
	if saw.Passed {
		now, needed = HealthHealthy, t.check.Rise
		n.changed = t.recoverLocked()
	}
	if now == t.health || t.streak < needed {
		return n
	}
	t.health, t.since = now, time.Now()
	t.healthy.Store(saw.Passed)
	n.changed = true
	return n
}

// A watch follows the probes of the targets that one deploy brought.
type watch struct {
	notify    func(Event)
	shortages *descriptors.Reporter
	began     time.Time
	limit     time.Duration // of the wait; 0: there is none
	waiting   atomic.Bool   // a deploy waits, so every probe is an event
	changed   chan struct{} // has room for one: some target's health has changed

	// Restored targets serve before anything is known of them; for a moment
	// it pays to wait.
	settled  chan struct{} // closed when waiting does not pay any more
	settling sync.Once
	unprobed atomic.Int64 // targets of which no probe has ended
}

func newWatch(targets int, waiting bool, limit time.Duration, notify func(Event)) *watch {
	w := &watch{notify: notify, began: time.Now(), limit: max(limit, 0), changed: make(chan struct{}, 1), settled: make(chan struct{})}
	w.waiting.Store(waiting)
	w.unprobed.Store(int64(targets))
	return w
}

func (w *watch) settle() { w.settling.Do(func() { close(w.settled) }) }

// saw is told of each probe of t, by the goroutine that sent it.
func (w *watch) saw(t *target, saw Probe, n news) {
	if saw.Cause == CauseShortage {
		w.shortages.Report("a target could not be probed", errors.New(saw.Error))
	}
	waiting := w.waiting.Load()
	e := Event{Kind: EventProbed, Target: t.address, Probe: &saw}
	if waiting {
		e.Probes, e.Elapsed, e.Limit = n.probes, time.Since(w.began), w.limit
		w.notify(e)
	}
	switch e.Limit = 0; {
	case n.changed && saw.Passed:
		e.Kind = EventHealthy
		w.notify(e)
	case n.changed && !waiting:
		e.Kind = EventUnhealthy
		w.notify(e)
	}
	if n.probes == 1 && w.unprobed.Add(-1) == 0 || saw.Passed {
		w.settle()
	}
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// awaitHealthy returns nil as soon as all targets are healthy at once, an
// *UnhealthyError when d's Timeouts.Deploy has passed, or the cause of ctx's
// end.
func (w *watch) awaitHealthy(ctx context.Context, targets []*target, d Deployment) error {
	defer w.waiting.Store(false)
	limit := d.Timeouts.Deploy
	var timeout <-chan time.Time
	if limit >= 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		timeout = timer.C
	}
	for !allHealthy(targets) {
		select {
		case <-w.changed:
		case <-timeout:
			if err := unhealthy(targets, d); len(err.Targets) > 0 {
				return err
			}
			return nil // the last one made it just now
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func allHealthy(targets []*target) bool {
	return !slices.ContainsFunc(targets, func(t *target) bool { return !t.healthy.Load() })
}

// unhealthy tells what was seen of the targets of d that are not healthy.
func unhealthy(targets []*target, d Deployment) *UnhealthyError {
	err := &UnhealthyError{Waited: d.Timeouts.Deploy}
	if i := slices.IndexFunc(d.Hosts, func(host string) bool { return !strings.HasPrefix(host, "*.") }); i >= 0 {
		err.Host = d.Hosts[i]
	}
	for _, t := range targets {
		if u, ok := t.unhealthy(); ok {
			err.Targets = append(err.Targets, u)
		}
	}
	return err
}

func (t *target) unhealthy() (UnhealthyTarget, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return UnhealthyTarget{Address: t.address, Probes: t.probes, Last: t.last}, t.health != HealthHealthy
}
