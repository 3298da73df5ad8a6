package kamal_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/kamal"
	"github.com/shahnk19/parachute/internal/proxytest"
)

const (
	production = "https://acme-v02.api.letsencrypt.org/directory"
	staging    = "https://acme-staging-v02.api.letsencrypt.org/directory"
)

// scoped returns the folder of an authority.
func scoped(directory string) string {
	hash := sha256.Sum256([]byte(directory))
	return "certs/" + hex.EncodeToString(hash[:])
}

// A volume is the folder that a kamal-proxy has left.
type volume struct {
	t   *testing.T
	dir string
	ca  *proxytest.CA
}

func newVolume(t *testing.T, state string) *volume {
	v := &volume{t: t, dir: t.TempDir(), ca: proxytest.NewCA()}
	v.write(kamal.FileName, strings.ReplaceAll(state, "VOLUME", v.dir))
	return v
}

func (v *volume) write(name, text string) {
	v.t.Helper()
	path := filepath.Join(v.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		v.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		v.t.Fatal(err)
	}
}

// issue returns a certificate as autocert keeps it, and puts it there.
func (v *volume) issue(name string, hosts ...string) string {
	v.t.Helper()
	text := string(proxytest.CacheEntry(v.ca.Issue(hosts...)))
	v.write(name, text)
	return text
}

// read returns what is found, by folder and key, and the warnings.
func (v *volume) read(directory string) (found map[string]string, warnings []string) {
	v.t.Helper()
	left, err := kamal.Read(filepath.Join(v.dir, kamal.FileName), directory)
	if err != nil {
		v.t.Fatal(err)
	}
	found = make(map[string]string)
	for _, c := range left.Certificates {
		found[strings.TrimPrefix(strings.TrimPrefix(c.CacheDir, v.dir)+" "+c.Key, " ")] = string(c.Data)
	}
	return found, left.Warnings
}

// automatic returns the entry of a service with TLS.
func automatic(name, host, more string) string {
	return fmt.Sprintf(`{"name":%q,"active_targets":["a:80"],"options":{"hosts":[%q],"tls_enabled":true%s}}`, name, host, more)
}

const account = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"

func TestCertificatesAreFoundWhereverKamalProxyKeepsThem(t *testing.T) {
	const here = `,"acme_cache_path":"VOLUME/certs"`
	for name, tt := range map[string]struct {
		options string // of the service
		folder  string // where its certificate is
	}{
		"the folder of an authority":            {here, scoped("")},
		"the folder of an authority, by name":   {here + `,"acme_directory":"` + production + `"`, scoped(production)},
		"what another version calls it":         {here + `,"acme_directory":"` + production + `"`, scoped("")},
		"the one folder of an older version":    {here, "certs"},
		"a volume that is mounted elsewhere":    {`,"acme_cache_path":"/home/kamal-proxy/.config/kamal-proxy/certs"`, scoped("")},
		"an older version, mounted elsewhere":   {`,"acme_cache_path":"/home/kamal-proxy/.config/kamal-proxy/certs"`, "certs"},
		"a folder that the state does not name": {``, scoped("")},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			v := newVolume(t, "["+automatic("web", "A.test", tt.options)+"]")
			cert := v.issue(tt.folder+"/a.test", "a.test")
			v.issue(tt.folder+"/b.test", "b.test") // which nobody has
			v.write(tt.folder+"/acme_account+key", account)
			found, warnings := v.read("")
			is.Equal(found, map[string]string{"a.test": cert, "acme_account+key": account})
			is.Equal(warnings, nil)
		})
	}
}

func TestEachAuthorityHasItsOwnCertificatesAndAccount(t *testing.T) {
	is := is.New(t)
	const other = "https://ca.test/dir"
	v := newVolume(t, "["+strings.Join([]string{
		automatic("web", "a.test", ""),
		automatic("try", "b.test", `,"acme_directory":"`+staging+`"`),
		automatic("inner", "c.test", `,"acme_directory":"`+other+`"`),
		automatic("apart", "d.test", `,"acme_cache_path":"VOLUME/apart"`),
	}, ",")+"]")
	want := map[string]string{
		"a.test": v.issue(scoped("")+"/a.test", "a.test"),
		"acme-staging-v02.api.letsencrypt.org+b.test": v.issue(scoped(staging)+"/b.test", "b.test"),
		"c.test":                  v.issue(scoped(other)+"/c.test", "c.test"), // is served until it expires
		"/apart d.test":           v.issue(strings.Replace(scoped(""), "certs", "apart", 1)+"/d.test", "d.test"),
		"acme_account+key":        account + "1",
		"/apart acme_account+key": account + "4",
		"acme-staging-v02.api.letsencrypt.org+acme_account+key": account + "2",
	}
	v.write(scoped("")+"/acme_account+key", account+"1")
	v.write(scoped(staging)+"/acme_account.key", account+"2") // as an older autocert had it
	v.write(scoped(other)+"/acme_account+key", account+"3")   // is no account of the authority that is asked
	v.write(strings.Replace(scoped(""), "certs", "apart", 1)+"/acme_account+key", account+"4")
	found, warnings := v.read("")
	is.Equal(found, want)
	is.Equal(len(warnings), 1) // that c.test will be another authority's

	found, warnings = v.read(other)
	is.Equal(found["ca.test+c.test"], want["c.test"])
	is.Equal(found["ca.test+a.test"], want["a.test"])
	is.Equal(found["ca.test+acme_account+key"], account+"3")
	is.Equal(warnings, nil)
}

func TestCertificatesOnDemandAreThoseOfAllNames(t *testing.T) {
	is := is.New(t)
	v := newVolume(t, `[{"name":"web","active_targets":["a:80"],"options":{"hosts":[""],"tls_enabled":true,"tls_on_demand_url":"/ask"}}]`)
	want := map[string]string{
		"a.test":           v.issue(scoped("")+"/a.test", "a.test"),
		"b.test":           v.issue("certs/b.test", "b.test"),
		"c.test":           v.issue(scoped("")+"/c.test+rsa", "c.test"),
		"acme_account+key": account,
	}
	v.issue("certs/a.test", "a.test") // the other one goes before
	v.write(scoped("")+"/acme_account+key", account)
	v.write(scoped("")+"/token+http-01", "x")
	found, warnings := v.read("")
	is.Equal(found, want)
	is.Equal(warnings, nil)
}

func TestCertificateOfNoUseIsLeftOutWithAWarning(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		spoil func(v *volume, path string)
		want  string
	}{
		"it is broken":    {func(v *volume, path string) { v.write(path, "x") }, "failed to find any PEM data"},
		"it is empty":     {func(v *volume, path string) { v.write(path, "") }, "failed to find any PEM data"},
		"it is another's": {func(v *volume, path string) { v.issue(path, "b.test") }, "not a.test"},
		"it is a folder":  {func(v *volume, path string) { v.write(path+"/x", "") }, "regular file"},
		"it is a link": {func(v *volume, path string) {
			os.MkdirAll(filepath.Dir(filepath.Join(v.dir, path)), 0o700)
			os.Symlink("/etc/passwd", filepath.Join(v.dir, path))
		}, "link"},
		"it has expired": {func(v *volume, path string) {
			v.write(path, string(proxytest.CacheEntry(v.ca.IssueBetween(now.Add(-2*time.Hour), now.Add(-time.Hour), "a.test"))))
		}, "it has expired on "},
		"its key is absent": {func(v *volume, path string) {
			text := v.issue(path, "a.test")
			_, chain, _ := strings.Cut(text, "-----END EC PRIVATE KEY-----\n")
			v.write(path, chain)
		}, "private key"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			v := newVolume(t, "["+automatic("web", "a.test", "")+"]")
			tt.spoil(v, scoped("")+"/a.test")
			found, warnings := v.read("")
			is.Equal(len(found), 0)
			is.Equal(len(warnings), 1)
			is.True(strings.Contains(warnings[0], "service web: the certificate of a.test in "+filepath.Join(v.dir, scoped(""), "a.test")+" is left out: "))
			if !strings.Contains(warnings[0], tt.want) {
				t.Errorf("the warning is %q, want %q", warnings[0], tt.want)
			}

			sound := v.issue("certs/a.test", "a.test")
			found, _ = v.read("")
			is.Equal(found, map[string]string{"a.test": sound}) // another one will do
		})
	}
	is := is.New(t)
	v := newVolume(t, "["+automatic("web", "a.test", "")+"]")
	v.write(scoped("")+"/acme_account+key", "x")
	found, warnings := v.read("")
	is.Equal(len(found), 0)
	is.True(strings.Contains(warnings[0], "service web: the account in "))
}

// The file is read at each start until something is deployed.
func TestCertificateTakesThePlaceOfAWorseOneAlone(t *testing.T) {
	is := is.New(t)
	v := newVolume(t, "["+automatic("web", "a.test", "")+"]")
	now := time.Now()
	between := func(from, to time.Duration, host string) string {
		return string(proxytest.CacheEntry(v.ca.IssueBetween(now.Add(from), now.Add(to), host)))
	}
	v.write(scoped("")+"/a.test", between(-time.Hour, 48*time.Hour, "a.test"))
	v.write(scoped("")+"/acme_account+key", account)
	left, err := kamal.Read(filepath.Join(v.dir, kamal.FileName), "")
	is.NoErr(err)
	is.Equal(len(left.Certificates), 2)
	cert, key := left.Certificates[0], left.Certificates[1]
	is.True(cert.Replaces([]byte("x")))
	is.True(cert.Replaces([]byte(between(-time.Hour, 24*time.Hour, "a.test"))))
	is.True(cert.Replaces([]byte(between(-time.Hour, 96*time.Hour, "b.test"))))
	is.True(!cert.Replaces([]byte(between(-time.Hour, 96*time.Hour, "a.test"))))
	is.True(!cert.Replaces(cert.Data))
	is.True(key.Replaces([]byte("x")))
	is.True(!key.Replaces([]byte(account))) // which may be in use
}
