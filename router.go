package parachute

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/net/idna"

	"github.com/shahnk19/parachute/internal/gate"
)

// A table says which version of which service answers for a host. It never
// changes once it is published.
type table struct {
	services map[string]*version // by name
	exact    map[string]*version // by host
	wildcard map[string]*version // by what follows "*." in the host
	any      *version            // what claims no host; nil: requests for unknown hosts are nobody's
	closed   bool                // nobody is served any more
}

// newTable returns the table of these versions, no two of which claim one host.
func newTable(services map[string]*version) *table {
	t := &table{
		services: services,
		exact:    make(map[string]*version),
		wildcard: make(map[string]*version),
	}
	for _, v := range services {
		for _, host := range v.hosts {
			if host == anyHost {
				t.any = v
			} else if parent, ok := strings.CutPrefix(host, "*."); ok {
				t.wildcard[parent] = v
			} else {
				t.exact[host] = v
			}
		}
	}
	return t
}

// owner returns the version that claims host, as it stands in a Deployment, or
// nil.
func (t *table) owner(host string) *version {
	if host == anyHost {
		return t.any
	}
	if parent, ok := strings.CutPrefix(host, "*."); ok {
		return t.wildcard[parent]
	}
	return t.exact[host]
}

// lookup returns the version that answers for a Host header, or nil. The exact
// host goes before its wildcard, and that before a service without hosts.
func (t *table) lookup(host string) *version {
	name := canonicalHost(host)
	if v := t.exact[name]; v != nil {
		return v
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		if v := t.wildcard[parent]; v != nil {
			return v
		}
	}
	return t.any
}

// statuses returns what a restart must restore, by name.
func statuses(services map[string]*version) []Status {
	all := make([]Status, 0, len(services))
	for _, name := range slices.Sorted(maps.Keys(services)) {
		all = append(all, services[name].status.clone())
	}
	return all
}

// A router publishes tables: readers load the newest one, and each change
// takes its turn to replace it. It hands out generations and keeps two changes
// from claiming one host.
type router struct {
	routes  atomic.Pointer[table]
	commit  func([]Status) error
	changes gate.Gate // counts the changes under way, their drains too; closed when no more may begin

	// publishing is held from before a commit until its table is stored, so
	// that what is kept and what is served change in the same order. It is
	// taken before mu.
	publishing sync.Mutex

	mu         sync.Mutex // guards what follows, and the table's agreement with pending
	generation uint64     // the last one handed out
	pending    map[*reservation]struct{}
}

// A reservation is a change of one service on its way to be published. It
// holds the hosts that the service asks for.
type reservation struct {
	service    string
	generation uint64
	hosts      []string
	supersedes bool                    // it ended another change of the service
	end        context.CancelCauseFunc // ends its context; only the first call counts
	committing bool                    // guarded by router.mu: it is too late to end it
}

func newRouter(commit func([]Status) error) *router {
	r := &router{commit: commit, pending: make(map[*reservation]struct{})}
	r.routes.Store(newTable(map[string]*version{}))
	return r
}

// reserve begins a change of a service. It fails at once, and has changed
// nothing, where a host belongs to another service or is reserved for one.
// Otherwise it ends every change of the same service that has not got as far
// as its commit. The returned context ends with ctx and, with the cause, when
// the reservation is ended. The caller must call leave when all is done.
func (r *router) reserve(ctx context.Context, service string, hosts []string) (*reservation, context.Context, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.conflictLocked(service, hosts); err != nil {
		return nil, nil, err
	}
	if !r.changes.Enter() {
		return nil, nil, ErrClosed
	}
	r.generation++
	res := &reservation{service: service, generation: r.generation, hosts: hosts}
	for other := range r.pending {
		if other.service == service && !other.committing {
			res.supersedes = true
			r.endLocked(other, faultf(ErrSuperseded, "superseded by generation %d of the service, which was asked for later", res.generation))
		}
	}
	ctx, res.end = context.WithCancelCause(ctx)
	r.pending[res] = struct{}{}
	return res, ctx, nil
}

func (r *router) conflictLocked(service string, hosts []string) error {
	served := r.routes.Load()
	for _, host := range hosts {
		if v := served.owner(host); v != nil && v.status.Service != service {
			return &ConflictError{Host: host, Owner: v.status.Service}
		}
		for other := range r.pending {
			if other.service != service && slices.Contains(other.hosts, host) {
				return &ConflictError{Host: host, Owner: other.service}
			}
		}
	}
	return nil
}

// endLocked lets the hosts of a reservation go, and keeps it from publishing.
func (r *router) endLocked(res *reservation, cause error) {
	delete(r.pending, res)
	res.end(cause)
}

// leave is the end of a change that reserve began, published or not.
func (r *router) leave(res *reservation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endLocked(res, context.Canceled)
	r.changes.Leave()
}

// publish commits next as what its service serves, or with nil that there is
// no such service any more, and then stores the table that says so; the
// reservation ends with that. It calls announce before the next change has its
// turn. It returns the version that was replaced, if there was one. After an error, which may be the cause of ctx's end, nothing
// has changed.
func (r *router) publish(ctx context.Context, res *reservation, next *version, announce func()) (previous *version, err error) {
	r.publishing.Lock()
	defer r.publishing.Unlock()
	if err := r.beginCommit(ctx, res); err != nil {
		return nil, err
	}
	services := maps.Clone(r.routes.Load().services)
	previous = services[res.service]
	switch {
	case next != nil:
		services[res.service] = next
	case previous != nil:
		delete(services, res.service)
	default:
		return nil, nil
	}
	if r.commit != nil {
		if err := r.commit(statuses(services)); err != nil {
			return nil, err
		}
	}
	r.store(newTable(services), res)
	announce()
	return previous, nil
}

// store publishes t, with which res ends.
func (r *router) store(t *table, res *reservation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.routes.Store(t)
	r.endLocked(res, context.Canceled)
}

// beginCommit is the point from which no other change ends this one.
func (r *router) beginCommit(ctx context.Context, res *reservation) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	res.committing = true
	return nil
}

// restore publishes services without a commit and reports true, if nothing has
// been asked of the router before.
func (r *router) restore(services map[string]*version, generation uint64) bool {
	r.publishing.Lock()
	defer r.publishing.Unlock()
	t := newTable(services)
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.routes.Load(); r.generation > 0 || len(old.services) > 0 || old.closed {
		return false
	}
	r.generation = generation
	r.routes.Store(t)
	return true
}

// renew publishes every version anew, with gates of its own, and returns those
// that were replaced.
func (r *router) renew() []*version {
	r.publishing.Lock()
	defer r.publishing.Unlock()
	old := r.routes.Load()
	if old.closed {
		return nil
	}
	services := make(map[string]*version, len(old.services))
	for name, v := range old.services {
		services[name] = v.renewed()
	}
	r.routes.Store(newTable(services))
	return slices.Collect(maps.Values(old.services))
}

// refuse lets no change begin any more and ends those that have not got as far
// as their commit. The returned channel is closed when none is under way.
func (r *router) refuse() (idle <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	idle = r.changes.Close()
	for res := range r.pending {
		if !res.committing {
			r.endLocked(res, ErrClosed)
		}
	}
	return idle
}

// close publishes the last table, which serves nobody, and returns the
// versions that were served until then.
func (r *router) close() []*version {
	r.publishing.Lock()
	defer r.publishing.Unlock()
	old := r.routes.Load()
	r.routes.Store(&table{closed: true})
	return slices.Collect(maps.Values(old.services))
}

// anyHost stands for every host that no other service claims.
const anyHost = ""

// canonicalHost returns a Host header's name as it stands in a table: without
// port and final dot, in lower case, an international name in its ASCII form.
// It allocates nothing where the name is so already.
func canonicalHost(host string) string {
	name := host
	if strings.HasPrefix(name, "[") {
		name, _, _ = strings.Cut(name[1:], "]")
	} else if i := strings.LastIndexByte(name, ':'); i >= 0 {
		name = name[:i]
	}
	name = strings.TrimSuffix(name, ".")
	for i := range len(name) {
		if c := name[i]; c >= 0x80 || 'A' <= c && c <= 'Z' {
			return lowerHost(name)
		}
	}
	return name
}

// lowerHost is canonicalHost for a name that is not so already.
func lowerHost(name string) string {
	if ascii, err := idna.Lookup.ToASCII(name); err == nil {
		return ascii
	}
	return strings.ToLower(name)
}

// canonicalPattern returns a host of a Deployment as canonicalHost would, or
// "*." and the rest of it.
func canonicalPattern(host string) (string, error) {
	switch {
	case host == "":
		return "", faultf(ErrInvalid, "host is empty: name one such as app1.example.com, or none at all to serve every host")
	case host == "*":
		return "", faultf(ErrInvalid, "host \"*\": name no host at all to serve every one, or use \"*.example.com\" for one label")
	}
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return addr.String(), nil
	}
	rest, isWildcard := strings.CutPrefix(host, "*.")
	switch {
	case strings.Contains(rest, "*"):
		return "", faultf(ErrInvalid, "host %q: \"*\" may only stand for the whole first label, as in *.example.com", host)
	case strings.Contains(rest, "://"):
		return "", faultf(ErrInvalid, "host %q has a scheme: leave it out, as in app1.example.com", host)
	case strings.Contains(rest, "/"):
		return "", faultf(ErrInvalid, "host %q has a path: leave it out, as in app1.example.com", host)
	case strings.Contains(rest, ":"):
		return "", faultf(ErrInvalid, "host %q has a port: leave it out, a service answers for its hosts on every port", host)
	}
	name := canonicalHost(rest)
	if !isHostName(name) {
		return "", faultf(ErrInvalid, "host %q is no host name: want labels of letters, digits and '-' with dots between, as in app1.example.com", host)
	}
	if isWildcard {
		return "*." + name, nil
	}
	return name, nil
}

// isHostName reports whether name is made of labels as RFC 1123 section 2.1
// has them, the underscore too, which is met in private networks.
func isHostName(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}
