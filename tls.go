package parachute

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute/internal/admission"
	"github.com/shahnk19/parachute/internal/affinity"
	"github.com/shahnk19/parachute/internal/certificate"
	"github.com/shahnk19/parachute/internal/ciphers"
	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/issuer"
	"github.com/shahnk19/parachute/internal/keypair"
	"github.com/shahnk19/parachute/internal/reason"
	"github.com/shahnk19/parachute/internal/redirects"
	"github.com/shahnk19/parachute/internal/routing"
	"github.com/shahnk19/parachute/internal/trust"
	"github.com/shahnk19/parachute/internal/verbose"
	"github.com/shahnk19/parachute/internal/zone"
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
	// none. A host of a single label, and an address, cannot be TLSAutomatic; a
	// host with a "*" can only with ACME.DNS.
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
// A certificate is renewed when the authority suggests it (RFC 9773), or else
// when a third of its life is left, or 30 days, whichever is less. A certificate
// that was obtained once is renewed until the process ends, even when no service
// has its name any more.
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
	// is reported, and the certificate is ordered all the same, unless the error,
	// or that of another method of the Cache, has a method
	//
	//	ForbidsOrder() bool
	//
	// that returns true: then nothing is ordered, and a minute later it is tried
	// again.
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

	// DNS is how TXT records are set, which prove wildcards. Without its Present
	// there is no way.
	DNS DNS

	// Hold, if not nil, keeps the Proxy from asking the authority for anything until
	// it is closed, as while another Proxy still orders: see FinishOrders. What Cache
	// has is served.
	Hold <-chan struct{}
}

// DNS says how TXT records are set, to prove to the certificate authority that a name is
// ours (DNS-01; RFC 8555, section 8.4). Wildcards are proven so, and with *.example.com, in
// the same order, example.com if that is served as well.
//
// Before the authority looks, each server of the zone that answers must have the record,
// within 5 minutes.
type DNS struct {
	// Present adds a TXT record with value to name, which may have others. name has
	// no final dot. It is that of the challenge, or what CNAME records make of it.
	Present func(ctx context.Context, name, value string) error

	// Cleanup removes that record. It is called once after each call of Present, even
	// if that returned an error. Both have 2 minutes.
	Cleanup func(ctx context.Context, name, value string) error

	// Always has all names proven so, also where the proxy cannot be reached from
	// the internet.
	Always bool

	// Resolvers are addresses, such as "192.0.2.1:53", of DNS servers that are asked
	// for the servers of a zone before those in /etc/resolv.conf are. One that has the
	// zone itself counts as a server of the zone.
	Resolvers []string
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

// policyOf returns what the other services of d's hosts have to agree on. Where nothing
// serves TLS, that is nothing about TLS.
func (o *Options) policyOf(d *Deployment) routing.Policy {
	tls := routing.TLS{Mode: string(d.TLS.Mode), NoRedirect: d.TLS.NoRedirect}
	if source := d.TLS; source.isOn() {
		source.Wait = false
		tls.Source = source
	}
	if o.NoHTTPS != nil {
		tls = routing.TLS{}
	}
	return routing.Policy{TLS: tls, Canonical: d.CanonicalHost}
}

// isOn reports whether t asks for TLS.
func (t TLS) isOn() bool { return t.Mode != TLSInherit && t.Mode != TLSOff }

// certificateSet returns the certificates for the hosts of a site, or nil if there is no
// site, or it is not served over TLS.
func certificateSet(s *site) *certificate.Set {
	if s == nil || s.Secure == nil {
		return nil
	}
	return s.Secure.certificates
}

// wants holds what a service claims, and the policy that other services must agree
// with.
type wants = routing.Wants

// A ConflictError names the service that has the host that was asked for. It
// wraps ErrConflict.
type ConflictError struct {
	Host    string `json:"host"`              // "" is any host
	Prefix  string `json:"prefix,omitempty"`  // "" is every path
	Owner   string `json:"owner"`             // serves it, or is being deployed to
	Dispute string `json:"dispute,omitempty"` // what the owner, with which the host would be shared, does otherwise; "": it has the host for itself
}

// conflictError returns c as an error, or nil if c is nil.
func conflictError(c *routing.Conflict) error {
	if c == nil {
		return nil
	}
	return (*ConflictError)(c)
}

func (e *ConflictError) Error() string { return (*routing.Conflict)(e).String() }

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

// redirect answers a request that belongs on another host, or on https. It
// reports whether it did.
func (q *request) redirect(t *table, s *site) bool {
	if s == nil || s.Policy.Canonical == "" && !s.Policy.TLS.IsOn() {
		return false
	}
	origin, ok := q.newOrigin(t, s)
	if ok {
		q.redirectTo(origin + strings.TrimPrefix(q.target, "*")) // "*" has no path
	}
	return ok
}

// redirectTo answers with a redirect that keeps the method.
func (q *request) redirectTo(location string) {
	q.refuse(redirects.Answer(q.w.Header(), q.r.Method, location), nil)
}

// newOrigin returns the origin that a request for s is redirected to, and whether it
// is redirected: to https, to the canonical host, or to both in one step. It is
// redirected to https only if the handshake is likely to succeed. To find that out,
// newOrigin may ask for a certificate on demand.
func (q *request) newOrigin(t *table, s *site) (origin string, ok bool) {
	name, isSecure := hostname.Canonical(q.r.Host), q.client.IsSecure(q.r)
	host, to := name, s
	if canonical := s.Policy.Canonical; canonical != "" && canonical != name {
		host, to = canonical, t.Match(canonical)
	}
	toHTTPS := !isSecure && !q.entrance.isOwn() && to.Policy.TLS.IsOn() && !to.Policy.TLS.NoRedirect &&
		certificateSet(to).Expects(q.r.Context(), to.Host, host, q.client.Addr)
	if host == name && !toHTTPS {
		return "", false
	}
	// The client's own host is repeated only if the site has no name of its own.
	if s.Policy.Canonical == "" && hostname.IsOne(s.Host) {
		host = s.Host
	}
	scheme := "http"
	if isSecure || toHTTPS {
		scheme = "https"
	}
	o := &q.proxy.options
	ports := hostname.Ports{HTTP: o.PublicHTTPPort, HTTPS: o.PublicHTTPSPort, Assumed: o.HTTPSPort}
	if q.entrance.isOwn() {
		ports.HTTP, ports.HTTPS = 0, 0
	}
	return hostname.Origin(scheme, host, ports.Of(scheme, int(q.client.Port(q.r, scheme)), q.r.Host, toHTTPS))
}

// check returns ErrInvalid if the hosts of a service cannot be served as t says.
// The hosts must be canonical.
func (t TLS) check(hosts []string) error {
	return invalid(issuer.Settings[TLSMode](t).Check(hosts))
}

// checkTLS returns ErrInvalid if s asks for TLS that cannot be had here: because nothing
// serves it, or because one of the hosts is a wildcard, and there is no way to prove that.
func (o *Options) checkTLS(s *spec) error {
	if s.TLS.isOn() && o.NoHTTPS != nil {
		return faultf(ErrInvalid, "TLS is not available here: %v", o.NoHTTPS)
	}
	if s.TLS.Mode != TLSAutomatic || o.ACME.DNS.Present != nil {
		return nil
	}
	for _, host := range s.Hosts {
		if _, isWildcard := hostname.CutWildcard(host); isWildcard {
			return faultf(ErrInvalid, "host %s: a certificate for a wildcard cannot be obtained automatically yet: have the proxy set TXT records, with ACME.DNS, or give the files of a certificate", host)
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
	switch TLSMode(s.Policy.TLS.Mode) {
	case TLSAutomatic:
		names := c.issuer(s.TLS).WantAll(hosts)
		return certificate.Each(hosts, func(host string) certificate.Source { return names[host].Source() })
	case TLSFiles:
		return certificate.Shared(c.files.Source(s.pair, hosts))
	case TLSOnDemand:
		asker := &admission.Asker{URL: s.TLS.AskURL, Transport: c.asks, UserAgent: c.o.UserAgent, Service: service, Notify: c.issued}
		return certificate.Shared(issuer.NewDemand(c.issuer(s.TLS), asker.Ask, askLimit).Source())
	}
	return new(certificate.Set)
}

// loadPair reads the certificate files of s, if it has some. An error is ErrInvalid.
func (s *spec) loadPair() error { return s.readPair(keypair.Load) }

// openPair is loadPair for files that were in use before. After an error, s has no
// certificate until the files can be used, or one that has expired.
func (s *spec) openPair() error {
	if err := s.readPair(keypair.Open); err != nil {
		return fmt.Errorf("the service serves without a valid certificate until the files can be used: %w", err)
	}
	return nil
}

func (s *spec) readPair(read func(certFile, keyFile string, hosts ...string) (*keypair.Pair, error)) (err error) {
	if s.Policy.TLS.Mode == string(TLSFiles) {
		s.pair, err = read(s.TLS.CertFile, s.TLS.KeyFile, s.Hosts...)
	}
	return invalid(err)
}

// awaitCertificates returns nil when v's hosts have certificates, each one, or at once where
// its Deployment does not ask for that. It returns ErrNoCertificate when ctx ends before.
func (v *version) awaitCertificates(ctx context.Context) error {
	if !v.status.Deployment.TLS.Wait {
		return nil
	}
	if host, err := v.certificates.AwaitEach(ctx); err != nil {
		return faultf(ErrNoCertificate, "no certificate for %s: %v", host, err)
	}
	return nil
}

// allCertificates returns those of v's hosts, and of what it may return to. v may be
// nil.
func (v *version) allCertificates() (all []*certificate.Set) {
	for ; v != nil; v = v.fallback {
		if v.certificates != nil && !slices.Contains(all, v.certificates) {
			all = append(all, v.certificates)
		}
	}
	return all
}

// ask asks one of v's targets whether a name may have a certificate, as a visitor
// to that name would: by Host alone an app with many of them may tell.
func (v *version) ask(ctx context.Context, name, requestTarget string) (*http.Response, error) {
	return v.Main.Pick(0, nil, false, affinity.Visitor{}).Target.Get(ctx, name, requestTarget)
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
		DNS: issuer.DNS{
			Present: a.DNS.Present,
			Cleanup: a.DNS.Cleanup,
			Always:  a.DNS.Always,
			Zones:   zone.Finder{Resolvers: a.DNS.Resolvers, Dial: o.Dial},
		},
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

// answerChallenge answers a certificate authority that checks whether the host
// is served here. It reports whether the request was such a check.
func (q *request) answerChallenge() bool {
	token, ok := issuer.CutToken(q.target)
	if !ok {
		return false
	}
	answer, ok := q.proxy.certificates.issuers.Token(q.r.Context(), hostname.Canonical(q.r.Host), token)
	if ok {
		q.replyText(reason.Challenge, string(answer))
	}
	return ok
}

// certificatesOf describes the certificates that are served on sites, by host.
func certificatesOf(sites iter.Seq[*site]) []Certificate {
	all := []Certificate{}
	for s := range sites {
		set := certificateSet(s)
		if set == nil {
			continue
		}
		for name, known := range set.Known(s.Host) {
			c := Certificate{Host: name, Source: TLSMode(s.Policy.TLS.Mode), Renews: known.Renews}
			if known.Certificate != nil {
				c.Issuer, c.Expires = keypair.IssuerOf(known.Certificate.Leaf), known.Certificate.Leaf.NotAfter
			}
			if known.Err != nil {
				c.Error = known.Err.Error()
			}
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b Certificate) int { return strings.Compare(a.Host, b.Host) })
	return all
}

// certificate finds the certificate for a handshake. Without one it returns no
// error either, for that would be told to the client as an internal one.
func (p *Proxy) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := hostname.Canonical(hello.ServerName)
	if issuer.IsChallenge(hello) {
		return p.certificates.issuers.Challenge(hello, name), nil
	}
	t := p.router.routes.Load()
	s := t.Unnamed()
	if name != "" {
		s = t.Match(name)
	}
	if certificates := certificateSet(s); certificates != nil {
		if c := certificates.Await(hello, s.Host, name, handshakeLimit); c != nil {
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
	if q.proxy.speaksTLS.Load() && (s == nil && isNamed || s != nil && certificateSet(s) == nil) {
		return true
	}
	if !isNamed {
		return false
	}
	sni, name := hostname.Canonical(q.r.TLS.ServerName), hostname.Canonical(q.r.Host)
	return sni != name && !sharesTLS(s, name, t.Match(sni), sni)
}

// sharesTLS reports whether name is served with the same TLS settings and the same
// certificate as sni. s is the site of name, other the site of sni; either may be
// nil.
func sharesTLS(s *site, name string, other *site, sni string) bool {
	if s == nil || other == nil || s.Policy.TLS != other.Policy.TLS {
		return s == other
	}
	mine, theirs := certificateSet(s), certificateSet(other)
	if mine == nil || theirs == nil {
		return mine == theirs
	}
	return keypair.Same(mine.Certificate(s.Host, name), theirs.Certificate(other.Host, sni))
}

// Certificates returns what is known of the certificate of every host that is
// served over TLS, sorted by host. Those on demand are there once somebody came
// to their name.
func (p *Proxy) Certificates() []Certificate {
	return certificatesOf(p.router.routes.Load().Sites())
}

// CertificatesOf returns those of Certificates that are for the hosts of a service, without
// looking at the others.
func (p *Proxy) CertificatesOf(service string) []Certificate {
	return certificatesOf(p.router.routes.Load().SitesOf(service))
}

// UnknownNames returns how many handshakes were refused because they named a
// host that has no certificate.
func (p *Proxy) UnknownNames() uint64 { return p.certificates.unknown.Load() }

// TLSConfig returns the configuration for a server that speaks TLS for the
// Proxy: with the certificates of its hosts, and with answers to the TLS-ALPN-01
// challenges of the certificate authority. It speaks TLS 1.3, and TLS 1.2 with
// ephemeral keys and authenticated encryption alone. A client that names no host
// gets the certificate of the first one in the order of their names; one that
// names a host without a certificate gets the alert unrecognized_name. A
// handshake waits up to 10 s for a certificate that is being obtained.
//
// From then on, a request that comes over TLS for a host that has none, or has
// none any more, is answered 421, as on a connection that outlived the deploy
// which turned it off. So a Proxy whose TLSConfig is used serves TLS by that
// alone. The caller may change what is returned.
func (p *Proxy) TLSConfig() *tls.Config {
	p.speaksTLS.Store(true)
	return &tls.Config{
		GetCertificate: p.certificate,
		NextProtos:     []string{"h2", "http/1.1", acme.ALPNProto},
		MinVersion:     tls.VersionTLS12,
		CipherSuites:   ciphers.Suites(),
	}
}

// FinishOrders keeps the Proxy from ordering certificates from now on, and returns when the
// orders under way have ended. Then another Proxy may order: see ACME.Hold.
func (p *Proxy) FinishOrders() { p.certificates.issuers.Finish() }
