package e2e_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"golang.org/x/crypto/acme"
)

const wildcard = "*.example.com"

// setting returns the flags of a proxy that sets TXT records by a script, in which $F is
// the file that is the record.
func (n *nameserver) setting(t *testing.T, present, cleanup string) []string {
	t.Helper()
	path := writeFile(t, "set-record", []byte("#!/bin/sh\nF='"+n.folder+"'/\"$2=$3\"\ncase $1 in present) "+present+";; cleanup) "+cleanup+";; esac\n"))
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return []string{"--acme-dns-command", path, "--acme-dns-resolver", n.address}
}

// touching is setting by a script that does what it should.
func (n *nameserver) touching(t *testing.T) []string {
	t.Helper()
	return n.setting(t, `: > "$F"`, `/bin/rm "$F"`)
}

func TestWildcardIsProvenByDNS(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{})
	p := startProxy(t, ca, ca.dns.touching(t)...)
	p.deploy(t, "web", newApp(t, "web"), secured(wildcard, "example.com")...)
	for _, name := range []string{"x.example.com", "example.com"} {
		answer, err := get(client(t, p.https, ca.roots), "https://"+name+"/")
		is.NoErr(err)
		is.Equal(answer, "200 web over https")
	}
	is.Equal(ca.orderedBy(p), map[string]int{wildcard: 1, "example.com": 1}) // in one order, and by nothing else
	is.Equal(len(ca.dns.names(t)), 0)
	is.Equal(p.certificates(t)[wildcard].Expires, p.certificates(t)["example.com"].Expires)

	ca.set(gone)
	p.restart(t)
	_, err := shown(t, p.https, "x.example.com", ca.roots)
	is.NoErr(err)
}

func TestWildcardIsProvenByDynamicUpdates(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{})
	key := writeFile(t, "acme.key", []byte(`key "acme" { algorithm hmac-sha256; secret "`+ca.dns.key+`"; };`))
	p := startProxy(t, ca, "--acme-dns-server", ca.dns.address, "--acme-dns-key-file", key)
	p.deploy(t, "web", newApp(t, "web"), secured(wildcard)...)
	_, err := shown(t, p.https, "x.example.com", ca.roots)
	is.NoErr(err)
	is.Equal(len(ca.dns.names(t)), 0)

	stranger := startProxy(t, ca, "--acme-dns-server", ca.dns.address)
	printed, code := stranger.command(t, "deploy", "web", "--target", newApp(t, "web").address, "--tls", "--host", wildcard,
		"--wait-certificate", "--deploy-timeout", "5s")
	is.Equal(code, 1)
	is.True(strings.Contains(printed, "answered REFUSED to the update of zone example.com"))
}

func TestPlainNamesAreProvenByDNSIfThatIsAsked(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{}) // nobody answers behind its doors
	p := startProxy(t, ca, append(ca.dns.touching(t), "--acme-challenge", "dns")...)
	p.deploy(t, "web", newApp(t, "web"), secured(app1, app2)...)
	is.Equal(ca.orderedBy(p), map[string]int{app1: 1, app2: 1})
	_, err := shown(t, p.https, app2, ca.roots)
	is.NoErr(err)
}

func TestRecordIsSetWhereTheChallengeLeads(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{})
	ca.dns.alias("_acme-challenge.example.com", "elsewhere.acme.example.com")
	p := startProxy(t, ca, ca.dns.setting(t, `echo "set $2"; : > "$F"`, `/bin/rm "$F"`)...)
	p.deploy(t, "web", newApp(t, "web"), secured(wildcard)...)
	line := p.await(t, func(line map[string]any) bool { return line["msg"] == "command for TXT records" })
	is.Equal(line["said"], "set elsewhere.acme.example.com")
	is.Equal(ca.orderedBy(p), map[string]int{wildcard: 1})
}

func TestWildcardIsRenewedByDNS(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{validity: 48 * time.Second})
	p := startProxy(t, ca, ca.dns.touching(t)...)
	p.deploy(t, "web", newApp(t, "web"), secured(wildcard)...)
	first, err := shown(t, p.https, "x.example.com", ca.roots)
	is.NoErr(err)
	eventually(t, "another certificate", func() bool {
		next, err := shown(t, p.https, "x.example.com", ca.roots)
		is.NoErr(err) // at no time is there none that is valid
		return next.NotAfter.After(first.NotAfter)
	})
}

func TestRecordThatShowsLateIsAwaited(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{})
	ca.dns.delay(4 * time.Second)
	p := startProxy(t, ca, ca.dns.touching(t)...)
	p.deploy(t, "web", newApp(t, "web"), secured(wildcard)...)
	is.Equal(ca.orderedBy(p), map[string]int{wildcard: 1}) // the authority did not look before
}

func TestWhyAWildcardCannotBeProvenIsTold(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ present, want string }{
		"wrong record":         {`: > "${F}x"`, `has another TXT record _acme-challenge.example.com, "`},
		"no record":            {`:`, "has no TXT record _acme-challenge.example.com"},
		"command that fails":   {`echo "token expired" >&2; exit 7`, "present _acme-challenge.example.com: exit status 7: token expired"},
		"command that hangs":   {`exec /bin/sleep 600`, "the authority is not asked for it yet: the TXT record that proves example.com is being set"},
		"command that is gone": {`/bin/rm "$0"; exit 1`, "exit status 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			ca := newAuthority(t, authorityConfig{})
			p := startProxy(t, ca, ca.dns.setting(t, tt.present, `/bin/rm -f "$F" "${F}x"`)...)
			printed, code := p.command(t, "deploy", "web", "--target", newApp(t, "web").address, "--tls", "--host", wildcard,
				"--wait-certificate", "--deploy-timeout", "8s")
			is.Equal(code, 1)
			is.True(strings.Contains(printed, tt.want))
			p.stop(t)
			is.Equal(len(ca.dns.names(t)), 0) // nothing is left over
		})
	}
}

// The authority is asked about it within a minute after the start.
func TestRevokedCertificateIsReplaced(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca := newAuthority(t, authorityConfig{})
	p := startProxy(t, ca, ca.dns.touching(t)...)
	p.deploy(t, "web", newApp(t, "web"), secured(wildcard)...)
	first, err := shown(t, p.https, "x.example.com", ca.roots)
	is.NoErr(err)
	ca.revoke(t, filepath.Join(p.dir, "data", "certificates"))
	eventually(t, "another certificate", func() bool {
		next, err := shown(t, p.https, "x.example.com", ca.roots)
		is.NoErr(err)
		return !next.Equal(first)
	})
	is.Equal(ca.orderedBy(p), map[string]int{wildcard: 2})
	is.Equal(ca.replaced(), 1)
}

// revoke revokes the certificate of the wildcard that a proxy keeps in a folder.
func (a *authority) revoke(t *testing.T, folder string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(folder, "*"+strings.TrimPrefix(wildcard, "*")))
	if err != nil || len(all) != 1 {
		t.Fatalf("the certificates there are %q (%v)", all, err)
	}
	pair, err := tls.LoadX509KeyPair(all[0], all[0])
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.ReadFile(a.rootFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	client := &acme.Client{
		DirectoryURL: a.directory,
		Key:          pair.PrivateKey.(crypto.Signer),
		HTTPClient:   &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}},
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := client.RevokeCert(ctx, client.Key, pair.Certificate[0], acme.CRLReasonKeyCompromise); err != nil {
		t.Fatal(err)
	}
}
