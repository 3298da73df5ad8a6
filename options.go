package parachute

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/wire"
)

// Options say how a Proxy works. The zero value is ready for use.
type Options struct {
	// Logger gets what an operator wants to read later: switches, drains,
	// changes of health, services that could not be restored. If nil,
	// nothing is logged. Requests are not logged; see Observe.
	Logger *slog.Logger

	// Commit is called with all that a restart must hand to Restore,
	// immediately before a change is published, and never twice at once.
	// An error refuses the change: nothing is published, and the error is
	// what the caller of Deploy or Remove gets. If nil, nothing is kept.
	Commit func([]Status) error

	// Observe is called exactly once for every request, when it has ended,
	// also when it was cut off or its handler panicked. It runs on the
	// request's goroutine, and neither the request nor Outcome.Header may be
	// kept after it returns.
	Observe func(*http.Request, Outcome)

	// Notify is called for everything that happens to a service: in order
	// for one service, and never twice at once. It runs on the goroutine
	// where it happened, so it must not block, nor call the Proxy.
	Notify func(Event)

	// Dial connects to targets, for requests and health checks alike. If
	// nil, a net.Dialer does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// UserAgent is sent with health checks. If empty, "parachute/" and the
	// version of this module as the program was built with it.
	UserAgent string

	// NotFound answers requests that no service claims. If nil, they get a
	// plain 404.
	NotFound http.Handler

	// MaxHeld is how many requests of one service may wait as Timeouts.Hold
	// says; those above are answered 502 at once. If 0, 1000; if negative,
	// none may.
	MaxHeld int

	// TrustedProxies are the peers whose X-Forwarded-For, -Proto and -Host
	// are believed and passed on; from everybody else they are replaced. If
	// nil, loopback and private addresses are trusted; if empty, nobody is.
	TrustedProxies []netip.Prefix
}

// A Deployment is what Deploy is asked to bring into service. It is plain
// data: it travels as JSON, durations as strings such as "30s".
type Deployment struct {
	// Service names what is deployed; a deploy of a name that is in service
	// replaces what it served. Required: at most 128 bytes of letters, digits
	// and marks, but no '/', no white space, and neither "." nor "..".
	Service string `json:"service"`

	// Targets are what to send requests to: host:port, or unix:/path of a
	// socket, for plain HTTP/1.1; https://host:port for HTTP/1.1 over TLS; or
	// h2c://host:port for HTTP/2 without TLS, as gRPC servers speak it.
	// Required; a deploy succeeds when all of them are healthy.
	Targets []string `json:"targets"`

	// TargetTLS says how https:// targets are verified.
	TargetTLS TargetTLS `json:"target_tls,omitzero"`

	// Hosts are the names that the service answers for. Case, port, a final
	// dot, and the spelling of an international name do not matter.
	// "*.example.com" stands for any one label below example.com. Empty
	// means every host that no other service claims.
	Hosts []string `json:"hosts,omitempty"`

	// HealthCheck says how to ask a target whether it is healthy.
	HealthCheck HealthCheck `json:"health_check,omitzero"`

	// Timeouts bound each phase of the deploy and of a request.
	Timeouts Timeouts `json:"timeouts,omitzero"`

	// Force switches to the targets without waiting for them to be healthy.
	Force bool `json:"force,omitempty"`
}

// TargetTLS says how the targets that speak TLS are verified. If it is zero,
// the system's certificate authorities must vouch for the target's host name.
type TargetTLS struct {
	// CAFile is the absolute path of a file with the certificate authorities,
	// in PEM form, that are trusted instead. It is read when the service is
	// deployed, and when it is restored.
	CAFile string `json:"ca_file,omitempty"`

	// ServerName is asked for and verified in place of the target's host.
	ServerName string `json:"server_name,omitempty"`

	// Insecure has any certificate accepted.
	Insecure bool `json:"insecure,omitempty"`
}

// A HealthCheck says how targets are probed. A probe is a GET on a connection
// of its own that follows no redirect; any 2xx passes.
type HealthCheck struct {
	// Path is the request target of a probe; if empty, "/up".
	Path string `json:"path,omitempty"`

	// Port is the port to probe; if 0, the target's own.
	Port int `json:"port,omitempty"`

	// Host is sent as the Host header; if empty, the target's address, or
	// localhost for a unix socket.
	Host string `json:"host,omitempty"`

	// Interval is the pause between probes, and the longest pause while a
	// deploy waits, which begins with shorter ones. If 0, 1 s.
	Interval time.Duration `json:"interval,omitzero"`

	// Timeout bounds a probe from dialling to its answer. If 0, 5 s.
	Timeout time.Duration `json:"timeout,omitzero"`

	// Rise is how many probes in a row must pass to make a target healthy,
	// Fall how many must fail to make it unhealthy. If 0, 1.
	Rise int `json:"rise,omitempty"`
	Fall int `json:"fall,omitempty"`
}

// Timeouts are the time limits of a Deployment.
type Timeouts struct {
	// Deploy bounds the wait for the targets to become healthy. If 0, 30 s;
	// if negative, only the context bounds it.
	Deploy time.Duration `json:"deploy,omitzero"`

	// Drain is how long requests running on the previous targets may take
	// after the switch before they are cut off. If 0, 30 s; if negative,
	// they are cut off at once.
	Drain time.Duration `json:"drain,omitzero"`

	// Stream is how long upgraded connections and event streams may outlive
	// the ordinary requests. If 0, they are closed when those are done,
	// spread over at most one second; if positive, the closes are spread
	// over its last tenth; if negative, they are closed at the switch.
	Stream time.Duration `json:"stream,omitzero"`

	// Response bounds the wait for a target's answer to begin, from the last
	// byte of the request sent. If 0, 30 s; if negative, there is no limit.
	Response time.Duration `json:"response,omitzero"`

	// Hold is how long a request waits for a service that no connection can
	// be made to, such as one whose only target is being restarted, before
	// it is answered 502. If 0, 5 s; if negative, it does not wait.
	Hold time.Duration `json:"hold,omitzero"`
}

// State says what a service does with its requests.
type State string

const (
	StateServing State = "serving" // they go to its targets
	StateFailed  State = "failed"  // it could not be restored; they are answered 503
)

// A Status is what is known of a service: what was asked for, which is what
// Commit gets and Restore takes, and under Live what is going on.
type Status struct {
	Service    string     `json:"service"`
	Generation uint64     `json:"generation"` // the number of the deploy that it serves; higher is newer, across all services
	State      State      `json:"state"`
	Deployment Deployment `json:"deployment"`
	Error      string     `json:"error,omitempty"` // why State is StateFailed
	Live       *Live      `json:"live,omitempty"`  // nil in what Commit gets; ignored by Restore
}

// clone returns a Status that shares no memory with s but for Live.
func (s Status) clone() Status {
	s.Deployment.Targets = slices.Clone(s.Deployment.Targets)
	s.Deployment.Hosts = slices.Clone(s.Deployment.Hosts)
	return s
}

// Live is what goes on in a service at the moment of asking.
type Live struct {
	Targets []TargetStatus `json:"targets"`
}

// TargetStatus is the present state of one target.
type TargetStatus struct {
	Address  string `json:"address"`
	Health   Health `json:"health"`
	Requests int64  `json:"requests"`        // in flight, streams aside
	Streams  int64  `json:"streams"`         // upgraded connections and event streams that are open
	Probe    *Probe `json:"probe,omitempty"` // the last one; nil before the first
}

// Health is what the probes of a target have shown.
type Health string

const (
	HealthUnknown   Health = "unknown" // no probe has ended yet
	HealthHealthy   Health = "healthy"
	HealthUnhealthy Health = "unhealthy"
)

// A Probe is what one health check saw.
type Probe struct {
	Time     time.Time     `json:"time"`               // when it began
	Took     time.Duration `json:"took"`               // until its answer, or until it was given up
	URL      string        `json:"url"`                // what was asked
	Host     string        `json:"host"`               // the Host header that was sent
	Status   int           `json:"status,omitempty"`   // of the answer; 0: there was none
	Location string        `json:"location,omitempty"` // of the answer
	Body     string        `json:"body,omitempty"`     // the first 200 bytes of the answer's
	Error    string        `json:"error,omitempty"`    // why there was no answer
	Passed   bool          `json:"passed"`
}

// String tells what the target answered, as the end of a sentence: "GET /up
// answered 301 to https://app1.example.com/up".
func (p Probe) String() string {
	path := p.URL
	if _, rest, ok := strings.Cut(path, "://"); ok {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			path = rest[i:]
		}
	}
	switch {
	case p.Status == 0:
		return fmt.Sprintf("GET %s got no answer: %s", path, p.Error)
	case p.Location != "":
		return fmt.Sprintf("GET %s answered %d to %s", path, p.Status, p.Location)
	case p.Body != "" && !p.Passed:
		return fmt.Sprintf("GET %s answered %d %q", path, p.Status, p.Body)
	}
	return fmt.Sprintf("GET %s answered %d", path, p.Status)
}

// An Outcome is how a request ended.
type Outcome struct {
	Service    string        // empty: no service claimed it
	Target     string        // empty: it was sent to none
	Prefix     string        // the path prefix that was stripped
	Generation uint64        // of the service
	Status     int           // as the client got it; 0: no answer began
	Reason     string        // why the proxy answered itself or cut the request off; empty: neither
	BytesIn    int64         // of the request's body
	BytesOut   int64         // of the answer's body
	Duration   time.Duration // in all
	FirstByte  time.Duration // until the target's answer began; 0: none did
	Retries    int           // how often it was sent again
	Client     netip.Addr    // who sent it, as TrustedProxies tell
	RequestID  string        // as sent to the target in X-Request-ID
	Header     http.Header   // of the answer
	Err        error         // what went wrong
}

// EventKind says what an Event is about.
type EventKind string

const (
	EventDeploying EventKind = "deploying" // a deploy has its generation and waits for its targets
	EventProbed    EventKind = "probed"    // a probe ended, while a deploy waits
	EventHealthy   EventKind = "healthy"   // a target became healthy
	EventUnhealthy EventKind = "unhealthy" // a target in service stopped being healthy
	EventSwitched  EventKind = "switched"  // all new requests go to this generation
	EventDraining  EventKind = "draining"  // the replaced generation is being waited for
	EventDrained   EventKind = "drained"   // it has ended; Requests and Streams are what had to be cut off
	EventRemoved   EventKind = "removed"   // the service takes no requests any more
	EventFailed    EventKind = "failed"    // a deploy was refused, or a service could not be restored; Err tells why
)

// An Event is something that happened to a service.
type Event struct {
	Time       time.Time
	Service    string
	Generation uint64 // of the deploy or removal that it belongs to
	Kind       EventKind
	Target     string // the one concerned, if it is one
	Probe      *Probe // in EventProbed, EventHealthy and EventUnhealthy
	Requests   int64  // in EventDraining and EventDrained
	Streams    int64  // likewise: upgraded connections and event streams
	Err        error
}

// Errors of Deploy, Remove and Restore. What is returned wraps one of them and
// says more; tell them apart by errors.Is.
var (
	ErrInvalid    = errors.New("invalid") // a value that cannot be: the message names the field
	ErrConflict   = errors.New("host is used by another service")
	ErrUnhealthy  = errors.New("target did not become healthy") // see UnhealthyError
	ErrNotFound   = errors.New("no such service")
	ErrSuperseded = errors.New("superseded")   // a newer change of the service came first
	ErrClosed     = errors.New("proxy closed") // by Shutdown or Close
)

// A ConflictError says which service has the host. It wraps ErrConflict.
type ConflictError struct {
	Host  string `json:"host"`  // "" is any host
	Owner string `json:"owner"` // serves it, or is being deployed to
}

func (e *ConflictError) Error() string {
	if e.Host == "" {
		return fmt.Sprintf("requests for any host go to service %s already: name the hosts of this one, or remove %[1]s first", e.Owner)
	}
	return fmt.Sprintf("host %s is used by another service: %s; remove that one first", e.Host, e.Owner)
}

func (e *ConflictError) Unwrap() error { return ErrConflict }

// An UnhealthyError says what each target that did not become healthy in time
// answered. It wraps ErrUnhealthy.
type UnhealthyError struct {
	Waited  time.Duration     `json:"waited"`
	Targets []UnhealthyTarget `json:"targets"`
}

// An UnhealthyTarget is one of an UnhealthyError.
type UnhealthyTarget struct {
	Address string `json:"address"`
	Probes  int    `json:"probes"`         // how many have ended
	Last    *Probe `json:"last,omitempty"` // nil: none has
}

func (e *UnhealthyError) Error() string {
	var b strings.Builder
	for i, t := range e.Targets {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s did not become healthy in %v: ", t.Address, e.Waited)
		if t.Last == nil {
			b.WriteString("its first probe was not answered")
			continue
		}
		fmt.Fprintf(&b, "%v (%d probes)", t.Last, t.Probes)
	}
	return b.String()
}

func (e *UnhealthyError) Unwrap() error { return ErrUnhealthy }

// fault is one of the sentinels with a sentence of its own in its place.
type fault struct {
	sentinel error
	text     string
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.sentinel }

// faultf returns an error that reads as the format says and is sentinel.
func faultf(sentinel error, format string, args ...any) error {
	return &fault{sentinel, fmt.Sprintf(format, args...)}
}

// normalize returns o with the defaults where nothing was asked for.
func (o Options) normalize() Options {
	o.UserAgent = cmp.Or(o.UserAgent, agentName())
	o.MaxHeld = cmp.Or(o.MaxHeld, 1000)
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.TrustedProxies == nil {
		o.TrustedProxies = forward.NearbyPrefixes()
	}
	return o
}

// normalize returns d complete: hosts in their canonical form, and the
// defaults where nothing was asked for. What cannot be is ErrInvalid, and the
// error says what would be right. To normalize twice changes nothing.
func (d Deployment) normalize() (Deployment, error) {
	if err := checkServiceName(d.Service); err != nil {
		return d, err
	}
	if len(d.Targets) == 0 {
		return d, faultf(ErrInvalid, "no target: name at least one as host:port, such as web-1:3000")
	}
	if err := d.checkTargets(); err != nil {
		return d, err
	}
	d.Targets = slices.Clone(d.Targets)
	hosts := make([]string, 0, len(d.Hosts))
	for _, h := range d.Hosts {
		name, err := canonicalPattern(h)
		if err != nil {
			return d, err
		}
		if !slices.Contains(hosts, name) {
			hosts = append(hosts, name)
		}
	}
	d.Hosts = hosts

	var err error
	if d.HealthCheck, err = d.HealthCheck.normalize(); err != nil {
		return d, err
	}
	d.Timeouts.Deploy = cmp.Or(d.Timeouts.Deploy, 30*time.Second)
	d.Timeouts.Drain = cmp.Or(d.Timeouts.Drain, 30*time.Second)
	d.Timeouts.Response = cmp.Or(d.Timeouts.Response, 30*time.Second)
	d.Timeouts.Hold = cmp.Or(d.Timeouts.Hold, 5*time.Second)
	return d, nil
}

// checkTargets returns why the targets, or what is said of them all, cannot be.
func (d Deployment) checkTargets() error {
	var unix, secure bool
	for i, t := range d.Targets {
		at, err := parseTarget(t)
		if err != nil {
			return err
		}
		if slices.Contains(d.Targets[:i], t) {
			return faultf(ErrInvalid, "target %s is named twice: name each once", t)
		}
		unix = unix || at.network == "unix"
		secure = secure || at.scheme == "https"
	}
	switch {
	case unix && d.HealthCheck.Port != 0:
		return faultf(ErrInvalid, "health check port %d: a target on a unix socket has no port", d.HealthCheck.Port)
	case !secure && d.TargetTLS != (TargetTLS{}):
		return faultf(ErrInvalid, "target TLS: none of the targets is an https:// one")
	case d.TargetTLS.CAFile != "" && !filepath.IsAbs(d.TargetTLS.CAFile):
		return faultf(ErrInvalid, "target CA %q: want an absolute path", d.TargetTLS.CAFile)
	case d.TargetTLS.CAFile != "" && d.TargetTLS.Insecure:
		return faultf(ErrInvalid, "target CA %s: it is of no use where targets are not verified", d.TargetTLS.CAFile)
	}
	return nil
}

func (h HealthCheck) normalize() (HealthCheck, error) {
	h.Path = cmp.Or(h.Path, "/up")
	h.Interval = cmp.Or(h.Interval, time.Second)
	h.Timeout = cmp.Or(h.Timeout, 5*time.Second)
	h.Rise, h.Fall = cmp.Or(h.Rise, 1), cmp.Or(h.Fall, 1)
	switch {
	case h.Path[0] != '/':
		return h, faultf(ErrInvalid, "health check path %q: want one that begins with '/', such as /up", h.Path)
	case !isRequestTarget(h.Path):
		return h, faultf(ErrInvalid, "health check path %q: write a space, a '#' and what is not ASCII as %%xx, as in /up%%20now", h.Path)
	case h.Port < 0 || h.Port > 65535:
		return h, faultf(ErrInvalid, "health check port %d: want 1 to 65535, or 0 for the target's own", h.Port)
	case !isHostHeader(h.Host):
		return h, faultf(ErrInvalid, "health check host %q: want a host name, such as app1.example.com", h.Host)
	case h.Interval < 0 || h.Timeout < 0:
		return h, faultf(ErrInvalid, "health check interval %v and timeout %v: want more than 0", h.Interval, h.Timeout)
	case h.Rise < 0 || h.Fall < 0:
		return h, faultf(ErrInvalid, "health check rise %d and fall %d: want at least 1", h.Rise, h.Fall)
	}
	return h, nil
}

// isRequestTarget reports whether path can stand in a request line as it is.
func isRequestTarget(path string) bool {
	return !strings.ContainsFunc(path, func(c rune) bool { return c <= ' ' || c > '~' || c == '#' })
}

// isHostHeader reports whether h may be sent as a Host header; empty means
// none of its own.
func isHostHeader(h string) bool {
	return !strings.ContainsFunc(h, func(c rune) bool {
		return c <= ' ' || c > '~' || strings.ContainsRune("/?#@\\,", c)
	})
}

func checkServiceName(name string) error {
	switch {
	case name == "":
		return faultf(ErrInvalid, "no service name: want one such as web")
	case len(name) > 128:
		return faultf(ErrInvalid, "service name of %d bytes: want at most 128", len(name))
	case name == "." || name == "..":
		return faultf(ErrInvalid, "service name %q: want letters in it, such as web", name)
	}
	for _, c := range name {
		if c == '/' || c == utf8.RuneError || !unicode.IsGraphic(c) || unicode.IsSpace(c) {
			return faultf(ErrInvalid, "service name %q has %q in it: want no '/', white space or control characters, such as web", name, c)
		}
	}
	return nil
}

// The types that hold a duration travel through a view of themselves in which
// it is a wire.Duration.

func (h HealthCheck) MarshalJSON() ([]byte, error)     { return json.Marshal(h.view()) }
func (h *HealthCheck) UnmarshalJSON(b []byte) error    { return wire.Unmarshal(b, h.view()) }
func (t Timeouts) MarshalJSON() ([]byte, error)        { return json.Marshal(t.view()) }
func (t *Timeouts) UnmarshalJSON(b []byte) error       { return wire.Unmarshal(b, t.view()) }
func (p Probe) MarshalJSON() ([]byte, error)           { return json.Marshal(p.view()) }
func (p *Probe) UnmarshalJSON(b []byte) error          { return wire.Unmarshal(b, p.view()) }
func (e UnhealthyError) MarshalJSON() ([]byte, error)  { return json.Marshal(e.view()) }
func (e *UnhealthyError) UnmarshalJSON(b []byte) error { return wire.Unmarshal(b, e.view()) }

func (h *HealthCheck) view() any {
	type plain HealthCheck
	return &struct {
		*plain
		Interval *wire.Duration `json:"interval,omitzero"`
		Timeout  *wire.Duration `json:"timeout,omitzero"`
	}{(*plain)(h), (*wire.Duration)(&h.Interval), (*wire.Duration)(&h.Timeout)}
}

func (t *Timeouts) view() any {
	return &struct {
		Deploy   *wire.Duration `json:"deploy,omitzero"`
		Drain    *wire.Duration `json:"drain,omitzero"`
		Stream   *wire.Duration `json:"stream,omitzero"`
		Response *wire.Duration `json:"response,omitzero"`
		Hold     *wire.Duration `json:"hold,omitzero"`
	}{
		(*wire.Duration)(&t.Deploy), (*wire.Duration)(&t.Drain), (*wire.Duration)(&t.Stream),
		(*wire.Duration)(&t.Response), (*wire.Duration)(&t.Hold),
	}
}

func (p *Probe) view() any {
	type plain Probe
	return &struct {
		*plain
		Took *wire.Duration `json:"took"`
	}{(*plain)(p), (*wire.Duration)(&p.Took)}
}

func (e *UnhealthyError) view() any {
	type plain UnhealthyError
	return &struct {
		*plain
		Waited *wire.Duration `json:"waited"`
	}{(*plain)(e), (*wire.Duration)(&e.Waited)}
}
