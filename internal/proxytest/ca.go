package proxytest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// A CA is a certificate authority. It signs what Issue is asked for and, once
// it is served, what is ordered over ACME (RFC 8555) and proven by a challenge
// that it validates for real: tls-alpn-01 (RFC 8737), http-01 or dns-01. No time passes
// over an order, but for what Slow and RateLimit ask for and for names that do
// not answer, which are given up after 10 s.
//
// The fields are for the time before Serve. All methods may be called from any
// goroutine, but for those that say otherwise.
type CA struct {
	// Lifetime is how long certificates are valid, and Backdate how much of that has
	// passed when they are issued. If Lifetime is 0, 90 days.
	Lifetime time.Duration
	Backdate time.Duration

	// Challenges are the types of challenge that are offered for every name.
	// If nil, "tls-alpn-01" and "http-01", and with a TXT "dns-01". For a wildcard
	// that is the only one.
	Challenges []string

	// TXT returns the TXT records of a name, for dns-01. If nil, there are none.
	TXT func(name string) []string

	// Renewal returns the window in which the certificate with an identifier as in
	// RFC 9773, section 4.1, is to be renewed, and after how many whole seconds to
	// ask again; 0: it does not say so. If Renewal is nil, the CA does not tell.
	Renewal func(certificate string) (start, end time.Time, retryAfter time.Duration)

	// ExternalAccounts are the MAC keys by identifier, to one of which a new
	// account has to be bound (RFC 8555, section 7.3.4). If empty, no binding
	// is asked for.
	ExternalAccounts map[string][]byte

	// Dial connects to the names that are validated, at port 443 for
	// tls-alpn-01 and at port 80 for http-01. If nil, it is Dial of the Net
	// that the CA is served on, where each name has an address of its own.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	key    *ecdsa.PrivateKey
	root   *x509.Certificate
	server *Backend

	mu       sync.Mutex // guards what follows
	limit    time.Duration
	delay    time.Duration
	nonces   map[string]struct{} // given out and not used
	accounts []*account
	orders   []*order       // those that were taken
	arrived  map[string]int // all of them, by name
	total    int            // all of them
	replaced []string       // certificates that orders were to replace
}

// NewCA makes a CA with a root certificate of its own, which is valid at every
// time that a test is likely to live in.
func NewCA() *CA {
	ca := &CA{key: newKey(), nonces: make(map[string]struct{}), arrived: make(map[string]int)}
	ca.root = ca.sign(&x509.Certificate{
		Subject:               pkix.Name{CommonName: "proxytest root"},
		NotBefore:             time.Unix(0, 0),
		NotAfter:              time.Date(2199, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage:              x509.KeyUsageCertSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}, ca.key.Public())
	return ca
}

// Pool returns the CA's root alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.root)
	return pool
}

// WriteRoot writes the CA's root, PEM encoded, to ca.pem in dir, and returns the path.
func (ca *CA) WriteRoot(t testing.TB, dir string) (file string) {
	t.Helper()
	file = filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, pemEncode("CERTIFICATE", ca.root.Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Client is [Net.Client] for servers with certificates of the CA.
func (ca *CA) Client(t testing.TB, n *Net) *http.Client {
	client := n.Client(t)
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: ca.Pool()}
	return client
}

// Issue makes a key and a certificate for hosts, names and IP addresses, that
// is valid from now on. It panics if one of them cannot be in a certificate.
func (ca *CA) Issue(hosts ...string) tls.Certificate {
	notBefore, notAfter := ca.validity()
	return ca.IssueBetween(notBefore, notAfter, hosts...)
}

// IssueBetween is Issue with a validity of the caller's, in whole seconds.
func (ca *CA) IssueBetween(notBefore, notAfter time.Time, hosts ...string) tls.Certificate {
	key := newKey()
	leaf := ca.certify(key.Public(), notBefore, notAfter, hosts)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

// WritePair is WriteCertificate of what Issue makes for hosts.
func (ca *CA) WritePair(t testing.TB, dir string, hosts ...string) (certFile, keyFile string) {
	t.Helper()
	return WriteCertificate(t, dir, ca.Issue(hosts...))
}

// WriteCertificate writes cert and its key, PEM encoded, to cert.pem and
// key.pem in dir, in place of what may be there, and returns their paths. If
// that is impossible it ends the test.
func WriteCertificate(t testing.TB, dir string, cert tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, der := range cert.Certificate {
		chain = append(chain, pemEncode("CERTIFICATE", der)...)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := os.WriteFile(certFile, chain, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, pemEncode("PRIVATE KEY", key), 0o600); err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile
}

// CacheEntry returns a certificate that Issue has made, with its key, as autocert keeps
// it in a cache.
func CacheEntry(cert tls.Certificate) []byte {
	key, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		panic(fmt.Sprintf("proxytest: %v", err))
	}
	entry := pemEncode("EC PRIVATE KEY", key)
	for _, der := range cert.Certificate {
		entry = append(entry, pemEncode("CERTIFICATE", der)...)
	}
	return entry
}

// Serve lets the CA speak ACME at address, over TLS with a certificate of its
// own, until the test ends, and returns the URL of the directory. It must be
// called once. See [Net.Serve].
func (ca *CA) Serve(t testing.TB, n *Net, address string) (directoryURL string) {
	t.Helper()
	if ca.Dial == nil {
		ca.Dial = n.Dial
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{ca.Issue(host)}}
	ca.server = n.ServeTLS(t, address, config, ca.handler())
	return "https://" + ca.server.Addr() + directoryPath
}

// Down makes the served CA refuse connections, and cut those that it has, or
// takes that back. It must be called by the test's own goroutine. How often a
// CA that is down was asked, [Net.Dials] tells.
func (ca *CA) Down(down bool) {
	ca.server.t.Helper()
	if down {
		ca.server.Stop()
	} else {
		ca.server.Start()
	}
}

// RateLimit refuses new orders with 429 and the given Retry-After, in whole
// seconds. 0 takes that back.
func (ca *CA) RateLimit(retryAfter time.Duration) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.limit = retryAfter
}

// Slow makes every new order take that long to be answered. 0 takes that back.
func (ca *CA) Slow(delay time.Duration) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.delay = delay
}

// Orders tells how many orders for name arrived, whatever became of them.
func (ca *CA) Orders(name string) int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.arrived[name]
}

// Replaced returns the identifiers of the certificates that orders were to replace, each
// once, in their order.
func (ca *CA) Replaced() []string {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return slices.Clone(ca.replaced)
}

// TotalOrders tells how many orders arrived, whatever became of them.
func (ca *CA) TotalOrders() int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.total
}

// Accounts returns how many accounts there are.
func (ca *CA) Accounts() int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return len(ca.accounts)
}

func (ca *CA) validity() (notBefore, notAfter time.Time) {
	lifetime := ca.Lifetime
	if lifetime == 0 {
		lifetime = 90 * 24 * time.Hour
	}
	notBefore = time.Now().Add(-ca.Backdate)
	return notBefore, notBefore.Add(lifetime)
}

// certify returns a certificate for a server that has key and serves hosts, which may
// show it as a client as well.
func (ca *CA) certify(key crypto.PublicKey, notBefore, notAfter time.Time, hosts []string) *x509.Certificate {
	leaf := &x509.Certificate{
		NotBefore:   notBefore,
		NotAfter:    notAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range hosts {
		if ip, err := netip.ParseAddr(host); err == nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip.AsSlice())
		} else {
			leaf.DNSNames = append(leaf.DNSNames, host)
		}
	}
	return ca.sign(leaf, key)
}

// sign returns cert for the given key, signed by the root or, while there is
// none, by itself.
func (ca *CA) sign(cert *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		panic(fmt.Sprintf("proxytest: %v", err))
	}
	cert.SerialNumber = serial
	parent := ca.root
	if parent == nil {
		parent = cert
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key, ca.key)
	if err != nil {
		panic(fmt.Sprintf("proxytest: %v", err))
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		panic(fmt.Sprintf("proxytest: %v", err))
	}
	return signed
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(fmt.Sprintf("proxytest: %v", err))
	}
	return key
}

func pemEncode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
