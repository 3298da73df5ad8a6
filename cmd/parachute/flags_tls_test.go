package main

import (
	"crypto/tls"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestHTTPSPortTellsWhetherItWasAskedFor(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		env  map[string]string
		want httpsPort
		port int
	}{
		{name: "nothing said", want: httpsPort{}, port: 443},
		{name: "default asked for", args: []string{"--https-port", "443"}, want: httpsPort{443, true}, port: 443},
		{name: "any free one", args: []string{"--https-port", "0"}, want: httpsPort{0, true}, port: 0},
		{name: "none", args: []string{"--https-port", "-1"}, want: httpsPort{-1, true}, port: -1},
		{name: "none, in one word", args: []string{"--https-port=-1"}, want: httpsPort{-1, true}, port: -1},
		{name: "bare variable", env: map[string]string{"HTTPS_PORT": "8443"}, want: httpsPort{8443, true}, port: 8443},
		{name: "prefixed variable", env: map[string]string{"PARACHUTE_HTTPS_PORT": "-1"}, want: httpsPort{-1, true}, port: -1},
		{name: "empty is unset", env: map[string]string{"PARACHUTE_HTTPS_PORT": "", "HTTPS_PORT": ""}, want: httpsPort{}, port: 443},
		{name: "somebody else's", env: map[string]string{"HTTPS_PORT": "tcp://10.0.0.1:443"}, want: httpsPort{}, port: 443},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			command, _, err := parse(test.env, append([]string{"run"}, test.args...)...)
			is.NoErr(err)
			is.Equal(command.Run.HTTPSPort, test.want)
			is.Equal(command.Run.HTTPSPort.orDefault(), test.port)
		})
	}
}

func TestHTTPSPortsThatAreNone(t *testing.T) {
	for _, args := range [][]string{
		{"--https-port", "-2"}, {"--https-port=65536"}, {"--https-port", "https"}, {"--https-port"}, {"--https-port", "--debug"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			is := is.New(t)
			_, _, err := parse(nil, append([]string{"run"}, args...)...)
			refused(is, err, "--https-port: ")
			refused(is, err, "0 to 65535, or -1 for none")
			is.Equal(exitCode(err), exitUsage)
		})
	}
}

func TestPublicPortsAreThoseThatAClientCanName(t *testing.T) {
	is := is.New(t)
	command, _, err := parse(map[string]string{"PARACHUTE_PUBLIC_HTTPS_PORT": "443", "PUBLIC_HTTP_PORT": "81"}, "run", "--public-http-port", "80")
	is.NoErr(err)
	is.Equal(command.Run.PublicHTTPPort, publicPort(80)) // the flag goes first
	is.Equal(command.Run.PublicHTTPSPort, publicPort(443))
	command, _, err = parse(nil, "run")
	is.NoErr(err)
	is.Equal(command.Run.PublicHTTPSPort, publicPort(0)) // what is listened on
	for _, text := range []string{"0", "65536", "-1", "https", ":443", ""} {
		for _, flag := range []string{"--public-http-port", "--public-https-port"} {
			_, _, err := parse(nil, "run", flag+"="+text)
			refused(is, err, flag+": ")
			refused(is, err, "from 1 to 65535")
			is.Equal(exitCode(err), exitUsage)
		}
	}
}

func TestSizesHaveUnitsOrAreBytes(t *testing.T) {
	for _, test := range []struct {
		text string
		want positiveSize
		err  string
	}{
		{text: "1", want: 1},
		{text: "1048576", want: 1 << 20},
		{text: "64KiB", want: 64 << 10},
		{text: "1MiB", want: 1 << 20},
		{text: "1GiB", want: 1 << 30},
		{text: "2147483647", want: 1<<31 - 1},
		{text: "0", err: "too small"},
		{text: "0KiB", err: "too small"},
		{text: "2GiB", err: "too large"},
		{text: "2097152KiB", err: "too large"},
		{text: "9999999999999999999999MiB", err: "no size"},
		{text: "2147483648", err: "too large"},
		{text: "-1", err: "no size"},
		{text: "1.5MiB", err: "no size"},
		{text: "64 KiB", err: "no size"},
		{text: "64kb", err: "no size"},
		{text: "KiB", err: "no size"},
		{text: "", err: "such as 1048576, 64KiB or 1MiB"},
	} {
		t.Run(test.text, func(t *testing.T) {
			is := is.New(t)
			var s positiveSize
			refused(is, s.UnmarshalText([]byte(test.text)), test.err)
			is.Equal(s, test.want)
		})
	}
}

func FuzzSizeIsWithinItsBounds(f *testing.F) {
	for _, text := range []string{"1048576", "64KiB", "1MiB", "3GiB", "0", "-1MiB"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s positiveSize
		if s.UnmarshalText([]byte(text)) == nil && (s <= 0 || s > 1<<31-1) {
			t.Errorf("%q is %d", text, s)
		}
	})
}

func TestTLSVersionsAreThoseThatAreSafe(t *testing.T) {
	is := is.New(t)
	for text, want := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		var v tlsVersion
		is.NoErr(v.UnmarshalText([]byte(text)))
		is.Equal(uint16(v), want)
	}
	for _, text := range []string{"1.1", "1.0", "TLS1.2", "", "2"} {
		refused(is, new(tlsVersion).UnmarshalText([]byte(text)), "want 1.2 or 1.3")
	}
}

func TestDirectoryIsAURL(t *testing.T) {
	is := is.New(t)
	for _, text := range []string{"https://acme.example.com/directory", "http://127.0.0.1:14000/dir"} {
		var d directory
		is.NoErr(d.UnmarshalText([]byte(text)))
		is.Equal(string(d), text)
	}
	for _, text := range []string{"", "acme.example.com", "acme.example.com:443/directory", "https:///directory", "file:///directory", "https://a b/"} {
		refused(is, new(directory).UnmarshalText([]byte(text)), "such as https://acme.example.com/directory")
	}
}

func TestKeyOfTheAccountIsReadAsCAsGiveItAndNeverShown(t *testing.T) {
	// In base64url one begins with '-', the other with "--".
	dash, dashes := []byte("\xf8 is the first byte of a key"), []byte("\xfb\xe8 are those of another")
	one, two := base64.RawURLEncoding.EncodeToString(dash), base64.RawURLEncoding.EncodeToString(dashes)
	for _, test := range []struct {
		name string
		args []string
		want []byte
		err  string
	}{
		{name: "without padding", args: []string{"--acme-eab-hmac-key", one}, want: dash},
		{name: "with padding", args: []string{"--acme-eab-hmac-key", base64.URLEncoding.EncodeToString(dash)}, want: dash},
		{name: "after two dashes", args: []string{"--acme-eab-hmac-key=" + two}, want: dashes},
		{name: "after two dashes, in a word of its own", args: []string{"--acme-eab-hmac-key", two}, err: "written behind a '='"},
		{name: "missing", args: []string{"--acme-eab-hmac-key"}, err: "its value is missing"},
		{name: "empty", args: []string{"--acme-eab-hmac-key="}, err: "not in base64url"},
		{name: "spelled otherwise", args: []string{"--acme-eab-hmac-key", "s3cr3t/+"}, err: "not in base64url"},
		{name: "cut", args: []string{"--acme-eab-hmac-key", "s3cr3"}, err: "not in base64url"},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			command, _, err := parse(nil, append([]string{"run", "--acme-eab-kid", "kid"}, test.args...)...)
			refused(is, err, test.err)
			if err != nil {
				is.Equal(exitCode(err), exitUsage)
				is.True(!strings.Contains(err.Error(), "s3cr3")) // is not shown
				is.True(!strings.Contains(err.Error(), two))
				return
			}
			a, err := command.Run.acme()
			is.NoErr(err)
			is.Equal(a.ExternalAccount.KID, "kid")
			is.Equal(a.ExternalAccount.Key, test.want)
		})
	}
}

func TestKeyInAVariableIsNotShownEither(t *testing.T) {
	is := is.New(t)
	_, _, err := parse(map[string]string{"PARACHUTE_ACME_EAB_HMAC_KEY": "s3cr3t/+"}, "run")
	refused(is, err, "PARACHUTE_ACME_EAB_HMAC_KEY: the key is not in base64url")
	is.True(!strings.Contains(err.Error(), "s3cr3t"))
	_, warnings, err := parse(map[string]string{"ACME_EAB_HMAC_KEY": "s3cr3t/+"}, "run")
	is.NoErr(err)
	is.Equal(len(warnings), 1)
	is.True(!strings.Contains(warnings[0], "s3cr3t"))
}

func TestWhatRunCannotMeanIsAUsageError(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"half a binding", []string{"--acme-eab-kid", "kid"}, "without --acme-eab-hmac-key: want both"},
		{"the other half", []string{"--acme-eab-hmac-key", "zWND"}, "without --acme-eab-kid: want both"},
		{"CA that is not there", []string{"--acme-ca-root", filepath.Join(dir, "none.pem")}, "none.pem: no such file"},
		{"CA that is none", []string{"--acme-ca-root", empty}, "has no certificate in it: want one in PEM form"},
		{"HTTP/3 without HTTPS", []string{"--http3", "--https-port", "-1"}, "want one of them"},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			command, _, err := parse(nil, append([]string{"run"}, test.args...)...)
			is.NoErr(err)
			err = command.Run.Run(t.Context(), &program{environ: &environ{}, paths: defaultPaths{}})
			refused(is, err, test.want)
			is.Equal(exitCode(err), exitUsage)
		})
	}
}
