package parachute

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute/internal/admission"
	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/grpc"
	"github.com/shahnk19/parachute/internal/headers"
	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/split"
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

	// Dial opens every connection that the Proxy makes: to targets, for
	// requests and health checks alike, to where a TLS.AskURL leads, and to
	// the ACME directory. The address is host:port as it was deployed, so Dial
	// looks names up itself, and nobody but it knows where they lead: a
	// connection is used again whatever its name leads to by then.
	//
	// If nil, a net.Dialer does, and the names of targets are looked up with
	// net.DefaultResolver. A connection to an address that a target's name does
	// not have any more is not used again. While no name server answers, the
	// addresses of the last answer serve, each until its health checks fail;
	// and for 30 s where a name is not known any more.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Listening are the addresses that requests come to the Proxy by, as far as
	// they are known; "0.0.0.0" and "::" stand for every address of the machine,
	// the latter for those of IPv4, too. A target that is one of them is refused.
	Listening []netip.AddrPort

	// UserAgent is sent with health checks. If empty, "parachute/" and the
	// version of this module as the program was built with it.
	UserAgent string

	// NotFound answers requests that no service claims. If nil, they get the
	// page for 404.
	NotFound http.Handler

	// ErrorPages are the proxy's own pages, where a service has none in
	// Deployment.ErrorPages: templates named 404.html, 5xx.html and the like,
	// which are given .Status, .Message and .RequestID. If nil, or where it
	// lacks one, there is a built-in page.
	ErrorPages *template.Template

	// Spool says where and how much may be buffered.
	Spool Spool

	// MaxHeld is how many requests of one service may wait, for targets as
	// Timeouts.Hold says, or because the service is paused; those above are
	// answered at once, with 502 and 503. If 0, 1000; if negative, none may.
	MaxHeld int

	// TrustedProxies are the peers whose X-Forwarded-For, -Proto and -Host
	// are believed and passed on; from everybody else they are replaced. If
	// nil, loopback and private addresses are trusted; if empty, nobody is.
	TrustedProxies []netip.Prefix

	// HTTPSPort is the port that redirects to https:// name, which is where
	// clients reach what serves TLSConfig. If 0, 443.
	HTTPSPort int

	// NoHTTPS, if not nil, says why nothing serves TLSConfig: a Deployment
	// that asks for TLS is refused with it, and restored services are served
	// without. If nil, it is taken that something does.
	NoHTTPS error

	// ACME says where automatic certificates come from.
	ACME ACME
}

// Spool says where bodies that are buffered go, and bounds them over all
// requests.
type Spool struct {
	// Dir is the folder of the files that hold what Buffer.Memory does not.
	// They have no names there. If empty, that of temporary files.
	Dir string

	// MaxMemory bounds the bytes in memory, above which files are used. If 0,
	// 64 MiB; if negative, there is no limit.
	MaxMemory int64

	// MaxSpool bounds the bytes in files. What is more has no room: a request
	// is answered 503, an answer passed on as it comes, see
	// Outcome.Unbuffered. If 0, 4 GiB; if negative, there is no limit.
	MaxSpool int64
}

// ACME says how certificates are obtained from a certificate authority that
// speaks ACME (RFC 8555). The zero value asks Let's Encrypt and keeps nothing
// beyond the life of the Proxy. To deploy with automatic TLS is to agree to the
// authority's terms of service.
//
// A certificate is renewed when a third of its life is left, or 30 days,
// whichever is less. A name that was obtained once is renewed until the process
// ends, even when no service has it any more.
type ACME struct {
	// Cache keeps certificates, the account's key and answers to challenges,
	// and may be shared by several machines: each then answers for all. If
	// nil, they are kept in memory. What belongs to another Directory than
	// Let's Encrypt's has the directory's host and a "+" before its key.
	//
	// If Cache also has the method
	//
	//	Lock(ctx context.Context, name string) (unlock func(), err error)
	//
	// that is called before a certificate for name is ordered, so that of
	// those who share the Cache only one does. An error is reported, and the
	// order made all the same.
	Cache autocert.Cache

	// CacheAt opens the folder that a TLS.CacheDir names. If nil, it is an
	// [autocert.DirCache].
	CacheAt func(dir string) autocert.Cache

	// Directory is the URL of the authority. If empty, Let's Encrypt's.
	Directory string

	// Email is where the authority writes to about problems. It may be empty.
	Email string

	// ExternalAccount binds the account to one that the authority knows by
	// other means (RFC 8555, section 7.3.4). If nil, it is not bound.
	ExternalAccount *acme.ExternalAccountBinding

	// RootCAs are whom the authority's own server is verified by. If nil,
	// the system's.
	RootCAs *x509.CertPool
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

	// ReadTargets are more of them, which get GET and HEAD alone: those of
	// clients that have written nothing within Timeouts.WriterAffinity. Where
	// none of them is healthy, Targets serve.
	ReadTargets []string `json:"read_targets,omitempty"`

	// ReadWebSockets has ReadTargets get WebSockets as well, which begin with
	// a GET.
	ReadWebSockets bool `json:"read_websockets,omitempty"`

	// TargetTLS says how https:// targets are verified.
	TargetTLS TargetTLS `json:"target_tls,omitzero"`

	// Hosts are the names that the service answers for. Case, port, a final
	// dot, and the spelling of an international name do not matter.
	// "*.example.com" stands for any one label below example.com. Empty
	// means every host that no other service claims.
	Hosts []string `json:"hosts,omitempty"`

	// PathPrefixes narrow the service down to the paths below them: /api has
	// /api and /api/x, but not /apiary. Of the services that share a host, a
	// request goes to the one with the longest prefix that it is below.
	// Prefixes are compared segment by segment, each with its escapes
	// decoded. Empty means every path of the hosts.
	PathPrefixes []string `json:"path_prefixes,omitempty"`

	// KeepPrefix has the target see the path as the client sent it. Otherwise
	// the prefix is cut off, and sent in X-Forwarded-Prefix.
	KeepPrefix bool `json:"keep_prefix,omitempty"`

	// TLS says how the service's hosts are served over HTTPS.
	TLS TLS `json:"tls,omitzero"`

	// CanonicalHost is the one of Hosts that requests for the others are
	// redirected to. If empty, there is none, or the one that another service
	// with the same host names.
	CanonicalHost string `json:"canonical_host,omitempty"`

	// Redirects send requests for a path of the service elsewhere.
	Redirects []Redirect `json:"redirects,omitempty"`

	// HealthCheck says how to ask a target whether it is healthy.
	HealthCheck HealthCheck `json:"health_check,omitzero"`

	// Timeouts bound each phase of the deploy and of a request.
	Timeouts Timeouts `json:"timeouts,omitzero"`

	// NoWebSocketClose has WebSockets cut where they are closed by the Proxy.
	// Otherwise client and target each get a Close frame with status 1001
	// (going away) before, between two frames, and have a second to answer it:
	// then the client knows that it may come back. It holds for what is
	// replaced by the Deployment as well, and for what was opened under it.
	NoWebSocketClose bool `json:"no_websocket_close,omitempty"`

	// Buffer says what of a request waits until all of it is there.
	Buffer Buffer `json:"buffer,omitzero"`

	// MaxRequestBody and MaxResponseBody bound bodies, in bytes, buffered or
	// not. A request above is answered 413, a response 502, or is cut off
	// where it has begun. If 0, there is no limit.
	MaxRequestBody  int64 `json:"max_request_body,omitempty"`
	MaxResponseBody int64 `json:"max_response_body,omitempty"`

	// Access says who may use the service.
	Access Access `json:"access,omitzero"`

	// Forwarded says whom to believe what a request has been through.
	Forwarded Forwarded `json:"forwarded,omitzero"`

	// Headers says what to change in the headers of requests and answers.
	Headers Headers `json:"headers,omitzero"`

	// ErrorPages is the absolute path of a folder with the pages that the
	// proxy answers with in the service's place: 404.html, 5xx.html and the
	// like, as Options.ErrorPages. They are read when the service is deployed,
	// and when it is restored.
	ErrorPages string `json:"error_pages,omitempty"`

	// Report says what of the requests is reported. The Proxy does nothing
	// with it but hand it to Observe, in Outcome.Deployment.
	Report Report `json:"report,omitzero"`

	// Force switches to the targets without waiting for them to be healthy.
	Force bool `json:"force,omitempty"`
}

// A Redirect sends requests for one path elsewhere: with 301 for GET and HEAD,
// with 308 for every other method.
type Redirect struct {
	From string `json:"from"` // a path as the client sends it, without query
	To   string `json:"to"`   // a path or an absolute URL; the query is kept where it has none
}

// Buffer says what is kept until all of it is there, so that a slow client
// does not occupy a target.
type Buffer struct {
	Requests  bool `json:"requests,omitempty"`
	Responses bool `json:"responses,omitempty"` // but for event streams, answers of unknown length, gRPC and those that say X-Accel-Buffering: no

	// Memory is how much of a body is kept in memory, in bytes; what is above
	// goes to a file. If 0, 1 MiB; if negative, all of it goes there.
	Memory int64 `json:"memory,omitempty"`
}

// Access says who may use a service. Challenges of the certificate authority
// are everybody's; health checks of the Proxy itself do not come this way.
type Access struct {
	// Allow and Deny are networks such as "10.0.0.0/8", or addresses. If Allow
	// is not empty, only what it has gets in; what Deny has never does. The
	// address is that of the connection, or where Options.TrustedProxies is
	// not nil, that of the client as those tell it.
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`

	// BasicAuthFile is the absolute path of an htpasswd file with bcrypt
	// hashes. It is read when the service is deployed, and when it is
	// restored. If empty, no password is asked for.
	BasicAuthFile string `json:"basic_auth_file,omitempty"`
}

// Trust says whose X-Forwarded-For, -Proto and -Host are believed.
type Trust string

const (
	TrustProxies   Trust = ""          // those of Options.TrustedProxies
	TrustEverybody Trust = "everybody" // anybody's
	TrustNobody    Trust = "nobody"    // nobody's
)

// Forwarded says whom a service believes what a request has been through: for
// what its targets are told, and whether a request came over TLS.
type Forwarded struct {
	Trust Trust `json:"trust,omitempty"`

	// ClientHeader names a header in which a trusted peer tells the client's
	// address, such as CF-Connecting-IP. It goes before X-Forwarded-For.
	ClientHeader string `json:"client_header,omitempty"`
}

// Headers says what to change in headers. A rule is "set NAME: VALUE" or "del
// NAME"; they are followed in order. What the proxy has to say itself cannot be
// changed.
type Headers struct {
	Request  []string `json:"request,omitempty"`
	Response []string `json:"response,omitempty"`

	// HSTS is sent as Strict-Transport-Security over TLS (RFC 6797), such as
	// "max-age=31536000". If empty, what the target sends is passed on.
	HSTS string `json:"hsts,omitempty"`

	// ScopeCookies puts the stripped prefix in front of the Path of cookies.
	ScopeCookies bool `json:"scope_cookies,omitempty"`
}

// Report says what of the requests of a service is reported.
type Report struct {
	RequestHeaders      []string `json:"request_headers,omitempty"`       // to be logged
	ResponseHeaders     []string `json:"response_headers,omitempty"`      // likewise
	ExcludeMetricsPaths []string `json:"exclude_metrics_paths,omitempty"` // not to be counted, as the target sees them
}

// A Rollout is a second version of a service, beside the first. What it does
// not have follows the service's Deployment.
type Rollout struct {
	Targets     []string `json:"targets"`
	ReadTargets []string `json:"read_targets,omitempty"`

	// Timeouts are for bringing it into service, and for ending it. A field
	// that is 0 is the service's.
	Timeouts Timeouts `json:"timeouts,omitzero"`

	// Split says who goes to it. The zero value is what was set before, or
	// nobody.
	Split Split `json:"split,omitzero"`
}

// A Split says which visitors of a service go to its rollout: those whose
// cookie parachute-rollout (or kamal-rollout) has one of the values in List, and
// Percent of the rest, by a hash of the cookie. Visitors without one are given
// one, so that they stay where they are.
type Split struct {
	Percent int      `json:"percent,omitempty"` // 0 to 100
	List    []string `json:"list,omitempty"`
}

// A Pause holds the requests of a service.
type Pause struct {
	// Max is how long a request is held before it is answered 504. If 0,
	// 30 s; if negative, as long as the client waits.
	Max time.Duration `json:"max,omitzero"`

	// Drain is how long running requests may take before they are cut off. If
	// 0, 30 s; if negative, they are cut off at once.
	Drain time.Duration `json:"drain,omitzero"`
}

// A Stop answers the requests of a service with 503.
type Stop struct {
	Message string        `json:"message,omitempty"` // on the page; if empty, there is none
	Drain   time.Duration `json:"drain,omitzero"`    // as in Pause
}

// TLSMode says where the certificates of a service's hosts come from.
type TLSMode string

const (
	TLSInherit   TLSMode = ""          // as the other services of the host say; if none does, there is no TLS
	TLSOff       TLSMode = "off"       // there is no TLS
	TLSAutomatic TLSMode = "automatic" // from Options.ACME, at the deploy
	TLSFiles     TLSMode = "files"     // from TLS.CertFile and TLS.KeyFile
	TLSOnDemand  TLSMode = "on-demand" // from Options.ACME, at the first visit to a name that TLS.AskURL allows
)

// TLS says how hosts are served over HTTPS. It holds for the host, whichever
// of the services that share the host it was deployed with; services that
// contradict each other are an ErrConflict.
type TLS struct {
	// Mode says where the certificates come from. With TLSAutomatic and
	// TLSFiles the service must have Hosts, with TLSOnDemand it must have
	// none. A host with a "*" or of a single label, and an address, cannot be
	// TLSAutomatic.
	Mode TLSMode `json:"mode,omitempty"`

	// Staging asks Let's Encrypt's staging directory, whose certificates no
	// browser trusts, in place of ACME.Directory.
	Staging bool `json:"staging,omitempty"`

	// CacheDir is the absolute path of a folder that takes the place of
	// ACME.Cache.
	CacheDir string `json:"cache_dir,omitempty"`

	// CertFile and KeyFile are the absolute paths of a certificate, with the
	// intermediate ones behind it, and its key, in PEM form. They are read
	// when the service is deployed and when it is restored. When they change,
	// the new pair is in use within about 5 s, if it is sound; otherwise the
	// one before stays.
	CertFile string `json:"cert_file,omitempty"`
	KeyFile  string `json:"key_file,omitempty"`

	// AskURL decides which names may have a certificate on demand: GET with
	// the name in the parameter "host", and 200 allows it. It is a URL, or a
	// path that the service itself is asked for, with the name as Host. The
	// answer, no redirect, has to come within 2 s; one that allows nothing is
	// an EventNoCertificate.
	AskURL string `json:"ask_url,omitempty"`

	// NoRedirect has plain requests served. Otherwise they are redirected to
	// https:// as soon as the host has a certificate; on demand, as soon as
	// AskURL has allowed the name one, unless it was not to be had.
	NoRedirect bool `json:"no_redirect,omitempty"`

	// Wait makes Deploy wait for the certificates of all Hosts before it
	// switches, within Timeouts.Deploy. Without them it returns
	// ErrNoCertificate.
	Wait bool `json:"wait,omitempty"`
}

// A Certificate is what a Proxy knows of one that it serves, or wants to.
type Certificate struct {
	Host    string    `json:"host"`             // the name or wildcard that it is for
	Source  TLSMode   `json:"source"`           // TLSAutomatic, TLSFiles or TLSOnDemand
	Issuer  string    `json:"issuer,omitempty"` // who signed it; empty: there is none yet
	Expires time.Time `json:"expires,omitzero"`
	Renews  time.Time `json:"renews,omitzero"` // about when it will be renewed, or ordered again after an error; zero: not by the Proxy
	Error   string    `json:"error,omitempty"` // why the last attempt to get a new one came to nothing; empty: it did not
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

// A HealthCheck says how targets are probed. A probe is a GET, or a gRPC call, on
// a connection of its own that follows no redirect; what passes, Status says. Where
// the service asks for TLS, a probe says X-Forwarded-Proto: https, as most requests
// will.
//
// Once a target is healthy, one probe is made for all services of the Proxy that
// would make the same one at the same interval. Each goes by its own Rise and Fall;
// where the target has a name, only those with the same Fall share probes.
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

	// Headers are sent with a probe, "NAME: VALUE" each.
	Headers []string `json:"headers,omitempty"`

	// Status is what passes: a status, or a range such as "200-399". If empty,
	// "200-299".
	Status string `json:"status,omitempty"`

	// Rise is how many probes in a row must pass to make a target healthy,
	// Fall how many must fail to make it unhealthy. If 0, 1.
	Rise int `json:"rise,omitempty"`
	Fall int `json:"fall,omitempty"`

	// GRPC has a target asked as gRPC servers are, with a call of
	// grpc.health.v1.Health/Check, which passes if the answer is SERVING.
	// Targets must then be h2c:// or https:// ones, and Path and Status be
	// empty. GRPCService is the service whose health is asked for; if empty,
	// that of the server as a whole.
	GRPC        bool   `json:"grpc,omitempty"`
	GRPCService string `json:"grpc_service,omitempty"`
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
	// byte of the request sent. Before that, it bounds how long a target may
	// take not one byte of what it is sent. If 0, 30 s; if negative, there is
	// no limit.
	Response time.Duration `json:"response,omitzero"`

	// Hold is how long a request waits for a service that no connection can
	// be made to, such as one whose only target is being restarted, before
	// it is answered 502. Time in which a target had the request, or the
	// service was paused, does not count. If 0, 5 s; if negative, it does not
	// wait.
	Hold time.Duration `json:"hold,omitzero"`

	// WriterAffinity is how long a client's requests go to Targets after it
	// has written something there, other than with GET or HEAD; an answer with
	// X-Writer-Affinity: false says that it has not. If 0, 1 s; if negative,
	// there is no such time.
	WriterAffinity time.Duration `json:"writer_affinity,omitzero"`
}

// State says what a service does with its requests.
type State string

const (
	StateServing State = "serving" // they go to its targets
	StatePaused  State = "paused"  // they wait
	StateStopped State = "stopped" // they are answered 503
	StateFailed  State = "failed"  // it could not be restored; they are answered 503
)

// A Status is what is known of a service: what was asked for, which is what
// Commit gets and Restore takes, and under Live what is going on.
type Status struct {
	Service    string     `json:"service"`
	Generation uint64     `json:"generation"` // the number of the deploy that it serves; higher is newer, across all services
	State      State      `json:"state"`
	Deployment Deployment `json:"deployment"`
	Rollout    *Rollout   `json:"rollout,omitempty"` // nil: there is none
	Pause      *Pause     `json:"pause,omitempty"`   // while State is StatePaused
	Stop       *Stop      `json:"stop,omitempty"`    // while State is StateStopped
	Error      string     `json:"error,omitempty"`   // why State is StateFailed
	Live       *Live      `json:"live,omitempty"`    // nil in what Commit gets; ignored by Restore
}

// demanded returns the state that was asked for last: as it is where s serves,
// and as it is to be once the service can be restored again.
func (s Status) demanded() State {
	switch {
	case s.Stop != nil:
		return StateStopped
	case s.Pause != nil:
		return StatePaused
	}
	return StateServing
}

// normalize returns s, which was kept by somebody else, with a State that is
// its demanded one, and with all that this State wants.
func (s Status) normalize() Status {
	s.Live = nil
	switch s.State {
	case StateFailed: // Pause and Stop say what it was before
	case StatePaused:
		s.Pause, s.Stop = cmp.Or(s.Pause, new(Pause)), nil
	case StateStopped:
		s.Pause, s.Stop = nil, cmp.Or(s.Stop, new(Stop))
	default:
		s.Pause, s.Stop = nil, nil
	}
	if s.Pause != nil {
		pause := s.Pause.normalize()
		s.Pause = &pause
	}
	s.State = s.demanded()
	return s
}

// normalize returns p with its defaults.
func (p Pause) normalize() Pause {
	p.Max = cmp.Or(p.Max, 30*time.Second)
	p.Drain = cmp.Or(p.Drain, 30*time.Second)
	return p
}

// clone returns a Status that shares no memory with s but for Live.
func (s Status) clone() Status {
	s.Deployment = s.Deployment.clone()
	if s.Rollout != nil {
		r := *s.Rollout
		r.Targets, r.ReadTargets, r.Split.List = slices.Clone(r.Targets), slices.Clone(r.ReadTargets), slices.Clone(r.Split.List)
		s.Rollout = &r
	}
	if s.Pause != nil {
		p := *s.Pause
		s.Pause = &p
	}
	if s.Stop != nil {
		stop := *s.Stop
		s.Stop = &stop
	}
	return s
}

// clone returns a Deployment that shares no memory with d.
func (d Deployment) clone() Deployment {
	for _, list := range []*[]string{
		&d.Targets, &d.ReadTargets, &d.Hosts, &d.PathPrefixes, &d.HealthCheck.Headers, &d.Access.Allow, &d.Access.Deny,
		&d.Headers.Request, &d.Headers.Response, &d.Report.RequestHeaders, &d.Report.ResponseHeaders, &d.Report.ExcludeMetricsPaths,
	} {
		*list = slices.Clone(*list)
	}
	d.Redirects = slices.Clone(d.Redirects)
	return d
}

// Live is what goes on in a service at the moment of asking.
type Live struct {
	Since   time.Time      `json:"since"`             // when it got its Generation and State, or was restored
	Targets []TargetStatus `json:"targets"`           // Deployment's, then the Rollout's; none where State is StateFailed
	Held    int64          `json:"held"`              // requests that wait
	Changes []Change       `json:"changes,omitempty"` // what is under way, the oldest first
}

// A Change is a part of a deploy, or of another change of a service, that takes
// its time and has not ended.
type Change struct {
	Kind       EventKind `json:"kind"`               // EventDeploying: targets, or certificates, are waited for; EventDraining: requests and streams are
	Generation uint64    `json:"generation"`         // of the deploy or removal that it belongs to, as in its events
	Since      time.Time `json:"since"`              // when it began
	Requests   int64     `json:"requests,omitempty"` // that are still waited for, streams aside
	Streams    int64     `json:"streams,omitempty"`  // likewise
}

func changeOf(kind EventKind, generation uint64) Change {
	return Change{Kind: kind, Generation: generation, Since: time.Now()}
}

// TargetStatus is the present state of one target.
type TargetStatus struct {
	Address  string    `json:"address"`
	Reads    bool      `json:"reads,omitempty"`   // it is one of ReadTargets
	Rollout  bool      `json:"rollout,omitempty"` // it is one of the Rollout's
	Health   Health    `json:"health"`
	Since    time.Time `json:"since"`           // when it got its Health
	Requests int64     `json:"requests"`        // in flight, streams aside
	Streams  int64     `json:"streams"`         // upgraded connections and event streams that are open
	Probe    *Probe    `json:"probe,omitempty"` // the last one; nil before the first
	Traffic  Traffic   `json:"traffic"`
}

// Traffic is what came of the requests to a target that have ended within the
// last minute. A request counts for the target that it was sent to last. What
// was counted is kept while deploys name the target again, but not over a
// restart.
//
// A request is an error if it was answered with a status of 500 or above, by the
// target or in its place, or with an answer that broke off, or was cut off, as at
// the end of a drain or for its length; not if it was the client who left, or sent
// what could not be passed on. A stream that is closed at the end of a drain is
// none.
//
// A request takes as long as Outcome.Duration says; an upgraded connection or
// event stream until its answer began. Percentiles are within 10 % of what they
// would be if every time had been kept, between 66 µs and 68.7 s.
type Traffic struct {
	Rate      float64       `json:"requests_per_second"` // over that minute, or since the first request ever if that is shorter, but at least 1 s
	ErrorRate float64       `json:"error_rate"`          // how much of the requests were errors: 0 to 1
	P50       time.Duration `json:"p50"`                 // half of them took no longer; 0: there were none
	P99       time.Duration `json:"p99"`                 // 99 % of them took no longer; likewise
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
	GRPC     string        `json:"grpc,omitempty"`     // what a gRPC server answered: SERVING or another health, or the code and the message of an error
	Location string        `json:"location,omitempty"` // of the answer
	Body     string        `json:"body,omitempty"`     // the first 200 bytes of the answer's
	Error    string        `json:"error,omitempty"`    // why there was no answer
	Cause    Cause         `json:"cause,omitempty"`    // why it did not pass; empty: it did
	Passed   bool          `json:"passed"`
}

// A Cause is a reason for which a probe did not pass, as an operator would tell
// them apart.
type Cause string

const (
	CauseRefused      Cause = "refused"      // nothing listens at the target's address
	CauseUnknownHost  Cause = "unknown_host" // the target's name has no address
	CauseUnreachable  Cause = "unreachable"  // it could not be connected to, for another reason
	CauseTimeout      Cause = "timeout"      // there was no answer within HealthCheck.Timeout
	CauseNoAnswer     Cause = "no_answer"    // the connection was closed before there was one
	CauseSpeaksTLS    Cause = "speaks_tls"   // it was asked without TLS, and wants it
	CauseSpeaksPlain  Cause = "speaks_plain" // it was asked over TLS, and does not speak it
	CauseCertificate  Cause = "certificate"  // its certificate is not one that TargetTLS accepts
	CauseMalformed    Cause = "malformed"    // what it answered is not HTTP
	CauseRedirect     Cause = "redirect"     // it answered 3xx with a Location
	CauseUnauthorized Cause = "unauthorized" // 401
	CauseForbidden    Cause = "forbidden"    // 403
	CauseNotFound     Cause = "not_found"    // 404
	CauseServerError  Cause = "server_error" // 500 to 599
	CauseStatus       Cause = "status"       // another status that does not pass
	CauseShortage     Cause = "shortage"     // nothing was asked, for the proxy may open no more connections: it tells nothing of the target

	CauseNotGRPC        Cause = "not_grpc"        // it does not speak HTTP/2, or answers what is no gRPC
	CauseNotServing     Cause = "not_serving"     // its health is another than SERVING
	CauseNoHealth       Cause = "no_health"       // the server has no grpc.health.v1.Health
	CauseUnknownService Cause = "unknown_service" // the server knows no HealthCheck.GRPCService
)

// String tells what the target answered, as the end of a sentence: "GET /up
// answered 301 to https://app1.example.com/up".
func (p Probe) String() string {
	asked := p.method() + " " + pathOf(p.URL)
	if p.Status == 0 {
		return fmt.Sprintf("%s got no answer: %s", asked, p.Error)
	}
	return asked + " answered " + p.answer()
}

// method returns that of the probe's request.
func (p Probe) method() string {
	if pathOf(p.URL) == grpc.HealthPath {
		return http.MethodPost
	}
	return http.MethodGet
}

// pathOf returns what of a URL is asked for.
func pathOf(url string) string {
	if _, rest, ok := strings.Cut(url, "://"); ok {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			return rest[i:]
		}
	}
	return url
}

// An Outcome is how a request ended.
//
// Its Status is the one that the client got. Where no answer began it says why:
// 499 if the client had left, 421 if the connection was one for a TLS-ALPN-01
// challenge, where nothing may be said, and else 0, which is the fault of the
// program: a handler or hook has panicked. So those from 500 up, and 0, are errors
// of the service, and those from 400 to 499 are its clients'.
type Outcome struct {
	Service    string        // empty: no service claimed it
	Target     string        // empty: it was sent to none
	Prefix     string        // the path prefix that was stripped
	Generation uint64        // of the service
	Status     int           // as the client got it, or 499, 421 or 0: no answer began; gRPC clients get a code of theirs where the proxy answers with an error
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
	Unbuffered error         // why the answer was passed on as it came although Buffer.Responses has it wait; nil: it was not

	Deployment *Deployment // of the service, which nobody may change; nil: no service claimed the request
}

// EventKind says what an Event is about.
type EventKind string

const (
	EventDeploying EventKind = "deploying" // a deploy has its generation and waits for its targets
	EventProbed    EventKind = "probed"    // a probe ended, while a deploy waits
	EventHealthy   EventKind = "healthy"   // a target became healthy
	EventUnhealthy EventKind = "unhealthy" // a target in service stopped being healthy
	EventSwitched  EventKind = "switched"  // all new requests go to this generation
	EventDraining  EventKind = "draining"  // the replaced generation is being waited for; again while it is, once a second at most, when Requests or Streams are others than before
	EventDrained   EventKind = "drained"   // it has ended; Requests and Streams are what had to be cut off
	EventRemoved   EventKind = "removed"   // the service takes no requests any more
	EventPaused    EventKind = "paused"    // its requests wait
	EventStopped   EventKind = "stopped"   // its requests are answered 503
	EventResumed   EventKind = "resumed"   // its requests are served again
	EventSplit     EventKind = "split"     // its requests are split otherwise between it and its rollout
	EventFailed    EventKind = "failed"    // a deploy was refused, or a service could not be restored; Err tells why

	EventCertificate   EventKind = "certificate"    // Host has a new certificate
	EventNoCertificate EventKind = "no certificate" // a new certificate for Host was not to be had, or could not be kept; Err tells why
)

// An Event is something that happened to a service.
type Event struct {
	Time       time.Time
	Service    string
	Generation uint64 // of the deploy or removal that it belongs to
	Kind       EventKind
	Target     string // the one concerned, if it is one
	Host       string // in EventCertificate and EventNoCertificate, which have neither Service nor Generation
	Probe      *Probe // in EventProbed, EventHealthy and EventUnhealthy
	Requests   int64  // in EventDraining and EventDrained
	Streams    int64  // likewise: upgraded connections and event streams
	Err        error

	// How far it is, for who shows it. Probes is how many of the target have
	// ended, in EventProbed, and in EventHealthy while a deploy waits; Elapsed is
	// the time since the deploy began, in these, or the drain, in EventDraining
	// (0 in the first) and EventDrained; Limit is how long a deploy or a drain
	// may take, in EventDeploying, EventProbed and EventDraining; 0: as long as
	// it likes.
	Probes  int
	Elapsed time.Duration
	Limit   time.Duration

	// Unused are the replaced targets, in EventDrained, that may be stopped: no
	// service has them any more, and no deploy waits for them.
	Unused []string
}

// level returns how much an operator should mind what a log says of e.
func (e Event) level() slog.Level {
	switch e.Kind {
	case EventProbed:
		return slog.LevelDebug
	case EventUnhealthy:
		return slog.LevelWarn
	case EventFailed:
		return slog.LevelError
	case EventNoCertificate:
		if errors.Is(e.Err, admission.ErrRefused) {
			return slog.LevelInfo // anybody can come to a name that is none of ours
		}
		return slog.LevelWarn
	case EventDraining:
		if e.Elapsed > 0 {
			return slog.LevelDebug // it was told that it has begun
		}
	case EventDrained:
		if e.Requests > 0 {
			return slog.LevelWarn
		}
	}
	return slog.LevelInfo
}

// attrs returns what a log says of e, but for its kind.
func (e Event) attrs() []slog.Attr {
	var attrs []slog.Attr
	if e.Service != "" {
		attrs = append(attrs, slog.String("service", e.Service), slog.Uint64("generation", e.Generation))
	}
	if e.Host != "" {
		attrs = append(attrs, slog.String("host", e.Host))
	}
	if e.Target != "" {
		attrs = append(attrs, slog.String("target", e.Target))
	}
	if e.Probe != nil {
		attrs = append(attrs, slog.String("probe", e.Probe.String()))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("error", e.Err.Error())) // as a sentence, also where it has a form of JSON
	}
	switch e.Kind {
	case EventDraining:
		attrs = append(attrs, slog.Int64("requests", e.Requests), slog.Int64("streams", e.Streams))
	case EventDrained:
		attrs = append(attrs, slog.Int64("requests_cut", e.Requests), slog.Int64("streams_closed", e.Streams))
	}
	return attrs
}

// Errors of a Proxy's methods. What is returned wraps one of them, or is what
// Commit or a context said, and tells more; tell them apart by errors.Is.
var (
	ErrInvalid    = errors.New("invalid") // a value that cannot be: the message names the field
	ErrConflict   = errors.New("host is used by another service")
	ErrUnhealthy  = errors.New("target did not become healthy") // see UnhealthyError
	ErrNotFound   = errors.New("no such service")
	ErrSuperseded = errors.New("superseded")   // a newer change of the service came first
	ErrClosed     = errors.New("proxy closed") // by Shutdown or Close

	ErrNoCertificate = errors.New("no certificate") // TLS.Wait was asked for in vain
)

// A ConflictError says which service has what was asked for. It wraps
// ErrConflict.
type ConflictError struct {
	Host    string `json:"host"`              // "" is any host
	Prefix  string `json:"prefix,omitempty"`  // "" is every path
	Owner   string `json:"owner"`             // serves it, or is being deployed to
	Dispute string `json:"dispute,omitempty"` // what the owner, with which the host would be shared, does otherwise; "": it has the host for itself
}

func (e *ConflictError) Error() string {
	below := ""
	if e.Prefix != "" {
		below = " below " + e.Prefix
	}
	if e.Dispute != "" {
		return fmt.Sprintf("host %s is shared with service %s, which %s: deploy both alike, or one of them without a say in it", cmp.Or(e.Host, "any"), e.Owner, e.Dispute)
	}
	if e.Host == "" {
		return fmt.Sprintf("requests for any host%s go to service %s already: name the hosts of this one, or remove %[2]s first", below, e.Owner)
	}
	return fmt.Sprintf("host %s%s is used by another service: %s; remove that one first", e.Host, below, e.Owner)
}

func (e *ConflictError) Unwrap() error { return ErrConflict }

// Format writes e as Error does, and for %+v Hint on a line of its own below.
func (e *ConflictError) Format(s fmt.State, verb rune) {
	formatError(s, verb, e, e.Error()+"\n  "+e.Hint())
}

// Hint says what an operator can do about it.
func (e *ConflictError) Hint() string {
	if e.Dispute != "" {
		return "TLS and the canonical host belong to the host, not to one of its services; parachute list --json shows what each says"
	}
	return fmt.Sprintf("parachute list shows the hosts of every service; parachute remove %s frees those of that one", e.Owner)
}

// An UnhealthyError says what each target that did not become healthy in time
// answered. It wraps ErrUnhealthy.
type UnhealthyError struct {
	Waited  time.Duration     `json:"waited"`
	Host    string            `json:"host,omitempty"` // the first of the service's that is no wildcard; empty: there is none
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

// Format writes e as Error does, and for %+v all that is known of each target on
// lines of their own below: what it was asked, what it answered, and what to do.
func (e *UnhealthyError) Format(s fmt.State, verb rune) {
	var names []string
	var below strings.Builder
	for _, t := range e.Targets {
		names = append(names, t.Address)
		if t.Last == nil {
			fmt.Fprintf(&below, "\n  no probe of %s has ended", t.Address)
		} else {
			probes := "1 probe"
			if t.Probes != 1 {
				probes = fmt.Sprintf("%d probes", t.Probes)
			}
			fmt.Fprintf(&below, "\n  %s %s  Host: %s   %s\n  last answer: %s", t.Last.method(), t.Last.URL, t.Last.Host, probes, t.Last.answer())
		}
		fmt.Fprintf(&below, "\n  %s", t.hint(e.Host))
	}
	formatError(s, verb, e, fmt.Sprintf("%s did not become healthy in %v%s", strings.Join(names, ", "), e.Waited, &below))
}

// Hint says what an operator can try, for each target on a line of its own.
func (e *UnhealthyError) Hint() string {
	var hints []string
	for _, t := range e.Targets {
		if h := t.hint(e.Host); !slices.Contains(hints, h) {
			hints = append(hints, h)
		}
	}
	return strings.Join(hints, "\n")
}

// A changeError says in front of an error what was being done, and to what.
type changeError struct {
	verb, service string // service is "" if it cannot be one
	err           error
	unchanged     string // what is as it was, which %+v ends with; "": that is not known
}

func (e *changeError) Error() string { return e.doing() + e.err.Error() }
func (e *changeError) Unwrap() error { return e.err }

func (e *changeError) Format(s fmt.State, verb rune) {
	full := fmt.Sprintf("%s%+v", e.doing(), e.err)
	if e.unchanged != "" {
		full += "\n  " + e.unchanged
	}
	formatError(s, verb, e, full)
}

func (e *changeError) doing() string {
	if e.service == "" {
		return "parachute: " + e.verb + ": "
	}
	return "parachute: " + e.verb + " " + e.service + ": "
}

// formatError is the Format of an error of which there is more to be said than
// Error does: full is for %+v.
func formatError(s fmt.State, verb rune, err error, full string) {
	if verb == 'v' && s.Flag('+') {
		io.WriteString(s, full)
		return
	}
	fmt.Fprintf(s, fmt.FormatString(s, verb), err.Error())
}

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
	o.HTTPSPort = cmp.Or(o.HTTPSPort, 443)
	if o.ACME.CacheAt == nil {
		o.ACME.CacheAt = defaultCache
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
	d = d.clone()
	hosts := make([]string, 0, len(d.Hosts))
	for _, h := range d.Hosts {
		name, err := hostname.ParsePattern(h)
		if err != nil {
			return d, faultf(ErrInvalid, "%v", err)
		}
		if !slices.Contains(hosts, name) {
			hosts = append(hosts, name)
		}
	}
	d.Hosts = hosts
	prefixes := make([]string, 0, len(d.PathPrefixes))
	for _, prefix := range d.PathPrefixes {
		if _, err := hostname.ParsePrefix(prefix); err != nil {
			return d, faultf(ErrInvalid, "%v", err)
		}
		if !slices.Contains(prefixes, prefix) {
			prefixes = append(prefixes, prefix)
		}
	}
	d.PathPrefixes = prefixes
	if err := d.TLS.check(d.Hosts); err != nil {
		return d, err
	}
	if err := d.checkRequests(); err != nil {
		return d, err
	}

	var err error
	if d.CanonicalHost, err = canonicalAmong(d.CanonicalHost, d.Hosts); err != nil {
		return d, err
	}
	if d.HealthCheck, err = d.HealthCheck.normalize(); err != nil {
		return d, err
	}
	d.Timeouts.Deploy = cmp.Or(d.Timeouts.Deploy, 30*time.Second)
	d.Timeouts.Drain = cmp.Or(d.Timeouts.Drain, 30*time.Second)
	d.Timeouts.Response = cmp.Or(d.Timeouts.Response, 30*time.Second)
	d.Timeouts.Hold = cmp.Or(d.Timeouts.Hold, 5*time.Second)
	d.Timeouts.WriterAffinity = cmp.Or(d.Timeouts.WriterAffinity, time.Second)
	return d, nil
}

// of returns d with r in place of its targets, complete. An error says that r
// cannot be a rollout of a service that is deployed so.
func (r Rollout) of(d Deployment) (Deployment, error) {
	if err := r.Split.check(); err != nil {
		return d, err
	}
	d.Targets, d.ReadTargets = r.Targets, r.ReadTargets
	d.Timeouts = r.Timeouts.over(d.Timeouts)
	return d.normalize()
}

// over returns t with what it leaves open as in others.
func (t Timeouts) over(others Timeouts) Timeouts {
	return Timeouts{
		Deploy:         cmp.Or(t.Deploy, others.Deploy),
		Drain:          cmp.Or(t.Drain, others.Drain),
		Stream:         cmp.Or(t.Stream, others.Stream),
		Response:       cmp.Or(t.Response, others.Response),
		Hold:           cmp.Or(t.Hold, others.Hold),
		WriterAffinity: cmp.Or(t.WriterAffinity, others.WriterAffinity),
	}
}

func (s Split) isZero() bool { return s.Percent == 0 && len(s.List) == 0 }

func (s Split) check() error {
	if _, err := split.New(s.Percent, s.List); err != nil {
		return faultf(ErrInvalid, "%v", err)
	}
	return nil
}

// checkTargets returns why the targets, or what is said of them all, cannot be.
func (d Deployment) checkTargets() error {
	var unix, secure bool
	all := slices.Concat(d.Targets, d.ReadTargets)
	for i, t := range all {
		at, err := parseTarget(t)
		if err != nil {
			return err
		}
		if slices.Contains(all[:i], t) {
			return faultf(ErrInvalid, "target %s is named twice: name each once", t)
		}
		if d.HealthCheck.GRPC && at.scheme == "http" {
			return faultf(ErrInvalid, "target %s: a gRPC health check takes HTTP/2: name it h2c://web-1:3000, or https://web-1:3000 if it speaks TLS, or check it without gRPC", t)
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

// checkRequests returns why what d says of requests cannot be. Rules, networks
// and files are checked where they are read.
func (d Deployment) checkRequests() error {
	for _, r := range d.Redirects {
		to, err := url.Parse(r.To)
		switch {
		case !strings.HasPrefix(r.From, "/") || strings.Contains(r.From, "?") || !isRequestTarget(r.From):
			return faultf(ErrInvalid, "redirect from %q: want a path without query, such as /old", r.From)
		case err != nil || !isRequestTarget(r.To) || strings.HasPrefix(r.To, "//") || !strings.HasPrefix(r.To, "/") && (to.Scheme != "http" && to.Scheme != "https" || to.Host == ""):
			return faultf(ErrInvalid, "redirect to %q: want a path such as /new, or a URL such as https://app1.example.com/new", r.To)
		}
	}
	switch {
	case d.MaxRequestBody < 0 || d.MaxResponseBody < 0:
		return faultf(ErrInvalid, "at most %d bytes in a request and %d in a response: want 0 for no limit, or more", d.MaxRequestBody, d.MaxResponseBody)
	case d.ErrorPages != "" && !filepath.IsAbs(d.ErrorPages):
		return faultf(ErrInvalid, "error pages %q: want an absolute path of their folder", d.ErrorPages)
	case d.Access.BasicAuthFile != "" && !filepath.IsAbs(d.Access.BasicAuthFile):
		return faultf(ErrInvalid, "basic auth file %q: want an absolute path", d.Access.BasicAuthFile)
	case !slices.Contains([]Trust{TrustProxies, TrustEverybody, TrustNobody}, d.Forwarded.Trust):
		return faultf(ErrInvalid, "trust in forwarded headers %q: want %q, %q, or nothing for the trusted proxies", d.Forwarded.Trust, TrustEverybody, TrustNobody)
	case d.Forwarded.ClientHeader != "" && !isHeader(d.Forwarded.ClientHeader, ""):
		return faultf(ErrInvalid, "client header %q: want the name of a header, such as CF-Connecting-IP", d.Forwarded.ClientHeader)
	case d.Headers.HSTS != "" && headers.CheckHSTS(d.Headers.HSTS) != nil:
		return faultf(ErrInvalid, "%v", headers.CheckHSTS(d.Headers.HSTS))
	case len(d.ReadTargets) == 0 && d.ReadWebSockets:
		return faultf(ErrInvalid, "WebSockets for read targets: the service has none")
	}
	return nil
}

// canonicalAmong returns a CanonicalHost as it stands among hosts.
func canonicalAmong(host string, hosts []string) (string, error) {
	if host == "" {
		return "", nil
	}
	name, err := hostname.ParsePattern(host)
	_, isWildcard := hostname.CutWildcard(name)
	switch {
	case err != nil:
		return "", faultf(ErrInvalid, "%v", err)
	case isWildcard:
		return "", faultf(ErrInvalid, "canonical host %q: want one name, not a wildcard", host)
	case !slices.Contains(hosts, name):
		return "", faultf(ErrInvalid, "canonical host %s is not among the hosts of the service: name it there too", name)
	}
	return name, nil
}

func (h HealthCheck) normalize() (HealthCheck, error) {
	switch {
	case h.GRPC && (h.Path != "" || h.Status != ""):
		return h, faultf(ErrInvalid, "health check path %q and status %q: a gRPC health check has neither", h.Path, h.Status)
	case !h.GRPC && h.GRPCService != "":
		return h, faultf(ErrInvalid, "health check of the gRPC service %q: ask for a gRPC health check, too", h.GRPCService)
	case !utf8.ValidString(h.GRPCService) || len(h.GRPCService) > 1024:
		return h, faultf(ErrInvalid, "health check of the gRPC service %q: want at most 1024 bytes of UTF-8, such as web.v1.Web", h.GRPCService)
	case !h.GRPC:
		h.Path = cmp.Or(h.Path, "/up")
		h.Status = cmp.Or(h.Status, "200-299")
	}
	h.Interval = cmp.Or(h.Interval, time.Second)
	h.Timeout = cmp.Or(h.Timeout, 5*time.Second)
	h.Rise, h.Fall = cmp.Or(h.Rise, 1), cmp.Or(h.Fall, 1)
	for _, header := range h.Headers {
		if name, value, ok := strings.Cut(header, ":"); !ok || !isHeader(name, value) {
			return h, faultf(ErrInvalid, "health check header %q: want NAME: VALUE, such as X-Probe: yes", header)
		}
	}
	if _, _, ok := h.passing(); !ok && !h.GRPC {
		return h, faultf(ErrInvalid, "health check status %q: want a status such as 204, or a range such as 200-399", h.Status)
	}
	switch {
	case !h.GRPC && h.Path[0] != '/':
		return h, faultf(ErrInvalid, "health check path %q: want one that begins with '/', such as /up", h.Path)
	case !isRequestTarget(h.Path):
		return h, faultf(ErrInvalid, "health check path %q: write a space, a '#' and what is not ASCII as %%xx, as in /up%%20now", h.Path)
	case h.Port < 0 || h.Port > 65535:
		return h, faultf(ErrInvalid, "health check port %d: want 1 to 65535, or 0 for the target's own", h.Port)
	case !hostname.IsHostHeader(h.Host):
		return h, faultf(ErrInvalid, "health check host %q: want a host name, such as app1.example.com", h.Host)
	case h.Interval < 0 || h.Timeout < 0:
		return h, faultf(ErrInvalid, "health check interval %v and timeout %v: want more than 0", h.Interval, h.Timeout)
	case h.Rise < 0 || h.Fall < 0:
		return h, faultf(ErrInvalid, "health check rise %d and fall %d: want at least 1", h.Rise, h.Fall)
	}
	return h, nil
}

// passing returns the first and the last status that pass.
func (h HealthCheck) passing() (first, last int, ok bool) {
	from, to, isRange := strings.Cut(h.Status, "-")
	if !isRange {
		to = from
	}
	first, err := strconv.Atoi(from)
	if err != nil {
		return 0, 0, false
	}
	last, err = strconv.Atoi(to)
	return first, last, err == nil && 100 <= first && first <= last && last <= 599
}

// isHeader reports whether there can be a header field of that name and value.
// Those that frame a message, or name its host, cannot be chosen.
func isHeader(name, value string) bool {
	if name == "" || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune("()<>@,;:\\\"/[]?={}", c) }) {
		return false
	}
	switch http.CanonicalHeaderKey(name) {
	case "Host", "Connection", "Content-Length", "Transfer-Encoding":
		return false
	}
	return !strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

// isRequestTarget reports whether path can stand in a request line as it is.
func isRequestTarget(path string) bool {
	return !strings.ContainsFunc(path, func(c rune) bool { return c <= ' ' || c > '~' || c == '#' })
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
// it is a wire.Duration. Those that are asked for refuse fields that they do not
// know, which are misspelled; those that are told pass them over, which are newer.

func (h HealthCheck) MarshalJSON() ([]byte, error)     { return json.Marshal(h.view()) }
func (h *HealthCheck) UnmarshalJSON(b []byte) error    { return wire.Unmarshal(b, h.view()) }
func (t Timeouts) MarshalJSON() ([]byte, error)        { return json.Marshal(t.view()) }
func (t *Timeouts) UnmarshalJSON(b []byte) error       { return wire.Unmarshal(b, t.view()) }
func (p Pause) MarshalJSON() ([]byte, error)           { return json.Marshal(p.view()) }
func (p *Pause) UnmarshalJSON(b []byte) error          { return wire.Unmarshal(b, p.view()) }
func (s Stop) MarshalJSON() ([]byte, error)            { return json.Marshal(s.view()) }
func (s *Stop) UnmarshalJSON(b []byte) error           { return wire.Unmarshal(b, s.view()) }
func (p Probe) MarshalJSON() ([]byte, error)           { return json.Marshal(p.view()) }
func (p *Probe) UnmarshalJSON(b []byte) error          { return json.Unmarshal(b, p.view()) }
func (t Traffic) MarshalJSON() ([]byte, error)         { return json.Marshal(t.view()) }
func (t *Traffic) UnmarshalJSON(b []byte) error        { return json.Unmarshal(b, t.view()) }
func (e UnhealthyError) MarshalJSON() ([]byte, error)  { return json.Marshal(e.view()) }
func (e *UnhealthyError) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, e.view()) }

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
		Affinity *wire.Duration `json:"writer_affinity,omitzero"`
	}{
		(*wire.Duration)(&t.Deploy), (*wire.Duration)(&t.Drain), (*wire.Duration)(&t.Stream),
		(*wire.Duration)(&t.Response), (*wire.Duration)(&t.Hold), (*wire.Duration)(&t.WriterAffinity),
	}
}

func (p *Pause) view() any {
	return &struct {
		Max   *wire.Duration `json:"max,omitzero"`
		Drain *wire.Duration `json:"drain,omitzero"`
	}{(*wire.Duration)(&p.Max), (*wire.Duration)(&p.Drain)}
}

func (s *Stop) view() any {
	type plain Stop
	return &struct {
		*plain
		Drain *wire.Duration `json:"drain,omitzero"`
	}{(*plain)(s), (*wire.Duration)(&s.Drain)}
}

func (p *Probe) view() any {
	type plain Probe
	return &struct {
		*plain
		Took *wire.Duration `json:"took"`
	}{(*plain)(p), (*wire.Duration)(&p.Took)}
}

func (t *Traffic) view() any {
	type plain Traffic
	return &struct {
		*plain
		P50 *wire.Duration `json:"p50"`
		P99 *wire.Duration `json:"p99"`
	}{(*plain)(t), (*wire.Duration)(&t.P50), (*wire.Duration)(&t.P99)}
}

func (e *UnhealthyError) view() any {
	type plain UnhealthyError
	return &struct {
		*plain
		Waited *wire.Duration `json:"waited"`
	}{(*plain)(e), (*wire.Duration)(&e.Waited)}
}
