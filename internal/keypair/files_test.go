package keypair_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shahnk19/parachute/internal/keypair"
)

// newKey returns a key whose certificates, as issue makes them, differ in their
// bytes but not in their number.
func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue returns a certificate for a.example.com that is valid from an hour ago
// for a day, or what change makes of it.
func issue(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "a.example.com"},
		DNSNames:     []string{"a.example.com"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(23 * time.Hour),
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return block("CERTIFICATE", der)
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pkcs8(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return block("PRIVATE KEY", der)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// A folder holds the two files of a pair.
type folder struct {
	t         testing.TB
	cert, key string
}

func newFolder(t testing.TB) folder {
	dir := t.TempDir()
	return folder{t, filepath.Join(dir, "web.pem"), filepath.Join(dir, "web.key")}
}

// write replaces what a file holds. It was modified that long ago.
func (f folder) write(name string, data []byte, ago time.Duration) {
	f.t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		f.t.Fatal(err)
	}
	at := time.Now().Add(-ago)
	if err := os.Chtimes(name, at, at); err != nil {
		f.t.Fatal(err)
	}
}

// writePair replaces both files.
func (f folder) writePair(cert, key []byte, ago time.Duration) {
	f.t.Helper()
	f.write(f.cert, cert, ago)
	f.write(f.key, key, ago)
}

func (f folder) load() *keypair.Pair {
	f.t.Helper()
	p, err := keypair.Load(f.cert, f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

// inUse returns a pair that was loaded from files of an hour ago, and its key.
func inUse(t testing.TB) (folder, ed25519.PrivateKey, *keypair.Pair) {
	t.Helper()
	f, key := newFolder(t), newKey(t)
	f.writePair(issue(t, key, nil), pkcs8(t, key), time.Hour)
	return f, key, f.load()
}
