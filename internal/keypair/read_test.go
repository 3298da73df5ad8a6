package keypair_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/keypair"
)

func TestLoadedPairServesItsChainWhateverFormItsKeyHas(t *testing.T) {
	is := is.New(t)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	is.NoErr(err)
	sec1, err := x509.MarshalECPrivateKey(ec)
	is.NoErr(err)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	is.NoErr(err)
	ed := newKey(t)
	tests := []struct {
		name string
		key  crypto.Signer
		pem  []byte
	}{
		{"ECDSA, PKCS 8", ec, pkcs8(t, ec)},
		{"ECDSA, SEC 1", ec, block("EC PRIVATE KEY", sec1)},
		{"ECDSA, with its parameters", ec, join(block("EC PARAMETERS", []byte{6, 0}), block("EC PRIVATE KEY", sec1))},
		{"ECDSA, named for another form", ec, block("PRIVATE KEY", sec1)},
		{"RSA, PKCS 8", rs, pkcs8(t, rs)},
		{"RSA, PKCS 1", rs, block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rs))},
		{"Ed25519", ed, pkcs8(t, ed)},
		{"in the certificate's file", ed, join(issue(t, ed, nil), pkcs8(t, ed))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			f := newFolder(t)
			cert, issuer := issue(t, tt.key, nil), issue(t, newKey(t), nil)
			f.writePair(join([]byte("web's:\n"), cert, []byte("its issuer's:\n"), issuer), tt.pem, time.Hour)
			got, err := handshake(f.load().Certificate())
			is.NoErr(err)
			is.Equal(len(got), 2)
			is.Equal(block("CERTIFICATE", got[0].Raw), cert)
			is.Equal(block("CERTIFICATE", got[1].Raw), issuer)
		})
	}
}

// handshake returns what a client is shown of cert.
func handshake(cert *tls.Certificate) ([]*x509.Certificate, error) {
	c, s := net.Pipe()
	defer c.Close()
	defer s.Close()
	server := tls.Server(s, &tls.Config{Certificates: []tls.Certificate{*cert}})
	served := make(chan error, 1)
	go func() { served <- server.Handshake() }()
	client := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	if err := client.Handshake(); err != nil {
		return nil, err
	}
	// What a TLS 1.3 server sends after its handshake waits to be read.
	go client.Read(make([]byte, 1))
	return client.ConnectionState().PeerCertificates, <-served
}

func TestLoadSaysWhatIsWrongAndWhatWouldBeRight(t *testing.T) {
	synctest.Test(t, testLoadErrors)
}

func testLoadErrors(t *testing.T) {
	is := is.New(t)
	key := newKey(t)
	cert, keyPEM := issue(t, key, nil), pkcs8(t, key)
	other := newKey(t)
	agreement, err := ecdh.X25519().GenerateKey(rand.Reader)
	is.NoErr(err)
	legacy := pem.EncodeToMemory(&pem.Block{
		Type:    "EC PRIVATE KEY",
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"},
		Bytes:   []byte{1, 2, 3},
	})
	uid := strconv.Itoa(os.Geteuid())
	tests := []struct {
		name      string
		cert, key []byte
		spoil     func(f folder) error // done when both are written
		want      string               // <cert> and <key> are the files, "…" is anything
	}{
		{"no certificate file", cert, keyPEM, func(f folder) error { return os.Remove(f.cert) },
			"<cert> does not exist: want a file in PEM form there"},
		{"no key file", cert, keyPEM, func(f folder) error { return os.Remove(f.key) },
			"<key> does not exist: want a file in PEM form there"},
		{"a link to nothing", cert, keyPEM, func(f folder) error { return replaceByLink(f.key, "nothing") },
			"<key> does not exist: want a file in PEM form there"},
		{"a link to itself", cert, keyPEM, func(f folder) error { return replaceByLink(f.key, f.key) },
			"<key> cannot be read: too many levels of symbolic links: want a file that uid " + uid + " may read"},
		{"a folder", cert, keyPEM, func(f folder) error { os.Remove(f.cert); return os.Mkdir(f.cert, 0o700) },
			"<cert> is no regular file: want one in PEM form there"},
		{"a pipe", cert, keyPEM, func(f folder) error { os.Remove(f.key); return syscall.Mkfifo(f.key, 0o600) },
			"<key> is no regular file: want one in PEM form there"},
		{"a large file", make([]byte, 1<<20+1), keyPEM, nil,
			"<cert> has more than 1 MiB: want a certificate or a key, which have some thousand bytes"},
		{"a file as large as may be", make([]byte, 1<<20), keyPEM, nil,
			"<cert> has no certificate in PEM form: want one that begins with -----BEGIN CERTIFICATE-----"},
		{"an empty certificate file", nil, keyPEM, nil,
			"<cert> has no certificate in PEM form: want one that begins with -----BEGIN CERTIFICATE-----"},
		{"the files mixed up", keyPEM, cert, nil,
			"<cert> has no certificate in PEM form: want one that begins with -----BEGIN CERTIFICATE-----"},
		{"a damaged certificate", block("CERTIFICATE", []byte{1, 2, 3}), keyPEM, nil,
			"certificate 1 in <cert> is damaged: x509: …: want it as it was issued"},
		{"a damaged issuer", join(cert, block("CERTIFICATE", []byte{1, 2, 3})), keyPEM, nil,
			"certificate 2 in <cert> is damaged: x509: …: want it as it was issued"},
		{"no key", cert, cert, nil,
			"<key> has no private key in PEM form: want one that begins with -----BEGIN PRIVATE KEY-----"},
		{"a public key", cert, block("PUBLIC KEY", []byte{1, 2, 3}), nil,
			"<key> has no private key in PEM form: want one that begins with -----BEGIN PRIVATE KEY-----"},
		{"an encrypted key", cert, block("ENCRYPTED PRIVATE KEY", []byte{1, 2, 3}), nil,
			"the key in <key> is encrypted, and nobody is there to give its passphrase: want it decrypted, as by openssl pkey"},
		{"a key encrypted as in RFC 1421", cert, legacy, nil,
			"the key in <key> is encrypted, and nobody is there to give its passphrase: want it decrypted, as by openssl pkey"},
		{"a key of another form", cert, block("OPENSSH PRIVATE KEY", []byte{1, 2, 3}), nil,
			"the key in <key> (OPENSSH PRIVATE KEY) cannot be used: want an RSA, ECDSA or Ed25519 key as PKCS #8, PKCS #1 or SEC 1 have it"},
		{"a key that cannot sign", cert, pkcs8(t, agreement), nil,
			"the key in <key> (PRIVATE KEY) cannot be used: want an RSA, ECDSA or Ed25519 key as PKCS #8, PKCS #1 or SEC 1 have it"},
		{"a key that does not fit", cert, pkcs8(t, other), nil,
			"the key in <key> does not fit the certificate in <cert>: want the one that the certificate was issued for"},
		{"a chain upside down", join(issue(t, other, nil), cert), keyPEM, nil,
			"the key in <key> fits certificate 2 in <cert>: want that one first, and those of its issuers behind it"},
		{"an expired certificate", issue(t, key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }), keyPEM, nil,
			"the certificate in <cert> has expired at 1999-12-31T23:59:59Z: want one that is valid now"},
		{"a certificate for later", issue(t, key, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Second) }), keyPEM, nil,
			"the certificate in <cert> is not valid before 2000-01-01T00:00:01Z: want one that is valid now, and the clock of this machine set right"},
	}
	for _, tt := range tests { // t.Run may not be called in a bubble
		f := newFolder(t)
		f.writePair(tt.cert, tt.key, time.Hour)
		if tt.spoil != nil {
			is.NoErr(tt.spoil(f))
		}
		want := strings.NewReplacer("<cert>", f.cert, "<key>", f.key).Replace(tt.want)
		if p, err := keypair.Load(f.cert, f.key); p != nil || err == nil || !matches(err.Error(), want) {
			t.Errorf("%s: %v\n\twant %s", tt.name, err, want)
		}
	}
}

func replaceByLink(name, target string) error {
	os.Remove(name)
	return os.Symlink(target, name)
}

// matches reports whether text is pattern, in which "…" stands for anything.
func matches(text, pattern string) bool {
	before, after, any := strings.Cut(pattern, "…")
	if !any {
		return text == pattern
	}
	return strings.HasPrefix(text, before) && strings.HasSuffix(text, after)
}

// What Load takes, the standard library takes as well, and a refusal names each
// file at most once.
func FuzzLoad(f *testing.F) {
	key := newKey(f)
	cert, keyPEM := issue(f, key, nil), pkcs8(f, key)
	f.Add(cert, keyPEM)
	f.Add(join(cert, cert), join(cert, keyPEM))
	f.Add(keyPEM, cert)
	f.Add(cert, block("ENCRYPTED PRIVATE KEY", []byte{1, 2, 3}))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n"), []byte{})
	dir := newFolder(f)
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		files := folder{t, dir.cert, dir.key}
		files.writePair(cert, key, time.Hour)
		p, err := keypair.Load(files.cert, files.key)
		if err != nil {
			if strings.Count(err.Error(), files.cert) > 1 || strings.Count(err.Error(), files.key) > 1 {
				t.Errorf("a file is named twice: %v", err)
			}
			return
		}
		standard, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatalf("what was taken is no pair: %v", err)
		}
		if !reflect.DeepEqual(p.Certificate().Certificate, standard.Certificate) {
			t.Error("the chain is another one")
		}
	})
}
