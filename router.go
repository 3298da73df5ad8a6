package parachute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/shahnk19/parachute/internal/answer"
	"github.com/shahnk19/parachute/internal/buffer"
	"github.com/shahnk19/parachute/internal/cookies"
	"github.com/shahnk19/parachute/internal/credentials"
	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/grpc"
	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/pages"
	"github.com/shahnk19/parachute/internal/reason"
	"github.com/shahnk19/parachute/internal/split"
	"github.com/shahnk19/parachute/internal/upstream"
	"github.com/shahnk19/parachute/internal/waiting"
)

// A table says which version of which service answers for a host and a path.
// It never changes once it is published.
type table struct {
	services map[string]*version // by name
	exact    map[string]*site    // by host
	wildcard map[string]*site    // by what follows "*." in the host
	any      *site               // what claims no host; nil: requests for unknown hosts are nobody's
	unnamed  *site               // has the certificate for clients that name no host; nil: they get none
	closed   bool                // nobody is served any more
}

// A site is what answers for one host, or for all that one wildcard stands for.
type site struct {
	host    string   // as a claim has it
	routes  []route  // the longest prefix first
	policy  policy   // of all its services
	holding *holding // of its certificates; nil: it is not served over TLS
}

// A route says which version answers for the paths below a prefix.
type route struct {
	prefix  string // as a claim has it
	written string // the same with escapes, as it may stand in a header
	version *version
}

// A claim is what a service asks for, and what no two services have.
type claim struct {
	host   string // as hostname.ParsePattern returns it, or anyHost
	prefix string // as hostname.ParsePrefix returns it
}

// wants are what no two services have.
type wants struct {
	claims []claim
	policy policy // for the hosts of claims
}

// conflict returns why a service cannot have c, with that policy, besides what
// others want, by their names; or nil.
func (c claim) conflict(others iter.Seq2[string, wants], service string, mine policy) *ConflictError {
	isShared := func(other claim) bool { return other.host == c.host }
	for owner, theirs := range others {
		switch {
		case owner == service:
		case slices.Contains(theirs.claims, c):
			return &ConflictError{Host: c.host, Prefix: c.prefix, Owner: owner}
		case slices.ContainsFunc(theirs.claims, isShared):
			if _, dispute := theirs.policy.with(mine); dispute != "" {
				return &ConflictError{Host: c.host, Owner: owner, Dispute: dispute}
			}
		}
	}
	return nil
}

// wantsOf yields what versions have, by the names of their services.
func wantsOf(versions []*version) iter.Seq2[string, wants] {
	return func(yield func(string, wants) bool) {
		for _, v := range versions {
			if !yield(v.status.Service, v.wants) {
				return
			}
		}
	}
}

// anyHost stands for every host that no other service claims.
const anyHost = ""

// newTable returns the table of these versions, no two of which have one claim.
func newTable(services map[string]*version) *table {
	t := &table{
		services: services,
		exact:    make(map[string]*site),
		wildcard: make(map[string]*site),
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		v := services[name]
		for _, c := range v.claims {
			s := t.site(c.host)
			if s == nil {
				s = &site{host: c.host}
				t.add(s)
			}
			s.add(c.prefix, v)
		}
	}
	for s := range t.sites() {
		slices.SortFunc(s.routes, func(a, b route) int { return len(b.prefix) - len(a.prefix) })
		if s.holding != nil && s != t.any && (t.unnamed == nil || s.host < t.unnamed.host) {
			t.unnamed = s
		}
	}
	return t
}

// add gives v what is below a prefix.
func (s *site) add(prefix string, v *version) {
	written := (&url.URL{Path: prefix}).EscapedPath()
	s.routes = append(s.routes, route{prefix, written, v})
	s.policy, _ = s.policy.with(v.policy)
	if s.holding == nil && v.policy.isSecure() {
		s.holding = v.holding
	}
}

func (t *table) add(s *site) {
	if s.host == anyHost {
		t.any = s
	} else if parent, ok := hostname.CutWildcard(s.host); ok {
		t.wildcard[parent] = s
	} else {
		t.exact[s.host] = s
	}
}

// site returns the site of a claim's host, or nil.
func (t *table) site(host string) *site {
	if host == anyHost {
		return t.any
	}
	if parent, ok := hostname.CutWildcard(host); ok {
		return t.wildcard[parent]
	}
	return t.exact[host]
}

// sites yields all of them, in no order.
func (t *table) sites() iter.Seq[*site] {
	return func(yield func(*site) bool) {
		for _, s := range t.exact {
			if !yield(s) {
				return
			}
		}
		for _, s := range t.wildcard {
			if !yield(s) {
				return
			}
		}
		if t.any != nil {
			yield(t.any)
		}
	}
}

// lookup returns the site that answers for a Host header or the like, or nil.
// The exact host goes before its wildcard, and that before a service without
// hosts. A name that is too long for one is nobody's.
func (t *table) lookup(host string) *site {
	name := hostname.Canonical(host)
	if len(name) > hostname.MaxLen {
		return nil
	}
	if s := t.exact[name]; s != nil {
		return s
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		if s := t.wildcard[parent]; s != nil {
			return s
		}
	}
	return t.any
}

// route returns the version that answers for a request target, or nil, with
// the prefix that the target is below, and the target without that.
func (s *site) route(target string) (v *version, prefix, rest string) {
	for _, r := range s.routes {
		if rest, ok := forward.Below(target, r.prefix); ok {
			return r.version, r.written, rest
		}
	}
	return nil, "", ""
}

// redirect returns where a request for s goes instead, if it goes elsewhere: to
// https, to the canonical host, or to both in one step. It goes to https only
// where it is likely to be served: that may have to be asked.
func (t *table) redirect(r *http.Request, s *site, client forward.Client, httpsPort int) (origin string, ok bool) {
	name, secure := hostname.Canonical(r.Host), client.IsSecure(r)
	host, to := name, s
	if canonical := s.policy.canonical; canonical != "" && canonical != name {
		host, to = canonical, t.lookup(canonical)
	}
	toHTTPS := !secure && to.isRedirected() && to.holding.expects(r.Context(), to.host, host, client.Addr)
	if host == name && !toHTTPS {
		return "", false
	}
	// What the client says is only repeated where nothing else is known.
	if _, isWildcard := hostname.CutWildcard(s.host); s.policy.canonical == "" && s.host != anyHost && !isWildcard {
		host = s.host
	}
	switch {
	case toHTTPS && httpsPort == 443:
		return hostname.Origin("https", host, "")
	case toHTTPS:
		return hostname.Origin("https", host, strconv.Itoa(httpsPort))
	case secure:
		return hostname.Origin("https", host, hostname.Port(r.Host))
	}
	return hostname.Origin("http", host, hostname.Port(r.Host))
}

// isRedirected reports whether plain requests for s are to go to https.
func (s *site) isRedirected() bool { return s.policy.isSecure() && !s.policy.tls.NoRedirect }

// isFor reports whether what came over a connection to sni may be for name,
// whose site s is, too. other is the site of sni.
func (s *site) isFor(name string, other *site, sni string) bool {
	if s == nil || other == nil || s.policy.tls != other.policy.tls {
		return s == other
	}
	if s.holding == nil || other.holding == nil {
		return s.holding == other.holding
	}
	return sameCertificate(s.holding.certificate(s.host, name), other.holding.certificate(other.host, sni))
}

// versions returns all that answer for paths of s.
func (s *site) versions() []*version {
	var all []*version
	for _, r := range s.routes {
		all = append(all, r.version)
	}
	return all
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

// A visit is one request on its way through the Proxy.
type visit struct {
	proxy   *Proxy
	w       http.ResponseWriter
	r       *http.Request
	sent    *http.Request // r, or with a body that is limited or buffered
	body    *buffer.Body  // of sent, if it is buffered
	start   time.Time
	client  forward.Client
	version *version // that is to answer
	group   *group   // of version
	asked   string   // the request target as the client sent it
	target  string   // the same as version sees it
	decided bool     // which group the visitor belongs to
	second  bool     // it is that of the rollout
	outcome Outcome
	reason  reason.Reason // that of outcome
	served  bool          // ServeHTTP did not panic

	believed Forwarded // what of a Deployment client was found by

	sentTo   *target // that had it last; nil: none
	isStream bool    // what came back from there

	tried []*target     // that could not take the request
	last  error         // why the last of them could not
	why   reason.Reason // the same
	lost  int           // how many of them had it, and went away

	// What counts of Timeouts.Hold is the time that is spent waiting, for
	// connections too: not that in which a target had the request, nor that of a
	// pause.
	backoff waiting.Backoff
	paused  time.Duration // how long it has waited for a resume
}

func (v *visit) serve() {
	r := v.r
	if r.TLS != nil && r.TLS.NegotiatedProtocol == acme.ALPNProto {
		v.abort(reason.NoHTTP, errors.New("a request on a connection for a TLS-ALPN-01 challenge")) // RFC 8737, section 3
	}
	target, err := forward.Target(r, "")
	switch {
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		v.w.Header().Set("Allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
		v.refuse(reason.Method, nil)
		return
	case r.Method == http.MethodOptions && r.RequestURI == "*":
		v.outcome.Status = http.StatusOK
		v.w.WriteHeader(http.StatusOK)
		return
	case err != nil:
		v.refuse(reason.BadRequest, err)
		return
	case forward.HasPassed(r.Header, v.proxy.hop):
		v.refuseBody(reason.Loop, errOwnProbe)
		return
	}
	for {
		table := v.proxy.router.routes.Load()
		if table.closed {
			v.refuse(reason.Closed, ErrClosed)
			return
		}
		site := table.lookup(r.Host)
		if v.isMisdirected(table, site) {
			v.refuseBody(reason.Misdirected, nil)
			return
		}
		v.version = v.route(site, target)
		if v.answerChallenge(target) || v.redirect(table, site, target) {
			return
		}
		if v.version == nil {
			v.notFound()
			return
		}
		if again := v.pass(); !again {
			return
		}
	}
}

// What is told of a request that has been here before.
var (
	errLoop     = errors.New("the request has come back: a target of the service leads to this proxy")
	errOwnProbe = errors.New("a health check has come back: a target leads to this proxy")
)

// pass sends the request through v.version. It reports true if there is a newer
// version to look for, or another target to try; otherwise it is answered.
func (v *visit) pass() (again bool) {
	version := v.version
	switch {
	case version.status.State == StateFailed:
		v.refuse(reason.Failed, errors.New(version.status.Error))
		return false
	case forward.HasPassed(v.r.Header, version.hop):
		v.refuseBody(reason.Loop, errLoop)
		return false
	case !v.isAdmitted():
		return false
	case version.isHalted():
		return v.waitForResume()
	case version.isSettling():
		if !version.awaitSettled(v.r.Context()) {
			v.abort(reason.Gone, v.r.Context().Err())
		}
		return true
	case !v.takeBody():
		return false
	}
	v.group = v.choose()
	lane := v.group.pick(v.start.Sub(v.proxy.began), v.tried, v.isReading())
	if lane == nil {
		return v.waitForTarget()
	}
	passage, ok := lane.Enter()
	// If not ok, a newer table is there.
	return !ok || !v.forward(lane, passage)
}

// route finds the version that answers for a request target, or returns nil.
func (v *visit) route(s *site, target string) *version {
	if s == nil {
		return nil
	}
	version, prefix, rest := s.route(target)
	if version == nil {
		return nil
	}
	o := &v.outcome
	o.Service, o.Generation, o.Deployment = version.status.Service, version.status.Generation, &version.status.Deployment
	o.Prefix, v.asked, v.target = prefix, target, rest
	if version.status.Deployment.KeepPrefix {
		o.Prefix, v.target = "", target
	}
	v.believe(version)
	return version
}

// believe has v.client be the client as a service sees it, for it may say itself
// whom to believe.
func (v *visit) believe(version *version) {
	if f := version.status.Deployment.Forwarded; f != v.believed {
		v.believed = f
		v.client = forward.ClientOf(v.r, version.conduct.trusted, f.ClientHeader)
		v.outcome.Client = v.client.Addr
	}
}

// isMisdirected reports whether the request came over a connection that was
// made to another host, and may not be for that of s; or that could not be made
// any more, since s, which is nil where there is no service, has no TLS now: what
// a change forbids holds for connections that were there before.
func (v *visit) isMisdirected(t *table, s *site) bool {
	if v.r.TLS == nil {
		return false
	}
	isNamed := v.r.TLS.ServerName != ""
	if v.proxy.speaksTLS.Load() && (s == nil && isNamed || s != nil && s.holding == nil) {
		return true
	}
	if !isNamed {
		return false
	}
	sni, name := hostname.Canonical(v.r.TLS.ServerName), hostname.Canonical(v.r.Host)
	return sni != name && !s.isFor(name, t.lookup(sni), sni)
}

// answerChallenge answers a request of a certificate authority that wants to
// see that the host is ours.
func (v *visit) answerChallenge(target string) bool {
	if !strings.HasPrefix(target, challengePath) {
		return false
	}
	answer, ok := v.proxy.certificates.token(v.r.Context(), hostname.Canonical(v.r.Host), target)
	if ok {
		v.reply(reason.Challenge, string(answer))
	}
	return ok
}

// redirect answers a request that belongs on another host, or on https.
func (v *visit) redirect(t *table, s *site, target string) bool {
	if s == nil || s.policy.canonical == "" && !s.policy.isSecure() {
		return false
	}
	origin, ok := t.redirect(v.r, s, v.client, v.proxy.options.HTTPSPort)
	if ok {
		v.moved(origin + strings.TrimPrefix(target, "*")) // which has no path
	}
	return ok
}

// isSecure reports whether the request came over TLS, if only to a proxy in
// front of this one.
func (v *visit) isSecure() bool { return v.client.IsSecure(v.r) }

func (v *visit) moved(location string) {
	how := reason.MovedOn
	if v.r.Method == http.MethodGet || v.r.Method == http.MethodHead {
		how = reason.Moved
	}
	v.w.Header()["Location"] = []string{location}
	v.refuse(how, nil)
}

// isAdmitted reports whether the request may go on to the service; otherwise it
// is answered.
func (v *visit) isAdmitted() bool {
	c := v.version.conduct
	if !c.networks.Allows(v.address()) {
		v.refuse(reason.Denied, nil)
		return false
	}
	if c.users != nil && !v.isKnown(c.users) {
		return false
	}
	to, ok := c.redirects.Location(v.asked)
	if ok {
		v.moved(to)
	}
	return !ok
}

// isKnown reports whether the request has the password of one of users;
// otherwise it is answered.
func (v *visit) isKnown(users *credentials.Users) bool {
	ctx, cancel := context.WithTimeout(v.r.Context(), passwordLimit)
	defer cancel()
	known, err := users.Allows(ctx, v.r.Header)
	switch {
	case v.r.Context().Err() != nil:
		v.abort(reason.Gone, v.r.Context().Err())
	case err != nil:
		v.refuse(reason.Busy, err)
	case !known:
		v.w.Header()["Www-Authenticate"] = []string{`Basic realm="restricted", charset="UTF-8"`}
		v.refuse(reason.Unauthorized, nil)
	}
	return known && err == nil
}

// passwordLimit bounds the wait for a password to be checked, which takes its
// turn among others.
const passwordLimit = 10 * time.Second

// address is the one that Access judges by.
func (v *visit) address() netip.Addr {
	if v.proxy.trustsExplicitly {
		return v.client.Addr
	}
	return forward.ClientOf(v.r, nil, "").Addr
}

// waitForResume holds the request while the service is paused, and answers it
// if that takes too long or the service is stopped. It reports whether there is
// a newer version to look at.
func (v *visit) waitForResume() (again bool) {
	if v.isHealthCheck() {
		if v.isCallForHealth() {
			v.replyServing()
		} else {
			v.reply(reason.Halted, "halted\n")
		}
		return false
	}
	status := &v.version.status
	if status.Stop != nil {
		v.refusePage(reason.Stopped, status.Stop.Message, nil)
		return false
	}
	held := v.version.held
	if !held.Enter(v.proxy.options.MaxHeld) {
		v.refuse(reason.PausedFull, nil)
		return false
	}
	defer held.Leave()
	var late <-chan time.Time
	if status.Pause.Max >= 0 {
		timer := time.NewTimer(status.Pause.Max - v.paused)
		defer timer.Stop()
		late = timer.C
	}
	began := time.Now()
	select {
	case <-v.version.replaced:
		waited := time.Since(began)
		v.paused += waited
		v.backoff.Exclude(waited)
		return true
	case <-late:
		v.refuse(reason.PausedLong, nil)
	case <-v.r.Context().Done():
		v.abort(reason.Gone, v.r.Context().Err())
	case <-v.proxy.stopping:
		v.refuse(reason.Closed, ErrClosed)
	}
	return false
}

// isHealthCheck reports whether the request is a health check of somebody in
// front, as far as that can be told: it reads just what v.version's targets are
// probed at. The front page is for visitors, even if it is that.
func (v *visit) isHealthCheck() bool {
	if v.isCallForHealth() {
		return true
	}
	if v.r.Method != http.MethodGet && v.r.Method != http.MethodHead {
		return false
	}
	probed := v.version.status.Deployment.HealthCheck.Path
	path, _, _ := strings.Cut(probed, "?")
	return v.target == probed && path != "/"
}

// isCallForHealth is isHealthCheck for a service whose targets speak gRPC.
func (v *visit) isCallForHealth() bool {
	return v.version.status.Deployment.HealthCheck.GRPC && v.target == grpc.HealthPath && field.IsCall(v.r)
}

// takeBody sees to the limits of the request's body, and reads it if it is to
// be buffered. It reports false if it answered the request instead.
func (v *visit) takeBody() bool {
	d := &v.version.status.Deployment
	// A gRPC call may wait for the answer to its first message before it sends
	// the next one.
	whole := d.Buffer.Requests && !(field.IsCall(v.r) && v.version.takesCalls())
	if v.sent != v.r || v.r.ContentLength == 0 || d.MaxRequestBody == 0 && !whole {
		return true
	}
	if d.MaxRequestBody > 0 && v.r.ContentLength > d.MaxRequestBody {
		v.refuseBody(reason.RequestTooLarge, buffer.ErrTooLarge)
		return false
	}
	sent := *v.r
	v.sent = &sent
	if !whole {
		sent.Body = buffer.Limit(trailed{v.r.Body, v.r, &sent}, d.MaxRequestBody)
		return true
	}
	limits := buffer.Limits{Memory: d.Buffer.Memory, Size: d.MaxRequestBody}
	body, err := v.proxy.spool.ReadAll(forward.Patient(v.w, v.r.Body), v.r.ContentLength, limits)
	if err != nil {
		v.refuseBody(v.whyBody(err, reason.BufferedBody), err)
		return false
	}
	v.body = body
	sent.Body, sent.ContentLength, sent.TransferEncoding = body, body.Len(), nil
	if sent.Trailer = v.r.Trailer; len(sent.Trailer) > 0 && v.r.ContentLength < 0 {
		sent.ContentLength = -1 // a trailer section follows chunks alone (RFC 9112, section 7.1.2)
	}
	sent.Header = maps.Clone(v.r.Header)
	delete(sent.Header, "Expect") // its body is here
	return true
}

// A trailed is the body of a request, of which there is a copy. A server puts
// trailers that were not announced into the request that it has made.
type trailed struct {
	io.ReadCloser
	r, copy *http.Request
}

func (t trailed) Read(p []byte) (n int, err error) {
	n, err = t.ReadCloser.Read(p)
	if err == io.EOF {
		t.copy.Trailer = t.r.Trailer
	}
	return n, err
}

// choose returns the group that the visitor belongs to.
func (v *visit) choose() *group {
	who := v.version.split
	if who == nil {
		return &v.version.main
	}
	if !v.decided {
		v.decided = true
		kamal, _ := cookies.Value(v.r.Header, split.KamalCookie)
		own, _ := cookies.Value(v.r.Header, split.Cookie)
		var cookie string
		if v.second, cookie = who.Second(kamal, own, v.isSecure()); cookie != "" {
			v.w.Header().Add("Set-Cookie", cookie)
		}
	}
	if v.second {
		return v.version.rollout
	}
	return &v.version.main
}

// isReading reports whether the request may go to a target that only reads.
func (v *visit) isReading() bool {
	if len(v.group.readers) == 0 || v.r.Method != http.MethodGet && v.r.Method != http.MethodHead {
		return false
	}
	if len(v.r.Header["Upgrade"]) > 0 && !v.version.status.Deployment.ReadWebSockets {
		return false
	}
	return !cookies.HasWritten(v.r.Header, v.start)
}

// forward sends the request to l's target and leaves. It reports whether that
// is the end of it; otherwise it may go to another target.
func (v *visit) forward(l *lane, passage *gate.Passage) bool {
	defer passage.Leave() // also when the answer breaks off, which panics
	if v.last != nil {
		v.outcome.Retries++
	}
	var began time.Time
	if v.backoff.HasBegun() { // else nobody wants to know
		began = time.Now()
	}
	t := l.target
	a := v.amend()
	var change func(*http.Response) error
	if a != nil {
		change = a.make
	}
	res, err := forward.Forward(v.w, v.sent, l.exchange, forward.Options{
		Target:    v.target,
		Prefix:    v.outcome.Prefix,
		Client:    v.client,
		RequestID: v.outcome.RequestID,
		Hop:       v.version.hop,
		Start:     v.start,
		Calls:     t.http2,
		Stream:    passage.BecomeStream,
		Mute:      &l.mute,
		Request:   v.version.conduct.request,
		Answer:    change,
	})
	o := &v.outcome
	v.isStream = passage.IsStream()
	why := v.whyFailed(err, &res)
	if why != reason.Descriptors { // else nothing was sent
		v.sentTo, o.Target = t, t.address
	}
	o.Status, o.Header = res.Status, res.Header
	o.BytesIn, o.BytesOut = res.BytesIn, res.BytesOut
	if a != nil {
		o.Unbuffered = a.full
	}
	if !res.FirstByte.IsZero() {
		o.FirstByte = res.FirstByte.Sub(v.start)
	}
	v.judge(l, why, res.Status, v.at(res.FirstByte), err)
	if why == reason.Broken {
		v.lost++
		if !began.IsZero() {
			v.backoff.Exclude(time.Since(began))
		}
	}
	switch {
	case err == nil:
		return true
	case res.Open && why.Status() != reason.ClientClosed:
		v.tell(why, err)
		callStatus(why, "").End(v.w)
		return true
	case res.Status != 0:
		v.abort(why, err)
	case v.lost < maxLost && isRepeatable(err) && v.rewind(!res.BodyRead):
		if why != reason.Cut { // which t has no part in: what serves now may have it still
			v.tried = append(v.tried, t)
		}
		v.last, v.why = err, why
		return false
	}
	v.refuse(why, err)
	return true
}

// maxLost is how many targets a request may be lost with: it is sent again twice
// at most after a target had it and went away. That happens by chance, and in a
// deploy that restarts one instance after the other it happens twice. A request
// that is there when a third one dies is most likely what they die of, and it
// must neither go through the whole fleet nor, when that is up again, begin anew.
const maxLost = 3

// isRepeatable reports whether a request that an exchange failed with err may be
// sent again.
func isRepeatable(err error) bool {
	failure, ok := errors.AsType[*upstream.Error](err)
	return ok && failure.Repeatable
}

// whyFailed returns the reason for err, which Forward returned with res.
func (v *visit) whyFailed(err error, res *forward.Result) reason.Reason {
	if err == nil {
		return reason.None
	}
	failure, ok := errors.AsType[*upstream.Error](err)
	switch {
	case ok && failure.Reason == reason.ClientBody:
		return v.whyBody(failure.Err, reason.ClientBody)
	case ok && failure.Reason == reason.Gone && res.BodyErr != nil:
		// An HTTP/1 server takes whatever ends a Read for the end of the client.
		return v.whyBody(res.BodyErr, reason.Gone)
	case res.Status != 0 && (errors.Is(err, forward.ErrCut) || ok && failure.Reason == reason.Cut && v.isStream):
		return reason.StreamClosed
	case ok:
		return failure.Reason
	case errors.Is(err, buffer.ErrTooLarge):
		return reason.AnswerTooLarge
	case errors.Is(err, buffer.ErrSpool):
		return reason.Spool
	case res.Status != 0:
		return reason.Untaken // what else fails then is to write to the client
	}
	return reason.Target
}

// whyBody returns the reason for an error of reading the request's body:
// otherwise, unless it tells more.
func (v *visit) whyBody(err error, otherwise reason.Reason) reason.Reason {
	switch {
	case errors.Is(err, buffer.ErrTooLarge):
		return reason.RequestTooLarge
	case errors.Is(err, buffer.ErrSpool):
		return reason.Spool
	case errors.Is(err, os.ErrDeadlineExceeded):
		return reason.Stalled
	case v.hasLeft():
		return reason.Gone
	}
	return otherwise
}

// hasLeft reports whether the client is gone whose body could not be read. Then
// a server of HTTP/1 has ended the request's context before. Those of HTTP/2 and 3
// do it a moment later, or not at all where a client has reset its body alone and
// waits for an answer.
func (v *visit) hasLeft() bool {
	ctx := v.r.Context()
	if v.r.ProtoMajor > 1 {
		moment := time.NewTimer(10 * time.Millisecond)
		defer moment.Stop()
		select {
		case <-ctx.Done():
		case <-moment.C:
		}
	}
	return ctx.Err() != nil
}

// rewind reports whether the request's body can be sent again: it is untouched,
// or all of it is here.
func (v *visit) rewind(untouched bool) bool {
	if untouched || v.body == nil {
		return untouched
	}
	_, err := v.body.Seek(0, io.SeekStart)
	v.sent.Body = v.body
	return err == nil
}

// at returns how long after the Proxy was made a moment was; zero: now.
func (v *visit) at(moment time.Time) time.Duration {
	if moment.IsZero() {
		moment = time.Now()
	}
	return moment.Sub(v.proxy.began)
}

// amend returns what has to be done with an answer before it is passed on, nil:
// nothing.
func (v *visit) amend() *amendment {
	if !v.version.conduct.answers && len(v.group.readers) == 0 {
		return nil
	}
	// Were this a method of v, every visit would have to be allocated.
	return &amendment{
		conduct:    v.version.conduct,
		deployment: &v.version.status.Deployment,
		spool:      v.proxy.spool,
		request: answer.Request{
			Method:     v.r.Method,
			Target:     v.asked,
			Prefix:     v.outcome.Prefix,
			IsSecure:   v.isSecure(),
			HasReaders: len(v.group.readers) > 0,
		},
	}
}

// An amendment is what is done with the answer to one request.
type amendment struct {
	conduct    *conduct
	deployment *Deployment
	spool      *buffer.Store
	request    answer.Request

	full error // why the answer is not buffered although it is to be; nil: it is, or is not to be
}

func (a *amendment) make(res *http.Response) (err error) {
	a.conduct.answer.Apply(res.Header, &a.request)
	d := a.deployment
	limits := buffer.Limits{Memory: d.Buffer.Memory, Size: d.MaxResponseBody}
	a.full, err = a.spool.TakeResponse(res, a.request.Method, d.Buffer.Responses, limits)
	return err
}

// waitForTarget waits before all targets of a service are tried again, and
// reports false if it answered the request instead.
func (v *visit) waitForTarget() (again bool) {
	again = v.why == reason.Dial || v.why == reason.Descriptors || v.why == reason.Broken
	if again && v.pause() {
		v.tried = v.tried[:0]
		return true
	}
	switch {
	case v.r.Context().Err() != nil:
		v.abort(reason.Gone, fmt.Errorf("%w while it waited: %w", v.r.Context().Err(), v.last))
	case v.proxy.isStopping():
		v.refuse(reason.Closed, v.last)
	default:
		v.refuse(v.why, v.last)
	}
	return false
}

// pause waits before the next look at the service, and reports false, at once, if
// there is no more waiting.
func (v *visit) pause() bool {
	held := v.version.held
	if !held.Enter(v.proxy.options.MaxHeld) {
		return false
	}
	defer held.Leave()
	return v.backoff.Pause(v.r.Context(), v.version.status.Deployment.Timeouts.Hold, v.proxy.stopping)
}

func (v *visit) refuse(why reason.Reason, err error) { v.refusePage(why, "", err) }

// refuseBody is refuse for a request of whose body nothing more is wanted: the
// server would read on before it answers.
func (v *visit) refuseBody(why reason.Reason, err error) {
	if v.r.ProtoMajor == 1 {
		v.w.Header()["Connection"] = []string{"close"}
	}
	v.refuse(why, err)
}

// refusePage answers with a page of the proxy's own, that has message on it. A
// gRPC client, which reads no pages, gets a status of its own kind. Nobody is
// there to be answered who has left.
func (v *visit) refusePage(why reason.Reason, message string, err error) {
	if why == reason.Gone {
		v.abort(why, err)
	}
	v.tell(why, err)
	h := v.w.Header()
	if part := why.Part(); part != "" {
		h["X-Parachute-Error"] = []string{part}
	}
	if why.RetryAfter() {
		h["Retry-After"] = []string{retryAfter}
	}
	o := &v.outcome
	o.Status, o.Header = why.Status(), h
	if field.IsCall(v.r) && o.Status >= 400 {
		callStatus(why, message).Answer(v.w)
		return
	}
	set := v.proxy.pages
	if v.version != nil && v.version.conduct.pages != nil {
		set = v.version.conduct.pages
	}
	o.BytesOut = set.Write(v.w, v.r, pages.Page{Status: o.Status, Message: message, RequestID: o.RequestID})
}

// retryAfter is when a client may ask again, in seconds.
const retryAfter = "5"

// callStatus returns how a gRPC call ends for its client that ends because of
// why. message is for people.
func callStatus(why reason.Reason, message string) grpc.Status {
	if message != "" {
		message = ": " + message
	}
	status := why.Status()
	switch {
	case why == reason.AnswerTooLarge:
		return grpc.Status{Code: grpc.ResourceExhausted, Message: "parachute: the answer is too large" + message}
	case status == 0:
		return grpc.Status{Code: grpc.Unavailable, Message: fmt.Sprintf("parachute: the call was ended (%v)%s", why, message)}
	}
	return grpc.Status{
		Code:    grpc.CodeOf(status),
		Message: fmt.Sprintf("parachute: %d %s (%v)%s", status, http.StatusText(status), why, message),
	}
}

// tell has the outcome say why the request ended otherwise than by its target's
// answer.
func (v *visit) tell(why reason.Reason, err error) {
	v.reason = why
	v.outcome.Reason, v.outcome.Err = why.String(), err
}

// reply answers with a line of plain text.
func (v *visit) reply(why reason.Reason, text string) {
	v.tell(why, nil)
	h := v.w.Header()
	h["Content-Type"] = []string{"text/plain; charset=utf-8"}
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	o := &v.outcome
	o.Status, o.Header = why.Status(), h
	v.w.WriteHeader(o.Status)
	if v.r.Method != http.MethodHead {
		n, _ := io.WriteString(v.w, text) // an error is the client's, who has left
		o.BytesOut = int64(n)
	}
}

// replyServing answers a gRPC call that asks for health.
func (v *visit) replyServing() {
	v.tell(reason.Halted, nil)
	o, h := &v.outcome, v.w.Header()
	o.Status, o.Header = reason.Halted.Status(), h
	h["Content-Type"] = []string{grpc.ContentType}
	n, _ := v.w.Write(grpc.HealthAnswer(grpc.HealthServing))
	o.BytesOut = int64(n)
	grpc.Status{Code: grpc.OK}.End(v.w)
}

// abort ends the request without an answer, or in the middle of one.
func (v *visit) abort(why reason.Reason, err error) {
	v.tell(why, err)
	if o := &v.outcome; o.Status == 0 {
		o.Status = why.Status()
	}
	// Or the server would wait for what is left of the request's body.
	http.NewResponseController(v.w).SetReadDeadline(time.Unix(1, 0))
	panic(http.ErrAbortHandler)
}

func (v *visit) notFound() {
	if v.proxy.options.NotFound == nil {
		v.refuse(reason.NoService, nil)
		return
	}
	v.tell(reason.NoService, nil)
	w := &statusWriter{ResponseWriter: v.w}
	defer func() { v.outcome.Status = w.status }() // also where it panics
	v.proxy.options.NotFound.ServeHTTP(w, v.r)
	w.status = cmp.Or(w.status, http.StatusOK)
}

// end tells Observe of the request, also while it panics.
func (v *visit) end() {
	if v.body != nil {
		v.body.Close()
	}
	o := &v.outcome
	if !v.served && o.Err == nil {
		v.tell(reason.Panic, errors.New("panic while serving"))
	}
	if v.sentTo == nil && v.proxy.options.Observe == nil {
		return
	}
	o.Duration = time.Since(v.start)
	if v.sentTo != nil {
		v.count()
	}
	if v.proxy.options.Observe != nil {
		v.proxy.options.Observe(v.r, *o)
	}
}

// count counts the request for its target, as Traffic has it.
func (v *visit) count() {
	o := &v.outcome
	took := o.Duration
	if v.isStream {
		took = o.FirstByte
	}
	v.sentTo.traffic.Observe(v.start.Sub(v.proxy.began)+o.Duration, took, v.isError())
}

// isError reports whether the request failed, and that is the fault of nobody but
// the service and the proxy.
func (v *visit) isError() bool {
	if v.reason == reason.None {
		return v.outcome.Status >= 500
	}
	return v.reason.Fault() == reason.Server
}

// A statusWriter keeps the status that a handler answers with; 0: it has said
// none.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	w.status = cmp.Or(w.status, http.StatusOK)
	return w.ResponseWriter.Write(p)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
