package parachute

import (
	"cmp"
	"context"
	"errors"
	"html/template"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute/internal/affinity"
	"github.com/shahnk19/parachute/internal/agent"
	"github.com/shahnk19/parachute/internal/backend"
	"github.com/shahnk19/parachute/internal/bake"
	"github.com/shahnk19/parachute/internal/deep"
	"github.com/shahnk19/parachute/internal/duration"
	"github.com/shahnk19/parachute/internal/endpoint"
	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/keypair"
	"github.com/shahnk19/parachute/internal/naming"
	"github.com/shahnk19/parachute/internal/rules"
	"github.com/shahnk19/parachute/internal/split"
	"github.com/shahnk19/parachute/internal/trust"
	"github.com/shahnk19/parachute/internal/wire"
)

// Options say how a Proxy works. The zero value is ready for use.
type Options struct {
	// Logger gets what an operator wants to read later: switches, drains,
	// changes of health, services that could not be restored. If nil,
	// nothing is logged. Requests are not logged; see Observe.
	Logger *slog.Logger

	// Commit is called with everything that Restore needs after a restart,
	// immediately before a change is published, and never twice at once. An
	// error refuses the change: nothing is published, and the error is what the
	// caller of Deploy or Remove gets. If nil, nothing is kept.
	Commit func([]Status) error

	// CommitDelta, if not nil, is called in place of Commit, with what a change
	// alters, so that it costs as much among thousands of services as among
	// two. When it is called, and what an error means, is as for Commit. Close
	// calls it once more, with a Delta that alters nothing, so that the figures in
	// All can be kept; an error of that is logged.
	CommitDelta func(Delta) error

	// Observe is called exactly once for every request, when it has ended,
	// also when it was cut off or its handler panicked. It runs on the
	// request's goroutine. Neither the request nor Outcome.Header may be
	// changed, or kept after it returns.
	Observe func(*http.Request, Outcome)

	// Notify is called for everything that happens to a service: in order
	// for one service, and never twice at once. It runs on the goroutine
	// where it happened, so it must not block, nor call the Proxy.
	Notify func(Event)

	// Predecessor is the Proxy that this one takes the place of, if there is one.
	Predecessor Predecessor

	// Compare returns how what a service serves changes, from before to after:
	// both complete, as Services returns them. Its result is in EventSwitched, and
	// is what Check returns. If nil, the Difference there is empty.
	Compare func(before, after Deployment) Difference

	// Agree, if not nil, is asked by every deploy of a service, and by Apply for each
	// of those that it switches, once the targets are healthy and before the switch.
	// An error ends the deploy with it, and nothing is changed. It is given what is to
	// serve, complete as Services returns it. ctx ends with the deploy, and with its
	// Timeouts.Deploy, and Agree has to return then. The targets must be healthy
	// when it returns, too. It is asked about every Rollout as well: then d has the
	// rollout's targets; and by Promote; but about a Canary only before its first step.
	Agree func(ctx context.Context, d Deployment, generation uint64) error

	// Propose, if not nil, is told what Agree will be asked about as soon as its targets
	// are probed, so that others can probe them at the same time; and whether that is a
	// rollout, beside which another deploy may go on. It must not block. ctx ends when the
	// deploy has switched, or has ended.
	Propose func(ctx context.Context, d Deployment, generation uint64, rollout bool)

	// Dial opens every connection that the Proxy makes: to targets, for requests and
	// health checks alike, to where a TLS.AskURL leads, to the ACME directory, and, where
	// ACME.DNS is set, to servers of the DNS. The address is host:port as it was
	// deployed, so Dial looks names up itself, and nobody but it knows where they lead:
	// a connection is used again whatever its name leads to by then.
	//
	// If nil, a net.Dialer does, and the names of targets are looked up with
	// net.DefaultResolver. A connection to an address that a target's name does
	// not have any more is not used again. While no name server answers, the
	// addresses of the last answer serve, each until its health checks fail;
	// and for 30 s where a name is not known any more.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Listening are the addresses at which requests reach the Proxy, as far as
	// they are known. "0.0.0.0" and "::" stand for every address of the machine,
	// the latter for those of IPv4, too. A target at one of them is refused.
	Listening []netip.AddrPort

	// Handlers are what "handler:NAME" means in Deployment.Targets, by NAME, which
	// is not a number. They are called in this process as by an http.Server for
	// HTTP/1, with no socket in between; RemoteAddr is 127.0.0.1:0, and
	// X-Forwarded-For tells the client.
	Handlers map[string]http.Handler

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

	// TargetHeader is a header that names the target of a request, as it was
	// deployed: to the target itself, and to the client with the target's answer.
	// kamal-proxy's is X-Kamal-Target. If empty, there is none.
	TargetHeader string

	// TrustedProxies are the peers whose X-Forwarded-For, -Proto and -Host
	// are believed and passed on; from everybody else they are replaced. If
	// nil, loopback and private addresses are trusted; if empty, nobody is.
	TrustedProxies []netip.Prefix

	// KeepHistory is how many of the last deployments of each service History knows,
	// with the one that serves. If 0, 10; if negative, only that.
	KeepHistory int

	// AffinityKey hides the targets in the cookies of Deployment.Affinity. With
	// the same key after a restart, and in all proxies that have the same
	// services, visitors stay where they are. If empty, it is random.
	AffinityKey []byte

	// HTTPSPort is the port that redirects to https:// name, which is where
	// clients reach what serves TLSConfig. If 0, 443.
	HTTPSPort int

	// PublicHTTPPort and PublicHTTPSPort, if not 0, are the ports that all
	// redirects to http:// and to https:// name, whatever the client named and
	// HTTPSPort says: those that clients reach the Proxy at through a published
	// port or a load balancer. X-Forwarded-Port of a trusted proxy goes before
	// them.
	PublicHTTPPort, PublicHTTPSPort int

	// NoHTTPS, if not nil, says why nothing serves TLSConfig: a Deployment that
	// asks for TLS is refused with it, and restored services are served without.
	// If nil, something is taken to serve it.
	NoHTTPS error

	// ACME says where automatic certificates come from.
	ACME ACME
}

// A Predecessor is a Proxy whose place another one takes: the other one has restored what
// the Predecessor serves, and gets all new requests; and HandOver was called for the
// Predecessor. Predecessor{old.Follow, old.Drain} is one in the same process; for one in
// another process, the funcs call these methods there. The zero value is none.
type Predecessor struct {
	// Follow is called with each change of a service that has taken effect, in
	// their order: with what the service is from now on, or nil if it was removed.
	// It must not call the Proxy, which makes no other change meanwhile.
	Follow func(service string, s *Status)

	// Drain is called, after Follow, by each change that waits for requests to end.
	// It returns when the Predecessor's requests to what Follow has replaced of the
	// service have ended. Limits.Drain and limits.Stream say after how long they
	// are cut off, and streams closed; Drain returns how many were. When done is
	// closed, nobody waits any more.
	Drain func(service string, limits Timeouts, done <-chan struct{}) (requests, streams int64)
}

// A Delta is what a change alters of what Restore needs after a restart. What it
// does not name is as it was in the Delta before or, before the first one, as it was
// handed to Restore. All that it names is altered by one change: a restart must find
// all of it or nothing.
type Delta struct {
	Changed []Status // as these services are from now on, by name; StateRemoved: its History is to be kept
	Removed []string // services that are no more

	// All yields everything that Restore needs, with this change in it, by name.
	// It may be called at any later time, from any goroutine, and takes as long
	// as there are services.
	All iter.Seq[Status]
}

// Spool says where buffered bodies go, and how much room all of them may take
// together.
type Spool struct {
	// Dir is the folder of the files that hold what Buffer.Memory does not.
	// They have no names there. If empty, that of temporary files.
	Dir string

	// MaxMemory bounds the bytes in memory, above which files are used. If 0,
	// 64 MiB; if negative, there is no limit.
	MaxMemory int64

	// MaxSpool bounds the bytes in files. When there is no room, a request is
	// answered 503, and an answer is passed on as it comes, see
	// Outcome.Unbuffered. If 0, 4 GiB; if negative, there is no limit.
	MaxSpool int64
}

// A Deployment is what Deploy is asked to bring into service. It is plain
// data: it travels as JSON, durations as strings such as "30s". A duration of less
// than a millisecond is ErrInvalid, for a number alone is so many nanoseconds.
type Deployment struct {
	// Service names what is deployed; a deploy of a name that is in service
	// replaces what it served. Required: at most 128 bytes of letters, digits
	// and marks, and single spaces between them, but no '/', no other white
	// space, and neither "." nor "..".
	Service string `json:"service"`

	// Targets are what to send requests to: host:port or http://host:port, or
	// unix:/path of a socket, or handler:NAME of Options.Handlers, for plain
	// HTTP/1.1; https://host:port for HTTP/1.1 over TLS; or h2c://host:port for
	// HTTP/2 without TLS, as gRPC servers speak it. Required; a deploy succeeds
	// when all of them are healthy. One that is named twice counts once, here
	// and among ReadTargets.
	Targets []string `json:"targets"`

	// ReadTargets serve GET and HEAD requests of clients that have written
	// nothing within Timeouts.WriterAffinity, and no others. While none of them
	// is healthy, Targets serve these requests too. A target may be among both.
	ReadTargets []string `json:"read_targets,omitempty"`

	// ReadWebSockets sends WebSockets, which begin with a GET, there as well, if
	// there are any ReadTargets.
	ReadWebSockets bool `json:"read_websockets,omitempty"`

	// Affinity has each visitor stay with one target, for as long as that is
	// healthy and a target of the service: with "cookie", by the cookie
	// parachute-affinity; with "cookie=NAME", by one of that name. Which
	// answers set it is as for a Split. If empty, each request may go to another target.
	Affinity string `json:"affinity,omitempty"`

	// TargetTLS says how https:// targets are verified.
	TargetTLS TargetTLS `json:"target_tls,omitzero"`

	// TargetKeepAlive says how connections to targets are used again.
	TargetKeepAlive TargetKeepAlive `json:"target_keepalive,omitzero"`

	// Hosts are the names that the service answers for. Case, port, a final
	// dot, and the spelling of an international name do not matter.
	// "*.example.com" stands for any one label below example.com. Empty
	// means every host that no other service claims.
	Hosts []string `json:"hosts,omitempty"`

	// PathPrefixes narrow the service down to the paths below them: /api covers
	// /api and /api/x, but not /apiary. Of the services that share a host, a
	// request goes to the one with the longest prefix that it is below. Prefixes
	// are compared segment by segment, each with its escapes decoded. Empty
	// means every path of the hosts.
	PathPrefixes []string `json:"path_prefixes,omitempty"`

	// KeepPrefix sends the target the path as the client sent it. Otherwise the
	// prefix is removed from it, and sent in X-Forwarded-Prefix.
	KeepPrefix bool `json:"keep_prefix,omitempty"`

	// TLS says how the service's hosts are served over HTTPS.
	TLS TLS `json:"tls,omitzero"`

	// CanonicalHost is the one of Hosts that requests for the others are
	// redirected to; of a service without Hosts, it is any name. If empty, there
	// is none, or the one that another service with the same host names.
	CanonicalHost string `json:"canonical_host,omitempty"`

	// Redirects send requests for a path of the service elsewhere.
	Redirects []Redirect `json:"redirects,omitempty"`

	// HealthCheck says how to ask a target whether it is healthy.
	HealthCheck HealthCheck `json:"health_check,omitzero"`

	// Timeouts bound each phase of the deploy and of a request.
	Timeouts Timeouts `json:"timeouts,omitzero"`

	// NoWebSocketClose makes the Proxy cut off WebSockets without a Close frame.
	// Otherwise it first sends client and target a Close frame with status 1001
	// (going away), between two frames, and gives them a second to answer it, so
	// that the client knows that it may come back. It holds for the WebSockets
	// that the Deployment replaces, and for those that were opened under it.
	NoWebSocketClose bool `json:"no_websocket_close,omitempty"`

	// Buffer says which bodies are read to their end before they are passed on.
	Buffer Buffer `json:"buffer,omitzero"`

	// MaxRequestBody and MaxResponseBody bound bodies, in bytes, buffered or
	// not. A larger request is answered 413, a larger response replaced by a
	// 502; what has begun to be passed on is cut off. If 0, there is no limit.
	MaxRequestBody  int64 `json:"max_request_body,omitempty"`
	MaxResponseBody int64 `json:"max_response_body,omitempty"`

	// Access says who may use the service.
	Access Access `json:"access,omitzero"`

	// Forwarded says whose X-Forwarded fields are believed.
	Forwarded Forwarded `json:"forwarded,omitzero"`

	// Headers says what to change in the headers of requests and answers.
	Headers Headers `json:"headers,omitzero"`

	// ErrorPages is the absolute path of a folder with the pages that the
	// proxy answers with in the service's place: 404.html, 5xx.html and the
	// like, as Options.ErrorPages. They are read when the service is deployed,
	// and when it is restored.
	ErrorPages string `json:"error_pages,omitempty"`

	// Report says what is reported of requests. The Proxy only hands it to
	// Observe, in Outcome.Deployment.
	Report Report `json:"report,omitzero"`

	// Bake has the version prove itself after the switch. It has no effect where
	// nothing is replaced.
	Bake Bake `json:"bake,omitzero"`

	// Canary has a growing share of the visitors try the version before all of them
	// get it. It has no effect where nothing is replaced.
	Canary Canary `json:"canary,omitzero"`

	// Force switches to the targets without waiting for them to be healthy.
	Force bool `json:"force,omitempty"`

	// Release says what is deployed, such as a commit or a tag, and By who deploys
	// it. They are told wherever the generation is, and are at most 128 bytes of
	// printable text each.
	Release string `json:"release,omitempty"`
	By      string `json:"by,omitempty"`
}

// A Bake is a time after the switch in which the version before stays warm: it is
// probed, and its streams go on. If the new version turns out to be worse, or all of its
// targets fail, the deploy is taken back.
//
// The new version is worse if its error rate is above twice that of the version before
// over ten minutes, or its p99 is too high. That is decided by a sequential test, which
// is wrong in at most 1 of 1,000 bakes of two equal versions; see docs/safe-deploys.md.
// An error is an answer of 500 or above, or a failure that the Proxy saw and that is not
// the client's.
type Bake struct {
	// For is how long it lasts, apart from the time in which the service is paused or
	// stopped, or another change of it is under way. If 0, there is no bake.
	For time.Duration `json:"for,omitzero"`

	// MaxErrorRate is the error rate that is too high where the version before had
	// too few requests to compare with, from 0 to 1. If 0, 0.05.
	MaxErrorRate float64 `json:"max_error_rate,omitempty"`

	// MaxSlowdown is how many times as long as before p99 may be. It is judged from
	// 1,000 requests on, and from 10 s on. If 0, 3; if negative, it is not judged.
	MaxSlowdown float64 `json:"max_slowdown,omitempty"`

	// MinRequests is how many requests it takes for errors to be judged. If 0, 50.
	MinRequests int `json:"min_requests,omitempty"`
}

// A Canary brings a version into service as a Rollout at first. In each step, a share of
// the visitors goes there. It is judged as in a Bake, with the limits of Bake, but compared
// with what serves the other visitors at the same time. After the last step it is promoted.
// If it turns out to be worse, or all of its targets fail, the rollout is ended, and the
// deploy fails with ErrTakenBack.
//
// A step with too few requests for a judgement is repeated, up to ten times. Then the
// rollout stays as it is, and the deploy ends with ErrUndecided: Promote or EndRollout
// decides. So it does where the Proxy ends. A newer change of the service ends the rollout
// and the deploy, with ErrSuperseded. The clock stands while the service is paused or
// stopped.
type Canary struct {
	// Steps are the shares, in percent: each from 1 to 100, and more than the one
	// before. If there are none, there is no canary.
	Steps []int `json:"steps,omitempty"`

	// Step is how long each step takes. If 0, 30 s.
	Step time.Duration `json:"step,omitzero"`
}

func (c Canary) MarshalJSON() ([]byte, error)  { return wire.Marshal(c) }
func (c *Canary) UnmarshalJSON(j []byte) error { return wire.UnmarshalStrict(j, c) }

func (b Bake) MarshalJSON() ([]byte, error)  { return wire.Marshal(b) }
func (b *Bake) UnmarshalJSON(j []byte) error { return wire.UnmarshalStrict(j, b) }

func (b Bake) check() error {
	return cmp.Or(invalid(bake.Settings(b).Check()), checkDurations(b))
}

// A Baking is what Restore needs to go on with a bake.
type Baking struct {
	Left       time.Duration `json:"left,omitzero"` // how much of it was left at Since
	Since      time.Time     `json:"since"`         // when Commit got this last
	Generation uint64        `json:"generation"`    // that is returned to if the new version is worse
	Deployment Deployment    `json:"deployment"`    // of that generation
	Before     BakeFigures   `json:"before"`        // of the ten minutes before the switch
}

func (b Baking) MarshalJSON() ([]byte, error)  { return wire.Marshal(b) }
func (b *Baking) UnmarshalJSON(j []byte) error { return wire.Unmarshal(j, b) }

// BakeFigures are what was counted of the requests to a version.
type BakeFigures struct {
	Requests uint64        `json:"requests"`
	Errors   uint64        `json:"errors"`
	P99      time.Duration `json:"p99,omitzero"` // 99 in a hundred took no longer, within 20 %
}

func (f BakeFigures) MarshalJSON() ([]byte, error)  { return wire.Marshal(f) }
func (f *BakeFigures) UnmarshalJSON(j []byte) error { return wire.Unmarshal(j, f) }

// A BakeReport says how a bake stands.
type BakeReport struct {
	Now    BakeFigures `json:"now"`
	Before BakeFigures `json:"before"`         // of the version that is returned to, over the ten minutes before the switch
	Note   string      `json:"note,omitempty"` // what is to be known of a bake that ended well
}

// A FailedRoute counts failed requests that have the same Route and Status.
type FailedRoute struct {
	Route     string `json:"route"`  // METHOD /segment, the first one of the path
	Status    int    `json:"status"` // of the answer
	Requests  uint64 `json:"requests"`
	RequestID string `json:"request_id"` // of one of them
}

// A Difference is what a deploy changes of a service that serves, other than its
// targets, in the words of Options.Compare.
type Difference struct {
	NoLonger []string `json:"no_longer,omitempty"` // what it had
	Now      []string `json:"now,omitempty"`       // what it has instead, or as well
	Opened   []string `json:"opened,omitempty"`    // sentences about what is let in that was not
}

// Action says what Apply does to a service.
type Action string

const (
	ActionAdd     Action = "add"     // it is deployed for the first time
	ActionReplace Action = "replace" // it is deployed in place of what it serves
	ActionKeep    Action = "keep"    // it serves what it is to serve
	ActionRemove  Action = "remove"  // it is taken out
)

// A Step is what Apply does to one service.
type Step struct {
	Service string      `json:"service"`
	Action  Action      `json:"action"`
	Before  *Deployment `json:"before,omitempty"` // what it serves; nil: it is not there
	After   *Deployment `json:"after,omitempty"`  // what it is to serve, complete; nil: it is taken out
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

func (t Timeouts) MarshalJSON() ([]byte, error)  { return wire.Marshal(t) }
func (t *Timeouts) UnmarshalJSON(b []byte) error { return wire.UnmarshalStrict(b, t) }

// A Rollback says which deployment to bring back.
type Rollback struct {
	To string `json:"to,omitempty"` // a generation or a release that History has; if empty, the latest that was replaced
	By string `json:"by,omitempty"` // Deployment.By of the new one
}

// A Rollout is a second version of a service, beside the first. All that it does
// not say is as the service's Deployment says.
type Rollout struct {
	Targets     []string `json:"targets"`
	ReadTargets []string `json:"read_targets,omitempty"`

	// Release and By are its own, as in a Deployment.
	Release string `json:"release,omitempty"`
	By      string `json:"by,omitempty"`

	// Timeouts are for bringing it into service, and for ending it. A field
	// that is 0 is the service's.
	Timeouts Timeouts `json:"timeouts,omitzero"`

	// Split says who goes to it. If it has neither Percent nor List, these and
	// CookieOnly are as before, at first nobody; an empty Preview is as before, too.
	Split Split `json:"split,omitzero"`

	// Deployment, if not nil, is what Promote makes of the service, but for its
	// Service, Targets, ReadTargets, Release and By, which are those of the Rollout.
	// Until then it says how the targets are probed, and how they are spoken to.
	Deployment *Deployment `json:"deployment,omitempty"`
}

// A Split says which visitors of a service go to its rollout: those whose
// cookie parachute-rollout (or kamal-rollout) has one of the values in List, and
// Percent of the rest, by a hash of the cookie, which is that of kamal-proxy for
// kamal-rollout. Visitors without one are given one, so that they stay where
// they are, though not with an answer that many clients may be given: one with status
// 304, or whose Cache-Control says public or immutable.
type Split struct {
	Percent int      `json:"percent,omitempty"` // 0 to 100
	List    []string `json:"list,omitempty"`

	// CookieOnly keeps visitors without a cookie from the rollout, and gives
	// them none.
	CookieOnly bool `json:"cookie_only,omitempty"`

	// Preview is a header with a secret, "NAME: VALUE", such as "X-Preview: SECRET".
	// Who sends it goes to the rollout, and is given the cookie parachute-preview by
	// which their later requests do. If empty, there is no such header.
	Preview string `json:"preview,omitempty"`
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

func (p Pause) MarshalJSON() ([]byte, error)  { return wire.Marshal(p) }
func (p *Pause) UnmarshalJSON(b []byte) error { return wire.UnmarshalStrict(b, p) }

// A Stop answers the requests of a service with 503.
type Stop struct {
	Message string        `json:"message,omitempty"` // on the page; if empty, there is none
	Drain   time.Duration `json:"drain,omitzero"`    // as in Pause
}

func (s Stop) MarshalJSON() ([]byte, error)  { return wire.Marshal(s) }
func (s *Stop) UnmarshalJSON(b []byte) error { return wire.UnmarshalStrict(b, s) }

// These are the errors of a Proxy's methods. A returned error wraps one of them
// and adds the details, unless it comes from Options.Commit or a context. Use
// errors.Is to tell them apart.
var (
	ErrInvalid    = errors.New("invalid") // a value that is not allowed: the message names the field
	ErrConflict   = errors.New("host is used by another service")
	ErrUnhealthy  = errors.New("target did not become healthy") // see UnhealthyError
	ErrNotFound   = errors.New("no such service")
	ErrSuperseded = errors.New("superseded")   // a newer change of the service came first
	ErrClosed     = errors.New("proxy closed") // by Shutdown or Close

	ErrTakenBack     = errors.New("taken back")     // what a deploy brought failed after the switch, and what served before serves again: see TakenBackError
	ErrUndecided     = errors.New("not decided")    // whether a deploy stays is not known yet: neither what it brought nor what served before may be stopped
	ErrNoCertificate = errors.New("no certificate") // TLS.Wait was set, and one could not be obtained in time
)

// normalize returns o with the defaults where nothing was asked for.
func (o Options) normalize() Options {
	if o.Propose == nil {
		o.Propose = func(context.Context, Deployment, uint64, bool) {}
	}
	o.UserAgent = cmp.Or(o.UserAgent, agent.Name("parachute", "github.com/shahnk19/parachute"))
	o.MaxHeld = cmp.Or(o.MaxHeld, 1000)
	o.KeepHistory = max(cmp.Or(o.KeepHistory, 10), 1)
	o.TargetHeader = http.CanonicalHeaderKey(o.TargetHeader)
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.TrustedProxies == nil {
		o.TrustedProxies = forward.NearbyPrefixes()
	}
	o.HTTPSPort = cmp.Or(o.HTTPSPort, 443)
	if len(o.AffinityKey) == 0 {
		o.AffinityKey = affinity.NewKey()
	}
	if o.ACME.CacheAt == nil {
		o.ACME.CacheAt = func(dir string) autocert.Cache { return autocert.DirCache(dir) }
	}
	return o
}

// A spec is a Deployment in the form that the Proxy works with: checked, complete,
// and with the files read that it names.
type spec struct {
	Deployment // complete: hosts in their canonical form, defaults where nothing was asked for
	wants
	targets   []endpoint.Target // of Targets, then of ReadTargets
	targetTLS targetTLS
	rules     *rules.Rules
	pair      *keypair.Pair // from the certificate files; nil: TLS.Mode is not TLSFiles
	split     *split.Split  // of a rollout; nil: nobody goes there
	own       *spec         // of a rollout: that of its Deployment; nil: it has none
}

// parse returns d in the form that the Proxy works with. All that can be wrong with
// it by itself is found here, and is ErrInvalid; the error says what would be right.
func (p *Proxy) parse(d Deployment) (*spec, error) {
	s, err := p.parseWithoutFiles(d)
	if err == nil {
		err = p.options.checkTLS(s)
	}
	if err == nil {
		err = p.readFiles(s)
	}
	if err == nil {
		err = s.loadPair()
	}
	return s, err
}

// parseNew is parse for what somebody asks to deploy, not for what is restored or
// mirrored: its targets must not be the Proxy itself.
func (p *Proxy) parseNew(ctx context.Context, d Deployment) (*spec, error) {
	s, err := p.parse(d)
	if err == nil {
		err = p.checkNoLoop(ctx, s.targets)
	}
	return s, err
}

// parseWithoutFiles is parse, but does not read the files that d names. After an error
// the spec has the valid ones of d's claims, which a service keeps that has failed.
func (p *Proxy) parseWithoutFiles(d Deployment) (*spec, error) {
	s, err := p.parseData(d)
	s.Policy = p.options.policyOf(&s.Deployment)
	return s, err
}

// parseData returns d complete, with what it claims, and its targets. What it returns is
// parsed to the same.
func (p *Proxy) parseData(d Deployment) (*spec, error) {
	s := &spec{Deployment: deep.Copy(d)}
	var unclaimable, err error
	s.Claims, s.Hosts, s.PathPrefixes, unclaimable = hostname.ParseClaims(s.Hosts, s.PathPrefixes) // without what is not valid
	if err := checkServiceName(s.Service); err != nil {
		return s, err
	}
	if s.targets, err = p.parseTargets(&s.Deployment); err != nil {
		return s, err
	}
	if unclaimable != nil {
		return s, invalid(unclaimable)
	}
	if err := s.TLS.check(s.Hosts); err != nil {
		return s, err
	}
	if err := p.settings(&s.Deployment).Check(); err != nil {
		return s, invalid(err)
	}
	if err := checkTexts(s.Release, s.By); err != nil {
		return s, err
	}
	if s.CanonicalHost, err = hostname.ParseCanonical(s.CanonicalHost, s.Hosts); err != nil {
		return s, invalid(err)
	}
	if s.HealthCheck, err = s.HealthCheck.normalize(); err != nil {
		return s, err
	}
	if err := cmp.Or(checkDurations(s.Timeouts), s.Bake.check(), checkDurations(s.Canary), invalid(bake.CheckSteps(s.Canary.Steps, s.Canary.Step, s.Bake.For))); err != nil {
		return s, err
	}
	if len(s.Canary.Steps) > 0 {
		s.Canary.Step = cmp.Or(s.Canary.Step, 30*time.Second)
	}
	s.Timeouts = s.Timeouts.over(Timeouts{
		Deploy:         30 * time.Second,
		Drain:          30 * time.Second,
		Response:       30 * time.Second,
		Hold:           5 * time.Second,
		WriterAffinity: time.Second,
	})
	return s, nil
}

// parseTargets returns the targets of d, followed by its read targets, and leaves
// each of them once in either list of d. It returns ErrInvalid if one of them, or a
// setting for all of them, is not valid, or if one is none of Options.Handlers.
func (p *Proxy) parseTargets(d *Deployment) ([]endpoint.Target, error) {
	d.Targets, d.ReadTargets = endpoint.Distinct(d.Targets), endpoint.Distinct(d.ReadTargets)
	if len(d.Targets) == 0 {
		return nil, faultf(ErrInvalid, "no target: name at least one as host:port, such as web-1:3000")
	}
	all, err := endpoint.ParseAll(slices.Concat(d.Targets, d.ReadTargets))
	if err == nil {
		err = d.checkTargets(all)
	}
	if err != nil {
		return nil, invalid(err)
	}
	err = cmp.Or(backend.KeepAlive(d.TargetKeepAlive).Check(), trust.Check(d.TargetTLS.CAFile, d.TargetTLS.Insecure), p.backends.CheckHandlers(all))
	return all, invalid(err)
}

// readFiles reads the files that s names, except those of its certificate, and makes its
// rules. An error is ErrInvalid.
func (p *Proxy) readFiles(s *spec) (err error) {
	if s.targetTLS, err = s.TargetTLS.readFile(); err != nil {
		return err
	}
	s.rules, err = rules.New(p.settings(&s.Deployment), rules.Shared{Pages: p.pages, Checks: p.checks, Spool: p.spool})
	return invalid(err)
}

// settings returns what a complete Deployment says of each request.
func (p *Proxy) settings(d *Deployment) *rules.Settings {
	s := &rules.Settings{
		Access:          rules.Access(d.Access),
		Headers:         rules.Headers(d.Headers),
		Buffer:          rules.Buffer(d.Buffer),
		Trust:           string(d.Forwarded.Trust),
		ClientHeader:    d.Forwarded.ClientHeader,
		TrustedProxies:  p.options.TrustedProxies,
		ErrorPages:      d.ErrorPages,
		Affinity:        d.Affinity,
		PathPrefixes:    d.PathPrefixes,
		WriterAffinity:  d.Timeouts.WriterAffinity,
		MaxRequestBody:  d.MaxRequestBody,
		MaxResponseBody: d.MaxResponseBody,
	}
	for _, r := range d.Redirects {
		s.Redirects = append(s.Redirects, rules.Redirect(r))
	}
	return s
}

// normalize returns p with its defaults.
func (p Pause) normalize() Pause {
	p.Max = cmp.Or(p.Max, 30*time.Second)
	p.Drain = cmp.Or(p.Drain, 30*time.Second)
	return p
}

// checkDurations returns ErrInvalid if a field of a struct is too short a duration.
func checkDurations(of any) error { return invalid(duration.Check(of)) }

// over returns t with the fields that are 0 as in others.
func (t Timeouts) over(others Timeouts) Timeouts {
	duration.Fill(&t, others)
	return t
}

// over returns s with what it leaves open as in other: see Rollout.Split.
func (s Split) over(other Split) Split {
	return Split(split.Options(s).Over(split.Options(other)))
}

// parse returns s as it is applied, or nil if nobody goes to the rollout by it.
func (s Split) parse() (*split.Split, error) {
	parsed, err := split.New(split.Options(s))
	return parsed, invalid(err)
}

// checkTexts returns ErrInvalid if release or by cannot be that of a deployment.
func checkTexts(release, by string) error {
	return invalid(cmp.Or(naming.CheckText("release", release), naming.CheckText("by", by)))
}

func checkServiceName(name string) error { return invalid(naming.Check(name)) }
