package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
)

func TestOptionsOfAFleetGoWithItsEtcd(t *testing.T) {
	dir := t.TempDir()
	key, plain := filepath.Join(dir, "key"), filepath.Join(dir, "plain")
	for path, text := range map[string]string{key: strings.Repeat("0f", 32), plain: "x"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const one, two, secure = "http://10.0.0.5:2379", "http://10.0.0.6:2379", "https://10.0.0.5:2379"
	for _, tt := range []struct {
		name string
		args []string
		want string // an error; "": none
	}{
		{"none", nil, ""},
		{"one", []string{"--etcd", one}, ""},
		{"all", []string{"--etcd", secure, "--etcd-prefix", "/p", "--etcd-cert", "c", "--etcd-key", "k", "--etcd-ca", "ca",
			"--etcd-user", "a:b:c", "--etcd-lease", "20s", "--etcd-encryption-key-file", key, "--fleet-name", "eu-1"}, ""},
		{"a prefix alone", []string{"--etcd-prefix", "/p"}, "without --etcd: want the URLs"},
		{"a name alone", []string{"--fleet-name", "eu-1"}, "without --etcd: want the URLs"},
		{"a lease alone", []string{"--etcd-lease", "20s"}, "without --etcd: want the URLs"},
		{"a user alone", []string{"--etcd-user", "a:b"}, "without --etcd: want the URLs"},
		{"an encryption key alone", []string{"--etcd-encryption-key-file", key}, "without --etcd: want the URLs"},
		{"no prefix", []string{"--etcd", one, "--etcd-prefix", "/"}, "--etcd: no prefix is named"},
		{"a certificate alone", []string{"--etcd", secure, "--etcd-cert", "c"}, "want both, or neither"},
		{"a certificate in the clear", []string{"--etcd", one, "--etcd-cert", "c", "--etcd-key", "k"}, "want https"},
		{"no encryption key", []string{"--etcd", one, "--etcd-encryption-key-file", plain}, "--etcd-encryption-key-file: " + plain + " has no key in it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			parsed, _, err := parse(nil, append([]string{"run"}, tt.args...)...)
			is.NoErr(err)
			c, err := parsed.Run.etcdFlags.config()
			refused(is, err, tt.want)
			switch {
			case err != nil:
				err = parsed.Run.Run(t.Context(), &program{environ: &environ{}, paths: defaultPaths{}})
				is.Equal(exitCode(err), exitUsage)
			case tt.name == "one":
				is.Equal(c.Etcd.Prefix, "/parachute/default")
				is.Equal(c.Lease, 10*time.Second)
				host, err := os.Hostname()
				is.NoErr(err)
				is.Equal(c.Name, host)
			case tt.name == "all":
				is.Equal(c.Etcd.User, "a")
				is.Equal(c.Etcd.Password, "b:c") // which may have colons
				is.Equal(c.Lease, 20*time.Second)
				is.Equal(c.Name, "eu-1")
				is.True(c.Seal != nil)
			default:
				is.True(!c.Etcd.IsSet())
			}
		})
	}
	_, _, err := parse(nil, "run", "--etcd", one+", "+two)
	is.New(t).NoErr(err)
}

func TestValuesThatMakeNoFleetAreRefused(t *testing.T) {
	for _, tt := range []struct{ flag, value, want string }{
		{"--etcd", "10.0.0.5:2379", "is no URL of an etcd"},
		{"--etcd", "http://10.0.0.5:2379,https://10.0.0.6:2379", "want the same for all servers"},
		{"--etcd-user", "secretly", "want a name and a password"},
		{"--etcd-user", ":secretly", "want a name and a password"},
		{"--etcd-lease", "1s", "want whole seconds from 5s to 5m0s"},
		{"--etcd-lease", "5500ms", "want whole seconds from 5s to 5m0s"},
		{"--etcd-lease", "1h", "want whole seconds from 5s to 5m0s"},
		{"--fleet-name", "a/b", "is no name of a proxy"},
		{"--fleet-name", strings.Repeat("a", 65), "is no name of a proxy"},
	} {
		t.Run(tt.flag+" "+tt.value, func(t *testing.T) {
			is := is.New(t)
			_, _, err := parse(nil, "run", tt.flag, tt.value)
			is.True(err != nil && strings.Contains(err.Error(), tt.want))
			is.True(!strings.Contains(err.Error(), "secretly")) // nobody's password is in the log of a build
		})
	}
}
