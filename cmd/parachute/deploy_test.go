package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
)

func TestTLSFlagsSayWhereCertificatesComeFrom(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	here := func(name string) string { return filepath.Join(wd, name) }
	for _, test := range []struct {
		name string
		args []string
		want parachute.TLS
	}{
		{"not given", nil, parachute.TLS{}},
		{"--tls", []string{"--tls"}, parachute.TLS{Mode: parachute.TLSAutomatic}},
		{"--tls=true", []string{"--tls=true"}, parachute.TLS{Mode: parachute.TLSAutomatic}},
		{"--tls=false", []string{"--tls=false"}, parachute.TLS{Mode: parachute.TLSOff}},
		{"--no-tls", []string{"--no-tls"}, parachute.TLS{Mode: parachute.TLSOff}},
		{"the last one counts", []string{"--no-tls", "--tls"}, parachute.TLS{Mode: parachute.TLSAutomatic}},
		{"staging", []string{"--tls", "--tls-staging"}, parachute.TLS{Mode: parachute.TLSAutomatic, Staging: true}},
		{"waiting", []string{"--wait-certificate", "--tls"}, parachute.TLS{Mode: parachute.TLSAutomatic, Wait: true}},
		{"no redirect", []string{"--tls", "--tls-redirect=false"}, parachute.TLS{Mode: parachute.TLSAutomatic, NoRedirect: true}},
		{"redirect without TLS is nothing", []string{"--tls-redirect"}, parachute.TLS{}},
		{"no redirect without TLS is nothing", []string{"--tls-redirect=false"}, parachute.TLS{}},
		{"no redirect with TLS off is nothing", []string{"--tls=false", "--no-tls-redirect"}, parachute.TLS{Mode: parachute.TLSOff}},
		{"a folder", []string{"--tls", "--tls-acme-cache-path", "certs"},
			parachute.TLS{Mode: parachute.TLSAutomatic, CacheDir: here("certs")}},
		{"files", []string{"--tls", "--tls-certificate-path", "cert.pem", "--tls-private-key-path", "/etc/key.pem"},
			parachute.TLS{Mode: parachute.TLSFiles, CertFile: here("cert.pem"), KeyFile: "/etc/key.pem"}},
		{"on demand", []string{"--tls", "--tls-on-demand-url", "/allowed"},
			parachute.TLS{Mode: parachute.TLSOnDemand, AskURL: "/allowed"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			for _, form := range [][]string{{"web", "--target", "web-1:3000"}, {"web-1:3000"}} {
				d, err := deploymentOf(append(form, test.args...)...)
				is.NoErr(err)
				is.Equal(d.TLS, test.want)
			}
		})
	}
}

// As with kamal-proxy, scripts for which say --tls in one place and the rest in
// another.
func TestTLSFlagsWaitForTLS(t *testing.T) {
	for _, test := range []struct {
		args  []string
		warns []string
	}{
		{[]string{"--tls-staging"}, []string{"--tls-staging"}},
		{[]string{"--tls-certificate-path", "a", "--tls-private-key-path", "b"}, []string{"--tls-certificate-path", "--tls-private-key-path"}},
		{[]string{"--tls-private-key-path", "b"}, []string{"--tls-private-key-path"}},
		{[]string{"--tls-acme-cache-path", "a", "--tls-on-demand-url", "/ask"}, []string{"--tls-on-demand-url", "--tls-acme-cache-path"}},
		{[]string{"--tls-redirect=false"}, nil},
		{[]string{"--tls-redirect"}, nil},
	} {
		for _, off := range []struct {
			args []string
			want parachute.TLS
		}{{nil, parachute.TLS{}}, {[]string{"--tls=false"}, parachute.TLS{Mode: parachute.TLSOff}}} {
			t.Run(strings.Join(append(test.args, off.args...), " "), func(t *testing.T) {
				is := is.New(t)
				command, _, err := parse(nil, slices.Concat([]string{"deploy", "web", "--target", "web-1:3000"}, test.args, off.args)...)
				is.NoErr(err)
				d, err := command.Deploy.deployment()
				is.NoErr(err)
				is.Equal(d.TLS, off.want)
				is.Equal(command.Deploy.waitingTLSFlags(), test.warns)
			})
		}
	}
}

func TestContradictionsAboutTLSAreUsageErrorsWithWhatWouldBeRight(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"waiting without TLS", []string{"--wait-certificate"}, "there is no --tls: want both, or neither"},
		{"waiting with TLS off", []string{"--wait-certificate", "--tls=false"}, "there is no --tls: want both, or neither"},
		{"certificate without key", []string{"--tls", "--tls-certificate-path", "a"}, "want both, or neither"},
		{"key without certificate", []string{"--tls", "--tls-private-key-path", "a"}, "want both, or neither"},
		{"files on demand", []string{"--tls", "--tls-on-demand-url", "/ask", "--tls-certificate-path", "a", "--tls-private-key-path", "b"}, "exclude each other"},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			_, err := deploymentOf(append([]string{"web", "--target", "web-1:3000"}, test.args...)...)
			refused(is, err, test.want)
			is.Equal(exitCode(err), exitUsage)
		})
	}
}

func TestPathPrefixesAreStrippedUnlessTheyAreToBeKept(t *testing.T) {
	is := is.New(t)
	d, err := deploymentOf("web-1:3000", "--path-prefix", "/api,/v1", "--path-prefix", "/v2")
	is.NoErr(err)
	is.Equal(d.PathPrefixes, []string{"/api", "/v1", "/v2"})
	is.Equal(d.KeepPrefix, false)
	d, err = deploymentOf("web-1:3000", "--path-prefix", "/api", "--strip-path-prefix=false")
	is.NoErr(err)
	is.Equal(d.KeepPrefix, true)
}

func TestCanonicalHostNeedsNoTLS(t *testing.T) {
	is := is.New(t)
	d, err := deploymentOf("web-1:3000", "--host", "a.test,www.a.test", "--canonical-host", "a.test")
	is.NoErr(err)
	is.Equal(d.CanonicalHost, "a.test")
	is.Equal(d.TLS, parachute.TLS{})
}
