package parachute

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"iter"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute/internal/admission"
	"github.com/shahnk19/parachute/internal/affinity"
	"github.com/shahnk19/parachute/internal/certificate"
	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/issuer"
	"github.com/shahnk19/parachute/internal/keypair"
	"github.com/shahnk19/parachute/internal/trust"
	"github.com/shahnk19/parachute/internal/verbose"
)

// TLSMode says where the certificates of a service's hosts come from.
type TLSMode string

const (
	TLSInherit   TLSMode = ""          // as another service of the host says; if none does, there is no TLS
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

	// NoRedirect serves plain requests. Otherwise they are redirected to
	// https:// as soon as the host has a certificate; on demand, as soon as
	// AskURL has allowed the name one, unless it could not be obtained.
	NoRedirect bool `json:"no_redirect,omitempty"`

	// Wait makes Deploy wait for the certificates of all Hosts before it
	// switches, within Timeouts.Deploy. If they do not come, it returns
	// ErrNoCertificate.
	Wait bool `json:"wait,omitempty"`
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

	// Insecure accepts any certificate.
	Insecure bool `json:"insecure,omitempty"`
}

// A targetTLS is a TargetTLS with its file read.
type targetTLS = trust.Settings

// readFile reads the file of certificate authorities, if o names one.
func (o TargetTLS) readFile() (targetTLS, error) {
	s, err := trust.Load(o.CAFile, o.ServerName, o.Insecure)
	if err != nil {
		err = faultf(ErrInvalid, "target CA: %v", err)
	}
	return s, err
}

// A Certificate describes a certificate that a Proxy serves, or tries to obtain.
type Certificate struct {
	Host    string    `json:"host"`             // the name or wildcard that it is for
	Source  TLSMode   `json:"source"`           // TLSAutomatic, TLSFiles or TLSOnDemand
	Issuer  string    `json:"issuer,omitempty"` // who signed it; empty: there is none yet
	Expires time.Time `json:"expires,omitzero"`
	Renews  time.Time `json:"renews,omitzero"` // about when it will be renewed, or ordered again after an error; zero: the Proxy does not renew it
	Error   string    `json:"error,omitempty"` // why the last attempt to get a new one failed; empty: it did not
}

// ACME says how certificates are obtained from a certificate authority that
// speaks ACME (RFC 8555). The zero value asks Let's Encrypt and keeps nothing
// beyond the life of the Proxy. Whoever deploys with automatic TLS agrees to the
// authority's terms of service.
//
// A certificate is renewed when a third of its life is left, or 30 days,
// whichever is less. A certificate that was obtained once is renewed until the
// process ends, even when no service has its name any more.
type ACME struct {
	// Cache keeps certificates, the account's key and answers to challenges, and
	// may be shared by several machines: each then answers for all. If nil, they
	// are kept in memory. Keys of what belongs to a Directory other than Let's
	// Encrypt's begin with the directory's host and a "+".
	//
	// If Cache also has the method
	//
	//	Lock(ctx context.Context, name string) (unlock func(), err error)
	//
	// it is called before a certificate for name is ordered, so that only one of
	// the machines that share the Cache orders it. If it returns an error, that
	// is reported, and the certificate is ordered all the same.
	Cache autocert.Cache

	// CacheAt returns the cache for the folder that a TLS.CacheDir names. If
	// nil, that is an [autocert.DirCache].
	CacheAt func(dir string) autocert.Cache

	// Directory is the URL of the authority. If empty, Let's Encrypt's.
	Directory string

	// Email is the address that the authority writes to about problems. It may
	// be empty.
	Email string

	// ExternalAccount binds the account to one that the authority knows by
	// other means (RFC 8555, section 7.3.4). If nil, it is not bound.
	ExternalAccount *acme.ExternalAccountBinding

	// RootCAs verify the certificate of the authority's server. If nil, the
	// system's do.
	RootCAs *x509.CertPool

	// Hold, if not nil, has the authority asked for nothing before it is closed:
	// while another Proxy still orders, see FinishOrders. What Cache has is served.
	Hold <-chan struct{}
}

const (
	// stagingDirectory is the URL of Let's Encrypt's directory for tests.
	stagingDirectory = "https://acme-staging-v02.api.letsencrypt.org/directory"

	// handshakeLimit bounds how long a handshake waits for a certificate that
	// is being ordered.
	handshakeLimit = 10 * time.Second

	// askLimit bounds a request to AskURL.
	askLimit = 2 * time.Second
)

// A policy holds the settings that the services of a host have to agree on.
type policy struct {
	tls       TLS    // without Wait; if Mode is TLSInherit, the other services decide
	canonical string // if empty, the other services decide
}

func policyOf(d *Deployment) policy {
	p := policy{d.TLS, d.CanonicalHost}
	p.tls.Wait = false
	return p
}

// with returns the policy that two services of a host agree on. If they contradict
// each other, dispute says how, as the end of a sentence about the service of p.
func (p policy) with(q policy) (agreed policy, dispute string) {
	agreed = policy{p.tls, cmp.Or(p.canonical, q.canonical)}
	if p.tls.Mode == TLSInherit {
		agreed.tls = q.tls
	}
	switch {
	case p.canonical != "" && q.canonical != "" && p.canonical != q.canonical:
		return p, fmt.Sprintf("redirects to the canonical host %s, and this one to %s", p.canonical, q.canonical)
	case p.tls.Mode == TLSInherit || q.tls.Mode == TLSInherit || p.tls == q.tls:
		return agreed, ""
	case p.tls.Mode != q.tls.Mode:
		return p, fmt.Sprintf("has TLS mode %q, and this one %q", p.tls.Mode, q.tls.Mode)
	case p.tls.NoRedirect != q.tls.NoRedirect:
		return p, "says otherwise whether plain requests are redirected to https"
	}
	return p, fmt.Sprintf("has its certificates for TLS mode %q from elsewhere", p.tls.Mode)
}

// isSecure reports whether hosts of this policy are served over TLS.
func (p policy) isSecure() bool { return p.tls.isOn() }

// isOn reports whether t asks for TLS.
func (t TLS) isOn() bool { return t.Mode != TLSInherit && t.Mode != TLSOff }

// A claim is a host with a path prefix. No two services have the same claim.
type claim = hostname.Claim

// wants holds what a service claims, and the policy that other services must agree
// with.
type wants struct {
	claims []claim
	policy policy // for the hosts of claims
}

// conflictOf returns why service, with the policy mine, cannot have c, or nil if it
// can. others yields what each service wants, by name.
func conflictOf(c claim, others iter.Seq2[string, wants], service string, mine policy) *ConflictError {
	isShared := func(other claim) bool { return other.Host == c.Host }
	for owner, theirs := range others {
		switch {
		case owner == service:
		case slices.Contains(theirs.claims, c):
			return &ConflictError{Host: c.Host, Prefix: c.Prefix, Owner: owner}
		case slices.ContainsFunc(theirs.claims, isShared):
			if _, dispute := theirs.policy.with(mine); dispute != "" {
				return &ConflictError{Host: c.Host, Owner: owner, Dispute: dispute}
			}
		}
	}
	return nil
}

// checkTogether returns why members cannot be in service together, beside what else is
// served and pending, or nil if they can.
func checkTogether(members []*member, served *table, pending iter.Seq2[string, wants]) error {
	changes, isChanged := make(map[string]*version), make(map[string]bool)
	for _, m := range members {
		if changes[m.Name], isChanged[m.Name] = nil, !m.isKept; m.spec != nil {
			changes[m.Name] = newVersion(Status{Service: m.Name}, m.spec.wants, group{})
		}
	}
	together := served.with(changes)
	others := func(yield func(string, wants) bool) {
		for name, w := range pending {
			if !isChanged[name] && !yield(name, w) { // else the change ends, or is replaced
				return
			}
		}
	}
	var errs []error
	for _, m := range members {
		if m.spec == nil || m.isKept {
			continue
		}
		if err := together.conflict(m.Name, m.spec.wants, others); err != nil {
			errs = append(errs, ofService(m.Name, err))
		}
	}
	return verbose.Join(errs...)
}

// A ConflictError names the service that has the host that was asked for. It
// wraps ErrConflict.
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

// Format writes e as Error does. For %+v, it adds Hint on a line of its own.
func (e *ConflictError) Format(s fmt.State, verb rune) {
	verbose.Format(s, verb, e, e.Error()+"\n  "+e.Hint())
}

// Hint says what an operator can do about it.
func (e *ConflictError) Hint() string {
	if e.Dispute != "" {
		return "TLS and the canonical host belong to the host, not to one of its services; Status.Deployment shows what each says"
	}
	return fmt.Sprintf("Proxy.Services shows the hosts of every service; Proxy.Remove(%q) frees those of that one", e.Owner)
}

// conflict returns why service cannot have what w wants, beside what t has and what is
// reserved, or nil if it can.
func (t *table) conflict(service string, w wants, reserved iter.Seq2[string, wants]) error {
	for _, c := range w.claims {
		if s := t.sites.Get(c.Host); s != nil {
			if conflict := conflictOf(c, wantsOf(s.versions()), service, w.policy); conflict != nil {
				return conflict
			}
		}
		if conflict := conflictOf(c, reserved, service, w.policy); conflict != nil {
			return conflict
		}
	}
	return nil
}

// wantsOf yields what versions want, by the names of their services.
func wantsOf(versions []*version) iter.Seq2[string, wants] {
	return func(yield func(string, wants) bool) {
		for _, v := range versions {
			if !yield(v.status.Service, v.wants) {
				return
			}
		}
	}
}

// versions returns the versions that answer for the paths of s.
func (s *site) versions() []*version {
	var all []*version
	for _, r := range s.routes {
		all = append(all, r.version)
	}
	return all
}

// redirect answers a request that belongs on another host, or on https. It
// reports whether it did.
func (q *request) redirect(t *table, s *site) bool {
	if s == nil || s.policy.canonical == "" && !s.policy.isSecure() {
		return false
	}
	origin, ok := q.newOrigin(t, s)
	if ok {
		q.redirectTo(origin + strings.TrimPrefix(q.target, "*")) // "*" has no path
	}
	return ok
}

// newOrigin returns the origin that a request for s is redirected to, and whether it
// is redirected: to https, to the canonical host, or to both in one step. It is
// redirected to https only if the handshake is likely to succeed. To find that out,
// newOrigin may ask for a certificate on demand.
func (q *request) newOrigin(t *table, s *site) (origin string, ok bool) {
	name, isSecure := hostname.Canonical(q.r.Host), q.client.IsSecure(q.r)
	host, to := name, s
	if canonical := s.policy.canonical; canonical != "" && canonical != name {
		host, to = canonical, t.lookup(canonical)
	}
	toHTTPS := !isSecure && !q.entrance.isOwn() && to.policy.isSecure() && !to.policy.tls.NoRedirect &&
		to.certificates.Expects(q.r.Context(), to.host, host, q.client.Addr)
	if host == name && !toHTTPS {
		return "", false
	}
	// The client's own host is repeated only if the site has no name of its own.
	if _, isWildcard := hostname.CutWildcard(s.host); s.policy.canonical == "" && s.host != hostname.Any && !isWildcard {
		host = s.host
	}
	scheme := "http"
	if isSecure || toHTTPS {
		scheme = "https"
	}
	return hostname.Origin(scheme, host, q.publicPort(scheme, toHTTPS))
}

// publicPort returns the port at which the client reaches URLs of that scheme, as
// hostname.Origin takes it. isOther says that the request did not come by one.
func (q *request) publicPort(scheme string, isOther bool) string {
	o := &q.proxy.options
	port, standard := o.PublicHTTPPort, 80
	if scheme == "https" {
		port, standard = o.PublicHTTPSPort, 443
	}
	if q.entrance.isOwn() {
		port = 0
	}
	port = cmp.Or(int(q.client.Port(q.r, scheme)), port)
	switch {
	case port == 0 && !isOther:
		return hostname.Port(q.r.Host)
	case port == 0:
		port = o.HTTPSPort
	}
	if port == standard {
		return ""
	}
	return strconv.Itoa(port)
}

// check returns ErrInvalid if the hosts of a service cannot be served as t says.
// The hosts must be canonical.
func (t TLS) check(hosts []string) error {
	switch t.Mode {
	case TLSInherit, TLSOff:
		if (t != TLS{Mode: t.Mode}) {
			return faultf(ErrInvalid, "TLS settings with TLS mode %q: they are of no use unless it is %q, %q or %q", t.Mode, TLSAutomatic, TLSFiles, TLSOnDemand)
		}
		return nil
	case TLSAutomatic, TLSFiles:
		if len(hosts) == 0 {
			return faultf(ErrInvalid, "TLS without a host: name the hosts that the certificates are for")
		}
	case TLSOnDemand:
		if len(hosts) > 0 {
			return faultf(ErrInvalid, "TLS on demand with host %s: certificates on demand are for the names of visitors, so name no host, or get those of the hosts automatically", hosts[0])
		}
		if err := issuer.CheckAskURL(t.AskURL); err != nil {
			return faultf(ErrInvalid, "%v", err)
		}
	default:
		return faultf(ErrInvalid, "TLS mode %q: want %q, %q, %q or %q", t.Mode, TLSOff, TLSAutomatic, TLSFiles, TLSOnDemand)
	}
	switch {
	case t.Mode != TLSOnDemand && t.AskURL != "":
		return faultf(ErrInvalid, "ask URL %s: it is of use with TLS mode %q alone", t.AskURL, TLSOnDemand)
	case t.Mode != TLSFiles && t.CertFile+t.KeyFile != "":
		return faultf(ErrInvalid, "certificate file %s: it is of use with TLS mode %q alone", cmp.Or(t.CertFile, t.KeyFile), TLSFiles)
	case t.Mode == TLSFiles && (t.Staging || t.CacheDir != ""):
		return faultf(ErrInvalid, "TLS mode %q asks no authority: leave out what says which, and where to keep what it issues", TLSFiles)
	case t.Mode == TLSFiles && !(filepath.IsAbs(t.CertFile) && filepath.IsAbs(t.KeyFile)):
		return faultf(ErrInvalid, "certificate file %q and key file %q: want an absolute path of each", t.CertFile, t.KeyFile)
	case t.CacheDir != "" && !filepath.IsAbs(t.CacheDir):
		return faultf(ErrInvalid, "certificate cache %q: want an absolute path", t.CacheDir)
	case t.Mode != TLSAutomatic:
		return nil
	}
	for _, host := range hosts {
		if err := issuer.CheckName(host); err != nil {
			return faultf(ErrInvalid, "host %s: %v: give its files", host, err)
		}
	}
	return nil
}

// certificates obtains and renews the certificates of one Proxy until close is
// called.
type certificates struct {
	o       Options
	notify  func(Event)
	asks    *http.Transport // for the requests to AskURL
	unknown atomic.Uint64   // handshakes for names without a certificate
	files   *keypair.Refresher
	issuers *issuer.Set
}

// newCertificates returns the certificates of a Proxy. The options must be
// normalized. No goroutine runs before the first call of acquire.
func newCertificates(o Options, notify func(Event)) *certificates {
	c := &certificates{
		o:      o,
		notify: notify,
		asks:   &http.Transport{DialContext: o.Dial, DisableKeepAlives: true},
	}
	c.issuers = issuer.NewSet(func(from issuer.Authority) issuer.Options { return o.ACME.options(from, o, c.issued) })
	c.files = keypair.NewRefresher(c.issued)
	return c
}

func (c *certificates) close() {
	c.issuers.Close()
	c.files.Close()
}

// acquire begins to obtain the certificates that s asks for, unless they are there
// already. If AskURL is a path, service sends the request for it to the app. The caller
// must release the certificates, once.
func (c *certificates) acquire(s *spec, service func(ctx context.Context, name, requestTarget string) (*http.Response, error)) *certificate.Set {
	hosts := slices.Sorted(slices.Values(s.Hosts))
	switch s.policy.tls.Mode {
	case TLSAutomatic:
		from := c.issuer(s.TLS)
		return certificate.Each(hosts, func(host string) certificate.Source { return from.Want(host).Source() })
	case TLSFiles:
		return certificate.Shared(c.files.Source(s.pair, hosts))
	case TLSOnDemand:
		asker := &admission.Asker{URL: s.TLS.AskURL, Transport: c.asks, UserAgent: c.o.UserAgent, Service: service}
		return certificate.Shared(issuer.NewDemand(c.issuer(s.TLS), c.telling(asker.Ask), askLimit).Source())
	}
	return new(certificate.Set)
}

// loadPair reads the certificate files of t. It returns ErrInvalid if they are not
// valid for all hosts.
func (t TLS) loadPair(hosts []string) (*keypair.Pair, error) {
	pair, err := keypair.Load(t.CertFile, t.KeyFile)
	for _, host := range hosts {
		if err == nil {
			err = pair.Covers(host)
		}
	}
	if err != nil {
		return nil, faultf(ErrInvalid, "%v", err)
	}
	return pair, nil
}

// ask asks one of v's targets whether a name may have a certificate, as a visitor
// to that name would: by Host alone an app with many of them may tell.
func (v *version) ask(ctx context.Context, name, requestTarget string) (*http.Response, error) {
	t := v.main.pick(0, nil, false, affinity.Visitor{}).target
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+name, nil)
	if err != nil {
		return nil, err
	}
	return t.exchange(r, requestTarget, field.ViewOf(t.prober.header), nil)
}

// issuer returns the issuer of the certificates for t.
func (c *certificates) issuer(t TLS) *issuer.Issuer {
	from := issuer.Authority{Directory: c.o.ACME.Directory, CacheDir: t.CacheDir}
	if t.Staging {
		from.Directory = stagingDirectory
	}
	return c.issuers.Get(from)
}

// options returns the options of the issuer for an authority.
func (a ACME) options(from issuer.Authority, o Options, notify func(name string, err error)) issuer.Options {
	cache := a.Cache
	if from.CacheDir != "" {
		cache = a.CacheAt(from.CacheDir)
	}
	return issuer.Options{
		Directory:       from.Directory,
		Email:           a.Email,
		ExternalAccount: a.ExternalAccount,
		Cache:           cache,
		Transport: &http.Transport{
			DialContext:         o.Dial,
			TLSClientConfig:     &tls.Config{RootCAs: a.RootCAs},
			TLSHandshakeTimeout: 10 * time.Second,
			ForceAttemptHTTP2:   true,
			IdleConnTimeout:     30 * time.Second,
		},
		UserAgent: o.UserAgent,
		Hold:      a.Hold,
		Notify:    notify,
	}
}

// issued emits an event: name has a new certificate, or err says why it has none.
func (c *certificates) issued(name string, err error) {
	e := Event{Kind: EventCertificate, Host: name, Err: err}
	if err != nil {
		e.Kind = EventNoCertificate
	}
	c.notify(e)
}

// certificatesOf describes the certificates that are served on s, which has some.
func certificatesOf(s *site) (all []Certificate) {
	for name, known := range s.certificates.Known(s.host) {
		c := Certificate{Host: name, Source: s.policy.tls.Mode, Renews: known.Renews}
		if known.Certificate != nil {
			c.Issuer, c.Expires = keypair.IssuerOf(known.Certificate.Leaf), known.Certificate.Leaf.NotAfter
		}
		if known.Err != nil {
			c.Error = known.Err.Error()
		}
		all = append(all, c)
	}
	return all
}

// telling returns a function that calls ask and emits an event for its error, for
// the client does not learn why its handshake failed. Since refusals are remembered,
// there is at most one such event a minute for each refused name.
func (c *certificates) telling(ask func(ctx context.Context, name string) error) func(ctx context.Context, name string) error {
	return func(ctx context.Context, name string) error {
		err := ask(ctx, name)
		if err != nil {
			c.issued(name, err)
		}
		return err
	}
}

// certificate finds the certificate for a handshake. Without one it returns no
// error either, for that would be told to the client as an internal one.
func (p *Proxy) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := hostname.Canonical(hello.ServerName)
	if issuer.IsChallenge(hello) {
		return p.certificates.issuers.Challenge(hello, name), nil
	}
	t := p.router.routes.Load()
	s := t.unnamed
	if name != "" {
		s = t.lookup(name)
	}
	if s != nil && s.certificates != nil {
		if c := s.certificates.Await(hello, s.host, name, handshakeLimit); c != nil {
			return c, nil
		}
	}
	p.certificates.unknown.Add(1)
	return nil, nil
}

// isMisdirected reports whether the request must not use the connection that it
// came over: because that was made to another host, which has not the same TLS
// settings and certificate as the host of s; or because it could not be made any
// more, since s has no TLS now. A nil s stands for a host without a service. So a
// change of a service's TLS holds for connections that were made before it.
func (q *request) isMisdirected(t *table, s *site) bool {
	if q.r.TLS == nil {
		return false
	}
	isNamed := q.r.TLS.ServerName != ""
	if q.proxy.speaksTLS.Load() && (s == nil && isNamed || s != nil && s.certificates == nil) {
		return true
	}
	if !isNamed {
		return false
	}
	sni, name := hostname.Canonical(q.r.TLS.ServerName), hostname.Canonical(q.r.Host)
	return sni != name && !s.sharesTLS(name, t.lookup(sni), sni)
}

// sharesTLS reports whether name is served with the same TLS settings and the same
// certificate as sni. s is the site of name, other the site of sni; either may be
// nil.
func (s *site) sharesTLS(name string, other *site, sni string) bool {
	if s == nil || other == nil || s.policy.tls != other.policy.tls {
		return s == other
	}
	if s.certificates == nil || other.certificates == nil {
		return s.certificates == other.certificates
	}
	return keypair.Same(s.certificates.Certificate(s.host, name), other.certificates.Certificate(other.host, sni))
}
