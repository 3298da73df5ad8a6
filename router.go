package parachute

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/shahnk19/parachute/internal/affinity"
	"github.com/shahnk19/parachute/internal/answer"
	"github.com/shahnk19/parachute/internal/buffer"
	"github.com/shahnk19/parachute/internal/cookies"
	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/grpc"
	"github.com/shahnk19/parachute/internal/healthcheck"
	"github.com/shahnk19/parachute/internal/history"
	"github.com/shahnk19/parachute/internal/lanes"
	"github.com/shahnk19/parachute/internal/pages"
	"github.com/shahnk19/parachute/internal/publish"
	"github.com/shahnk19/parachute/internal/reason"
	"github.com/shahnk19/parachute/internal/registry"
	"github.com/shahnk19/parachute/internal/routing"
	"github.com/shahnk19/parachute/internal/rules"
	"github.com/shahnk19/parachute/internal/targets"
	"github.com/shahnk19/parachute/internal/upstream"
	"github.com/shahnk19/parachute/internal/waiting"
)

// A table says which version of which service answers for a host and a path, and what
// the services have served before. It never changes once it is published.
type table = registry.Table[*version, Status]

// newTable returns the table of these versions, no two of which have the same claim, and
// of the services that were removed.
func newTable(services map[string]*version, removed history.Removals, keepHistory int) *table {
	return registry.New(services, removed, registry.Settings[Status]{KeepHistory: keepHistory, Removed: func(service string, past []Past) Status {
		return Status{Service: service, State: StateRemoved, History: past}
	}})
}

// A router has the newest table, and orders the changes that replace it.
type router struct {
	book   *registry.Book[*version, Status]
	routes *publish.Publisher[table, version, wants]
}

func newRouter(o *Options) *router {
	hooks := registry.Hooks[Status]{All: o.Commit}
	if o.CommitDelta != nil {
		hooks.Delta = func(d registry.Delta[Status]) error { return o.CommitDelta(Delta(d)) }
	}
	tables := publish.Snapshots[table, version]{
		Versions: (*table).Services,
		Next:     (*table).Next,
		Commit:   func(previous, next *table, changed ...string) error { return next.Commit(previous, hooks, changed...) },
		Replaced: (*version).announceReplaced,
	}
	if follow := o.Predecessor.Follow; follow != nil {
		tables.Published = func(service string, v *version) { follow(service, v.copyStatus()) }
	}
	r := new(router)
	r.book = registry.NewBook(func() *table { return r.routes.Load() }, registry.Errors{Superseded: ErrSuperseded, Closed: ErrClosed, Invalid: ErrInvalid, Conflict: conflictError})
	r.routes = publish.New(r.book.Book, newTable(map[string]*version{}, nil, o.KeepHistory), tables)
	return r
}

// The parts of a service that a change may be about: its first version, and its rollout.
const (
	partMain publish.Part = 1 << iota
	partRollout

	partNone publish.Part = 0 // a change of this ends no other, and every other ends it
)

// A site answers for one host, for all hosts that match one wildcard, or for
// every host that has no other site.
type site = routing.Site[*version]

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
	Reads      bool          // Target is one of ReadTargets
	Rollout    bool          // Target is one of the Rollout's
	Prefix     string        // the path prefix that was stripped
	Generation uint64        // of the service
	Status     int           // as the client got it, or 499, 421 or 0: no answer began; gRPC clients get a code of theirs where the proxy answers with an error
	Reason     string        // why the proxy answered itself or cut the request off; empty: neither
	BytesIn    int64         // of the request's body
	BytesOut   int64         // of the answer's body
	Duration   time.Duration // in all
	Waited     time.Duration // for how long of that no target was asked: it was held, waited for a target or a password check, or it or its answer was buffered
	FirstByte  time.Duration // until the target's answer began; 0: none did
	Retries    int           // how often it was sent again
	Client     netip.Addr    // who sent it, as TrustedProxies tell
	RequestID  string        // as sent to the target in X-Request-ID
	Header     http.Header   // of the answer
	Err        error         // what went wrong
	Unbuffered error         // why the answer was passed on as it came although Buffer.Responses has it wait; nil: it was not

	Deployment *Deployment // of the service, which nobody may change; nil: no service claimed the request
}

// An entrance is the handler for listeners that do not serve every service.
type entrance struct {
	proxy *Proxy
	named []string // services
	only  bool     // these services are served, and no other; else all but these
}

func (p *Proxy) entrance(services []string, only bool) *entrance {
	return &entrance{p, slices.Clone(services), only}
}

func (e *entrance) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.proxy.serve(w, r, e) }

// shows reports whether s is there for a request that came in by e, and that v of it
// answers; or, if v is nil, none of its versions. A nil e shows everything.
func (e *entrance) shows(s *site, v *version) bool {
	if e == nil || v != nil && slices.Contains(e.named, v.status.Service) == e.only {
		return true
	}
	return v == nil && s.Has(func(v *version) bool { return e.shows(s, v) })
}

// isOwn reports whether e is for listeners that certain services have for themselves.
func (e *entrance) isOwn() bool { return e != nil && e.only }

// serve answers r, which came in by e; a nil e is for all services.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, e *entrance) {
	var q request // filled where it is: a literal of calls would be made beside it, and copied
	q.proxy, q.entrance, q.start = p, e, time.Now()
	q.w, q.r, q.out = w, r, r
	q.client = forward.ClientOf(r, p.options.TrustedProxies, "")
	q.outcome.Client, q.outcome.RequestID = q.client.Addr, forward.RequestID(r.Header)
	defer q.finish()
	q.serve()
	q.returned = true
}

// A request is a client's request on its way through the Proxy: from ServeHTTP,
// which begins it, through serve, attempt and forward to finish. It may be
// attempted more than once, with a newer version or with another target.
type request struct {
	proxy    *Proxy
	entrance *entrance // nil: it is for all services
	w        http.ResponseWriter
	r        *http.Request // as the client sent it
	start    time.Time
	client   forward.Client
	trusted  Forwarded // the settings by which client was found
	target   string    // the request target as the client sent it
	outcome  Outcome
	reason   reason.Reason // of outcome

	// The version that is to answer, and what it sees of the request.
	version *version
	rest    string        // target without the prefix that is stripped
	out     *http.Request // what is sent on: r, or a copy with a body that is limited or buffered
	body    *buffer.Body  // of out, if it is buffered

	// The group of version's targets that the request is for. It is decided
	// once whether that is the rollout's, for the answer may set a cookie.
	group     *group
	isDecided bool
	inRollout bool
	setCookie string           // has later requests decided alike; empty: they are, or need not be
	visitor   affinity.Visitor // zero where visitors stay with no target

	lastTarget *target // the last one that had the request; nil: none had
	isStream   bool    // lastTarget answered with a stream

	tried      []*target     // these cannot take the request
	lastErr    error         // why the last of them cannot
	lastReason reason.Reason // of lastErr
	losses     int           // how many targets had the request and went away

	// Only the time spent waiting counts towards Timeouts.Hold, waiting for
	// connections included. The time in which a target had the request does not
	// count, nor does a pause.
	backoff waiting.Backoff
	paused  time.Duration // how long it has waited for a resume

	returned bool // serve has returned, and not panicked
}

// serve answers the request, or panics with http.ErrAbortHandler.
func (q *request) serve() {
	r := q.r
	if r.TLS != nil && r.TLS.NegotiatedProtocol == acme.ALPNProto {
		q.abort(reason.NoHTTP, errors.New("a request on a connection for a TLS-ALPN-01 challenge")) // RFC 8737, section 3
	}
	var err error
	q.target, err = forward.RequestTarget(r, "")
	switch {
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		q.w.Header().Set("Allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
		q.refuse(reason.Method, nil)
		return
	case r.Method == http.MethodOptions && r.RequestURI == "*", err == nil && forward.IsLastHop(r):
		q.outcome.Status = http.StatusOK
		q.w.WriteHeader(http.StatusOK)
		return
	case err != nil:
		q.refuseLast(reason.BadRequest, err)
		return
	case forward.HasPassed(r.Header, q.proxy.hop):
		q.refuseLast(reason.Loop, errOwnProbe)
		return
	}
	for {
		table := q.proxy.router.routes.Load()
		if table.IsClosed {
			q.refuse(reason.Closed, ErrClosed)
			return
		}
		site := table.Match(r.Host)
		if q.isMisdirected(table, site) {
			q.refuseLast(reason.Misdirected, nil)
			return
		}
		site = q.findVersion(site)
		if q.answerChallenge() || q.redirect(table, site) {
			return
		}
		if q.version == nil {
			q.notFound()
			return
		}
		if again := q.attempt(); !again {
			return
		}
	}
}

// Why a request is refused that has been here before.
var (
	errLoop     = errors.New("the request has come back: a target of the service leads to this proxy")
	errOwnProbe = errors.New("a health check has come back: a target leads to this proxy")
)

// findVersion sets q.version to the version of s that answers for the request,
// or to nil, and with it what that version sees of the request. It returns s, or
// nil where that is not there for those who come in as the request did.
func (q *request) findVersion(s *site) *site {
	q.version = nil
	if s == nil {
		return nil
	}
	version, prefix, rest := s.Route(q.target)
	if !q.entrance.shows(s, version) {
		return nil
	}
	if version == nil {
		return s
	}
	d := &version.status.Deployment
	if d.KeepPrefix {
		prefix, rest = "", q.target
	}
	q.version, q.rest = version, rest
	o := &q.outcome
	o.Service, o.Generation, o.Deployment, o.Prefix = version.status.Service, version.status.Generation, d, prefix
	if d.Forwarded != q.trusted { // the service has settings of its own
		q.trusted = d.Forwarded
		q.client = forward.ClientOf(q.r, version.rules.Trusted, d.Forwarded.ClientHeader)
		o.Client = q.client.Addr
	}
	return s
}

// notFound answers a request that no service claims.
func (q *request) notFound() {
	handler := q.proxy.options.NotFound
	if handler == nil {
		q.refuse(reason.NoService, nil)
		return
	}
	q.setReason(reason.NoService, nil)
	w := &answer.Recorder{ResponseWriter: q.w}
	defer func() { q.outcome.Status = w.Status }() // also where it panics
	handler.ServeHTTP(w, q.r)
	w.Status = cmp.Or(w.Status, http.StatusOK)
}

// attempt has q.version answer the request. It reports true if the caller has to
// look for the version again, since there is a newer one or another target to
// try; otherwise the request is answered.
func (q *request) attempt() (again bool) {
	version := q.version
	switch {
	case version.status.State == StateFailed:
		q.refuse(reason.Failed, errors.New(version.status.Error))
		return false
	case forward.HasPassed(q.r.Header, version.hop):
		q.refuseLast(reason.Loop, errLoop)
		return false
	case !q.admit():
		return false
	case version.IsHalted():
		return q.waitForResume()
	case !version.settling.IsOver():
		defer q.countWait(time.Now())
		if !version.settling.Await(q.r.Context()) {
			q.abort(reason.Gone, q.r.Context().Err())
		}
		return true
	case !q.prepareBody():
		return false
	}
	q.chooseGroup()
	if cookie := version.rules.Affinity; cookie != nil {
		q.visitor = cookie.Visitor(q.r.Header)
	}
	lane := q.group.Pick(q.start.Sub(q.proxy.began), q.tried, q.isReadOnly(), q.visitor)
	if lane == nil {
		return q.waitForTarget()
	}
	passage, ok := lane.Enter()
	if !ok {
		return true // whoever closed the lane has stored a newer table before
	}
	return !q.forward(lane, passage)
}

// admit reports whether the client may use the service, and none of its Redirects
// is for the request; otherwise it has answered the request.
func (q *request) admit() bool {
	addr := q.client.Addr
	if !q.proxy.trustsExplicitly && !q.version.rules.Networks.IsZero() { // then access must not depend on a field of the request
		addr = forward.ClientOf(q.r, nil, "").Addr
	}
	return q.proceed(q.version.rules.Admit(q.w, q.r, addr, q.target))
}

// proceed reports whether v lets the request go on; otherwise it has answered the request.
func (q *request) proceed(v rules.Verdict) bool {
	q.outcome.Waited += v.Waited
	switch {
	case v.Reason == reason.None:
		return true
	case v.IsLast:
		q.refuseLast(v.Reason, v.Err)
	default:
		q.refuse(v.Reason, v.Err)
	}
	return false
}

// waitForResume holds the request while the service is paused. It reports true
// when there is a newer version; otherwise it has answered the request, as it does
// at once if the service is stopped.
func (q *request) waitForResume() (again bool) {
	status := &q.version.status
	switch check := healthcheck.Settings(status.Deployment.HealthCheck); {
	case check.IsCall(q.r, q.rest):
		q.setAnswer(reason.Halted, nil)
		q.outcome.BytesOut = grpc.AnswerHealth(q.w, grpc.HealthServing)
		return false
	case check.IsGet(q.r, q.rest):
		q.replyText(reason.Halted, "halted\n")
		return false
	}
	if status.Stop != nil {
		q.refusePage(reason.Stopped, status.Stop.Message, nil)
		return false
	}
	room := q.version.waiting
	if !room.Enter(q.proxy.options.MaxHeld) {
		q.refuse(reason.PausedFull, nil)
		return false
	}
	defer room.Leave()
	var late <-chan time.Time
	if status.Pause.Max >= 0 {
		timer := time.NewTimer(status.Pause.Max - q.paused)
		defer timer.Stop()
		late = timer.C
	}
	began := time.Now()
	defer q.countWait(began)
	select {
	case <-q.version.replaced:
		waited := time.Since(began)
		q.paused += waited
		q.backoff.Exclude(waited)
		return true
	case <-late:
		q.refuse(reason.PausedLong, nil)
	case <-q.r.Context().Done():
		q.abort(reason.Gone, q.r.Context().Err())
	case <-q.proxy.stopping:
		q.refuse(reason.Closed, ErrClosed)
	}
	return false
}

// prepareBody sets q.out to the request with its body limited, or buffered, as
// the Deployment says. It reports false if it has answered the request instead.
func (q *request) prepareBody() bool {
	if q.out != q.r {
		return true
	}
	out, body, verdict := q.version.rules.TakeBody(q.w, q.r, q.version.TakesCalls)
	if !q.proceed(verdict) {
		return false
	}
	q.out, q.body = out, body
	return true
}

// chooseGroup sets q.group to the targets that the visitor belongs to: those of
// the rollout, or the others.
func (q *request) chooseGroup() {
	q.group = &q.version.Main
	visitors := q.version.split
	if visitors == nil {
		return
	}
	if !q.isDecided {
		q.isDecided = true
		q.inRollout, q.setCookie = visitors.Choose(q.r.Header, q.client.IsSecure(q.r))
	}
	if q.inRollout {
		q.group = q.version.Rollout
	}
}

// isReadOnly reports whether the request may go to a target that only reads.
func (q *request) isReadOnly() bool {
	if len(q.group.Readers) == 0 || q.r.Method != http.MethodGet && q.r.Method != http.MethodHead {
		return false
	}
	if len(q.r.Header["Upgrade"]) > 0 && !q.version.status.Deployment.ReadWebSockets {
		return false
	}
	return !cookies.HasWritten(q.r.Header, q.start)
}

// waitForTarget waits before all targets of the service are tried again. It
// reports false if it has answered the request instead.
func (q *request) waitForTarget() (again bool) {
	isPassing := q.lastReason == reason.Dial || q.lastReason == reason.Descriptors || q.lastReason == reason.Broken
	if isPassing && q.backOff() {
		q.tried = q.tried[:0]
		return true
	}
	switch {
	case q.r.Context().Err() != nil:
		q.abort(reason.Gone, fmt.Errorf("%w while it waited: %w", q.r.Context().Err(), q.lastErr))
	case q.proxy.router.routes.Load().IsClosed:
		q.refuse(reason.Closed, q.lastErr)
	default:
		q.refuse(q.lastReason, q.lastErr)
	}
	return false
}

// countWait counts the time since began as one in which no target was asked.
func (q *request) countWait(began time.Time) { q.outcome.Waited += time.Since(began) }

// backOff waits before the next attempt. It reports false, at once, if the request
// may wait no longer, or too many others do.
func (q *request) backOff() bool {
	room := q.version.waiting
	if !room.Enter(q.proxy.options.MaxHeld) {
		return false
	}
	defer room.Leave()
	defer q.countWait(time.Now())
	return q.backoff.Pause(q.r.Context(), q.version.status.Deployment.Timeouts.Hold, q.proxy.done)
}

// forward sends the request to l's target and passes the answer on. It reports
// true if the request is answered, and false if it may go to another target. It
// leaves the lane through passage.
func (q *request) forward(l *lane, passage *gate.Passage) bool {
	defer passage.Leave() // also when the answer breaks off, which panics
	if q.lastErr != nil {
		q.outcome.Retries++
	}
	var began time.Time
	if q.backoff.HasBegun() { // otherwise there is nothing to exclude the time from
		began = time.Now()
	}
	var edit func(*http.Response) error
	forget := q.keepVisitor(l)
	editor := q.newAnswerEditor(forget)
	if editor != nil {
		edit = editor.Edit // of a value of its own: with a method of q, every request would be allocated
	}
	res, err := forward.Forward(q.w, q.out, l.Exchange, &forward.Options{
		RequestTarget: q.rest,
		Prefix:        q.outcome.Prefix,
		Client:        q.client,
		RequestID:     q.outcome.RequestID,
		Hop:           q.version.hop,
		TargetHeader:  q.proxy.options.TargetHeader,
		Target:        l.Target.Label,
		Start:         q.start,
		Origin:        l.Target.Origin,
		RewritePaths:  q.version.status.Deployment.Headers.RewriteLocation,
		GRPC:          l.Target.HTTP2,
		BodyAtHand:    q.body != nil,
		Stream:        passage,
		NoCloseFrames: &l.NoCloseFrames,
		Request:       q.version.rules.Request,
		Answer:        edit,
	})
	if editor != nil {
		q.outcome.Unbuffered = editor.Full
		q.outcome.Waited += editor.SinceBuffered()
	}
	if res.Status == 0 && forget != nil {
		forget()
	}
	q.isStream = passage.IsStream()
	q.record(l, &res, err)
	why := res.Reason
	if why == reason.Broken {
		q.losses++
		if !began.IsZero() {
			q.backoff.Exclude(time.Since(began))
		}
	}
	switch {
	case err == nil:
		return true
	case res.Open && why.Status() != reason.ClientClosed:
		q.setReason(why, err)
		pages.CallStatus(why, "").End(q.w)
		return true
	case res.Status != 0:
		q.abort(why, err)
	case q.losses < maxLosses && upstream.IsRepeatable(err) && !res.BodyRead:
		if why != reason.Cut { // a cut is not the target's doing: the newer version may have the same one
			q.tried = append(q.tried, l.Target)
		}
		q.lastErr, q.lastReason = err, why
		return false
	}
	q.refuse(why, err)
	return true
}

// record notes in the outcome how an exchange with l's target ended, and has the group
// judge the target by it.
func (q *request) record(l *lane, res *forward.Result, err error) {
	o := &q.outcome
	if res.Reason == reason.Descriptors {
		q.proxy.shortages.Report("a request could not be sent on", err)
	} else { // without a descriptor nothing was sent
		q.lastTarget, o.Target = l.Target, l.Target.Address
		o.Reads, o.Rollout = slices.Contains(q.group.Readers, l), q.group == q.version.Rollout
	}
	o.Status, o.Header = res.Status, res.Header
	o.BytesIn, o.BytesOut = res.BytesIn, res.BytesOut
	answered := res.FirstByte
	if answered.IsZero() {
		answered = time.Now()
	} else {
		o.FirstByte = answered.Sub(q.start)
	}
	end := lanes.End{Reason: res.Reason, Status: res.Status, IsStream: q.isStream}
	if ejected := q.group.Judge(l, end, answered.Sub(q.proxy.began)); ejected {
		q.proxy.emit(Event{Kind: EventUnhealthy, Service: o.Service, Generation: o.Generation, Target: l.Target.Address, Err: cmp.Or(err, lanes.ErrOutlier)})
	}
}

// keepVisitor sets the cookies by which the visitor stays with the group and with l's
// target, as far as they do not have them. It returns a func that takes these back, or nil.
func (q *request) keepVisitor(l *lane) (forget func()) {
	var set []string
	if cookie := q.version.rules.Affinity; cookie != nil && !q.visitor.Has(l.Token()) {
		set = cookie.Set(q.visitor, l.Token(), q.group.Other(q.visitor, l), q.client.IsSecure(q.r))
	}
	if q.setCookie != "" {
		set = append(set, q.setCookie)
	}
	if len(set) == 0 {
		return nil
	}
	return cookies.Add(q.w.Header(), set)
}

// maxLosses is how many targets may go away while they have the request: it is
// sent again at most twice after that. It happens by chance, and it happens twice
// in a deploy that restarts one instance after the other. If a third target goes
// away, the request is most likely why, and must not be sent to all of them, nor
// again when they are back.
const maxLosses = 3

// newAnswerEditor returns the editor of the answer, or nil if that is passed on as it
// is. forget is what keepVisitor returned.
func (q *request) newAnswerEditor(forget func()) *answer.Editor {
	rules, hasReaders := &q.version.rules.Answer, len(q.group.Readers) > 0
	if rules.IsZero() && !hasReaders && forget == nil {
		return nil
	}
	return &answer.Editor{Rules: rules, Forget: forget, Request: answer.Request{
		Method:     q.r.Method,
		Host:       q.r.Host,
		Prefix:     q.outcome.Prefix,
		IsSecure:   q.client.IsSecure(q.r),
		HasReaders: hasReaders,
		Release:    q.group.Release,
	}}
}

// refuse answers the request in its target's place, as why says.
func (q *request) refuse(why reason.Reason, err error) { q.refusePage(why, "", err) }

// refuseLast is refuse for the last request of an HTTP/1 connection: one that may be
// meant to deceive, or whose body must not be read on, as the server would.
func (q *request) refuseLast(why reason.Reason, err error) {
	if q.r.ProtoMajor == 1 {
		q.w.Header()["Connection"] = []string{"close"}
	}
	q.refuse(why, err)
}

// refusePage is refuse with a message on the page. It aborts the request if the
// client has left.
func (q *request) refusePage(why reason.Reason, message string, err error) {
	if why == reason.Gone {
		q.abort(why, err)
	}
	q.setAnswer(why, err)
	set := q.proxy.pages
	if q.version != nil && q.version.rules.Pages != nil {
		set = q.version.rules.Pages
	}
	q.outcome.BytesOut = set.Refuse(q.w, q.r, why, message, q.outcome.RequestID)
}

// replyText answers with a line of plain text.
func (q *request) replyText(why reason.Reason, text string) {
	q.setAnswer(why, nil)
	q.outcome.BytesOut = pages.WriteText(q.w, q.r, why.Status(), text)
}

// setAnswer notes that the request is being answered in its target's place, and why.
func (q *request) setAnswer(why reason.Reason, err error) {
	q.setReason(why, err)
	q.outcome.Status, q.outcome.Header = why.Status(), q.w.Header()
}

// abort ends the request without an answer, or in the middle of one. It panics
// with http.ErrAbortHandler.
func (q *request) abort(why reason.Reason, err error) {
	q.setReason(why, err)
	if o := &q.outcome; o.Status == 0 {
		o.Status = why.Status()
	}
	// Otherwise the server would wait for the rest of the request's body.
	http.NewResponseController(q.w).SetReadDeadline(time.Unix(1, 0))
	panic(http.ErrAbortHandler)
}

// setReason notes why the request ended otherwise than with its target's answer.
func (q *request) setReason(why reason.Reason, err error) {
	q.reason = why
	q.outcome.Reason, q.outcome.Err = why.String(), err
}

// finish ends the request, also where serve panics: it counts it for its target
// and reports it to Options.Observe.
func (q *request) finish() {
	if q.body != nil {
		q.body.Close()
	}
	o := &q.outcome
	if !q.returned && o.Err == nil {
		q.setReason(reason.Panic, errors.New("panic while serving"))
	}
	o.Duration = time.Since(q.start)
	if q.lastTarget != nil {
		took := o.Duration
		if q.isStream {
			took = o.FirstByte
		}
		q.group.Count(q.lastTarget, targets.Request{
			Ended: q.start.Sub(q.proxy.began) + o.Duration, Took: took, Waited: o.Waited, Failed: q.isError(), IsCut: q.reason == reason.Cut,
			Method: q.r.Method, Path: q.rest, Status: o.Status, ID: o.RequestID,
		})
	}
	if observe := q.proxy.options.Observe; observe != nil {
		observe(q.r, *o)
	}
}

// isError reports whether the request failed by the fault of the service or the
// proxy.
func (q *request) isError() bool {
	if q.reason == reason.None {
		return q.outcome.Status >= 500
	}
	return q.reason.Fault() == reason.Server
}

// A Redirect sends requests for one path elsewhere: with 301 for GET and HEAD,
// with 308 for every other method.
type Redirect struct {
	From string `json:"from"` // a path as the client sends it, without query
	To   string `json:"to"`   // a path or an absolute URL; the query is kept where it has none
}

// Buffer says which bodies are read to their end before they are passed on, so
// that a slow client does not occupy a target.
type Buffer struct {
	Requests  bool `json:"requests,omitempty"`
	Responses bool `json:"responses,omitempty"` // except event streams, answers of unknown length, gRPC, and those with X-Accel-Buffering: no

	// Memory is how much of a body is kept in memory, in bytes. The rest goes to
	// a file. If 0, 1 MiB; if negative, all of the body goes to the file.
	Memory int64 `json:"memory,omitempty"`
}

// Access says who may use a service. It does not restrict challenges of the
// certificate authority, which anybody may request. The Proxy's own health
// checks do not pass through it.
type Access struct {
	// Allow and Deny are networks such as "10.0.0.0/8", or addresses. If Allow
	// is not empty, only clients in it are let in. Clients in Deny never are. A
	// client's address is that of its connection or, where
	// Options.TrustedProxies is not nil, the one that those proxies report.
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
	TrustNobody    Trust = "nobody"    // nobody's at all
)

// Forwarded says whose X-Forwarded fields a service believes: for what its
// targets are told, and for whether a request came over TLS.
type Forwarded struct {
	Trust Trust `json:"trust,omitempty"`

	// ClientHeader names a field in which a trusted peer sends the client's
	// address, such as CF-Connecting-IP. It overrides X-Forwarded-For.
	ClientHeader string `json:"client_header,omitempty"`
}

// Headers says what to change in headers. A rule is "set NAME: VALUE", "del NAME"
// or "edit NAME PATTERN REPLACEMENT"; rules are applied in order. An edit replaces
// the first match of a regular expression in each value; PATTERN has no spaces, and
// REPLACEMENT has $1 or ${name} for what a group has matched. Fields that the proxy
// sets itself cannot be changed.
type Headers struct {
	Request  []string `json:"request,omitempty"`
	Response []string `json:"response,omitempty"`

	// HSTS is sent as Strict-Transport-Security over TLS (RFC 6797), such as
	// "max-age=31536000". If empty, what the target sends is passed on.
	HSTS string `json:"hsts,omitempty"`

	// Release sends the Release of what answers as X-Parachute-Release.
	Release bool `json:"release,omitempty"`

	// ScopeCookies puts the stripped prefix in front of the Path of cookies, and
	// gives it to those without one, unless they are for another Domain.
	ScopeCookies bool `json:"scope_cookies,omitempty"`

	// RewriteLocation puts it in front of paths in Location, Content-Location
	// and Refresh. URLs of the target itself are always made the client's.
	RewriteLocation bool `json:"rewrite_location,omitempty"`
}

// Report says what is reported of the requests of a service.
type Report struct {
	RequestHeaders      []string `json:"request_headers,omitempty"`       // to be logged
	ResponseHeaders     []string `json:"response_headers,omitempty"`      // likewise
	ExcludeMetricsPaths []string `json:"exclude_metrics_paths,omitempty"` // not to be counted, as the target sees them
}
