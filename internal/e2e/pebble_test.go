package e2e_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

// An authority is a Pebble for which every name leads to its two doors.
type authority struct {
	directory  string         // URL
	rootFile   string         // by whom its own server is verified, PEM encoded
	issuerFile string         // by whom its certificates are, PEM encoded
	roots      *x509.CertPool // the same

	tls, http *door       // what it validates TLS-ALPN-01 and HTTP-01 at
	dns       *nameserver // what it asks for addresses and TXT records

	pebble       http.Handler
	pebbleMu     sync.Mutex // held while pebble answers: two requests at once can lock it up for good
	newOrderPath string

	mu      sync.Mutex // guards what follows
	changed sync.Cond  // mood
	mood    mood
	orders  map[string]int // by name
	renewed int            // orders that were to replace a certificate
	refused int            // requests that were not let in
}

// A mood is how an authority treats requests.
type mood int

const (
	up   mood = iota
	mute      // they wait until the mood changes
	busy      // they are answered 503
	gone      // their connections are cut
)

// An authorityConfig is what the authorities of two tests may differ in.
type authorityConfig struct {
	validity         time.Duration     // of certificates, in seconds; 0: 90 days
	externalAccounts map[string]string // MAC keys by identifier, base64url encoded; nil: none is asked for
	badNonces        int               // percentage of nonces that it rejects for no reason
}

// newAuthority runs a Pebble until the test ends.
func newAuthority(t *testing.T, config authorityConfig) *authority {
	t.Helper()
	a := &authority{tls: newDoor(t), http: newDoor(t), dns: newNameserver(t), orders: make(map[string]int)}
	a.changed.L = &a.mu
	root := a.makePebble(t, config)
	server := httptest.NewTLSServer(a)
	t.Cleanup(func() {
		a.set(gone)
		server.Close()
	})
	a.directory = server.URL + wfe.DirectoryPath
	a.newOrderPath = newOrderPath(t, server.Client(), a.directory)
	a.rootFile = writeFile(t, "acme-root.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	a.issuerFile = writeFile(t, "issuer.pem", root)
	a.roots = x509.NewCertPool()
	a.roots.AppendCertsFromPEM(root)
	return a
}

// pebbleEnv is held while a Pebble is made that reads something of its own in
// the environment.
var pebbleEnv sync.Mutex

// makePebble makes the Pebble of a and returns its root certificate, PEM
// encoded.
func (a *authority) makePebble(t *testing.T, config authorityConfig) (root []byte) {
	t.Helper()
	logger := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	for id, key := range config.externalAccounts {
		if err := store.AddExternalAccountKeyByID(id, key); err != nil {
			t.Fatal(err)
		}
	}
	profiles := map[string]ca.Profile{"default": {ValidityPeriod: uint64(config.validity / time.Second)}}
	issuer := ca.New(logger, store, "", "ecdsa", 0, 1, profiles)
	validator := va.New(logger, a.http.port(), a.tls.port(), false, a.dns.address, store)
	pebbleEnv.Lock()
	defer pebbleEnv.Unlock()
	os.Setenv("PEBBLE_WFE_NONCEREJECT", strconv.Itoa(config.badNonces))
	frontend := wfe.New(logger, store, validator, issuer, []string{"pebble.example.com"},
		false, len(config.externalAccounts) > 0, 0, 0)
	a.pebble = frontend.Handler()
	return issuer.GetRootCert(0).PEM()
}

// writeFile writes a file in a folder of its own and returns its path.
func writeFile(t *testing.T, name string, data []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newOrderPath asks the directory where orders are made.
func newOrderPath(t *testing.T, client *http.Client, directory string) string {
	t.Helper()
	resp, err := client.Get(directory)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var urls struct{ NewOrder string }
	if err := json.NewDecoder(resp.Body).Decode(&urls); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(urls.NewOrder)
	if err != nil || u.Path == "" {
		t.Fatalf("the directory has orders at %q", urls.NewOrder)
	}
	return u.Path
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch a.admit() {
	case busy:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case gone:
		panic(http.ErrAbortHandler)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := &statusWriter{ResponseWriter: w}
	a.pebbleMu.Lock()
	defer a.pebbleMu.Unlock()
	a.pebble.ServeHTTP(answer, r)
	if r.URL.Path == a.newOrderPath && answer.status == http.StatusCreated {
		a.count(body)
	}
}

// admit returns the mood, once it is not mute, and counts who is not let in.
func (a *authority) admit() mood {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.mood == mute {
		a.changed.Wait()
	}
	if a.mood != up {
		a.refused++
	}
	return a.mood
}

// count counts an order, which is signed as RFC 8555, section 6.2 says.
func (a *authority) count(body []byte) {
	var signed struct{ Payload string }
	var order struct {
		Identifiers []struct{ Value string }
		Replaces    string
	}
	if json.Unmarshal(body, &signed) != nil {
		return
	}
	payload, err := base64.RawURLEncoding.DecodeString(signed.Payload)
	if err != nil || json.Unmarshal(payload, &order) != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range order.Identifiers {
		a.orders[id.Value]++
	}
	if order.Replaces != "" {
		a.renewed++
	}
}

// ordered tells how often each name was ordered.
func (a *authority) ordered() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.orders)
}

// orderedBy is ordered, without the orders of those proxies that the authority has failed
// for its own sake: it waits two seconds for an address or a record, which the name server
// may take on a busy machine. Such a name is ordered again.
func (a *authority) orderedBy(proxies ...*proxy) map[string]int {
	ordered := a.ordered()
	for _, p := range proxies {
		for text := range strings.Lines(p.said.String()) {
			var line struct{ Msg, Host, Error string }
			if json.Unmarshal([]byte(text), &line) == nil && line.Msg == "no certificate" &&
				ordered[line.Host] > 1 && strings.Contains(line.Error, "i/o timeout") {
				ordered[line.Host]--
			}
		}
	}
	return ordered
}

// replaced tells how many orders were to replace a certificate, and were taken.
func (a *authority) replaced() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.renewed
}

// set changes the mood, and returns how many requests were not let in so far.
func (a *authority) set(m mood) (refused int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mood = m
	a.changed.Broadcast()
	return a.refused
}

// A statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
