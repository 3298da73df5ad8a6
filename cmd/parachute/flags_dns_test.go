package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestWayToSetRecordsIsOne(t *testing.T) {
	dir := t.TempDir()
	command, key, plain := filepath.Join(dir, "set-record"), filepath.Join(dir, "acme.key"), filepath.Join(dir, "plain")
	for path, text := range map[string]string{command: "#!/bin/sh\n", key: `key "acme" { algorithm hmac-sha256; secret "c2VjcmV0"; };`, plain: "x"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(command, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		want string // an error; "": none
	}{
		{"none", nil, ""},
		{"a command", []string{"--acme-dns-command", command}, ""},
		{"a command for all", []string{"--acme-dns-command", command, "--acme-challenge", "dns", "--acme-dns-resolver", "192.0.2.1,192.0.2.2:5353"}, ""},
		{"a server", []string{"--acme-dns-server", "192.0.2.1"}, ""},
		{"a server with a key", []string{"--acme-dns-server", "192.0.2.1", "--acme-dns-key-file", key}, ""},
		{"any challenge", []string{"--acme-challenge", "any"}, ""},
		{"both", []string{"--acme-dns-command", command, "--acme-dns-server", "192.0.2.1"}, "exclude each other"},
		{"a key alone", []string{"--acme-dns-key-file", key}, "without --acme-dns-server: want both"},
		{"a key for a command", []string{"--acme-dns-command", command, "--acme-dns-key-file", key}, "without --acme-dns-server: want both"},
		{"DNS without a way", []string{"--acme-challenge", "dns"}, "want --acme-dns-command or --acme-dns-server as well"},
		{"a resolver without a way", []string{"--acme-dns-resolver", "192.0.2.1"}, "want --acme-dns-command or --acme-dns-server as well"},
		{"a relative command", []string{"--acme-dns-command", "set-record"}, "--acme-dns-command: \"set-record\" is no absolute path"},
		{"a command that is none", []string{"--acme-dns-command", plain}, "--acme-dns-command: " + plain + " is no program"},
		{"a key that is none", []string{"--acme-dns-server", "192.0.2.1", "--acme-dns-key-file", plain}, "--acme-dns-key-file: " + plain + ": want one key in it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			parsed, _, err := parse(nil, append([]string{"run"}, test.args...)...)
			is.NoErr(err)
			c, err := parsed.Run.dnsFlags.config()
			refused(is, err, test.want)
			if err == nil {
				is.Equal(c.IsSet(), strings.Contains(strings.Join(test.args, " "), "--acme-dns-"))
				is.Equal(c.Key != nil, strings.Contains(test.name, "key"))
				is.Equal(c.Always, strings.HasSuffix(test.name, "for all"))
				return
			}
			err = parsed.Run.Run(t.Context(), &program{environ: &environ{}, paths: defaultPaths{}})
			is.Equal(exitCode(err), exitUsage)
		})
	}
}

func TestServersOfTheDNSHaveAPort(t *testing.T) {
	is := is.New(t)
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1:53", "192.0.2.1:5353": "192.0.2.1:5353", "ns1.example.com": "ns1.example.com:53",
		"2001:db8::1": "[2001:db8::1]:53", "[2001:db8::1]": "[2001:db8::1]:53", "[2001:db8::1]:54": "[2001:db8::1]:54",
	} {
		var s dnsServer
		is.NoErr(s.UnmarshalText([]byte(text)))
		is.Equal(string(s), want)
	}
	for _, text := range []string{"", ":53", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:dns", "https://dns.example.com", "a b", "a:b:c"} {
		refused(is, new(dnsServer).UnmarshalText([]byte(text)), "such as 192.0.2.1:53 or ns1.example.com")
	}
	var all dnsServers
	is.NoErr(all.UnmarshalText([]byte("192.0.2.1, 192.0.2.2:54")))
	is.Equal(all, dnsServers{"192.0.2.1:53", "192.0.2.2:54"})
	refused(is, new(dnsServers).UnmarshalText([]byte("192.0.2.1,,")), "is no server of the DNS")
}

func TestChallengesAreAnyOrDNS(t *testing.T) {
	is := is.New(t)
	for _, text := range []string{"http", "dns-01", ""} {
		refused(is, new(challenge).UnmarshalText([]byte(text)), "want any or dns")
	}
}
