package trust_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/trust"
)

func TestSettingsThatAcceptTheSameAreIdentical(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	file := func(name string, ca *proxytest.CA) string {
		certificate, _ := ca.WritePair(t, filepath.Join(dir, name), "a.test")
		return certificate
	}
	for _, name := range []string{"one", "two"} {
		is.NoErr(os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	one, two := file("one", proxytest.NewCA()), file("two", proxytest.NewCA())
	load := func(file, name string, insecure bool) trust.Identity {
		s, err := trust.Load(file, name, insecure)
		is.NoErr(err)
		is.Equal(s.Config.RootCAs != nil, file != "")
		is.Equal(s.Config.ServerName, name)
		is.Equal(s.Config.InsecureSkipVerify, insecure)
		return s.Identity
	}
	all := []trust.Identity{load("", "", false), load("", "a.test", false), load("", "", true), load(one, "", false), load(two, "", false)}
	for i, a := range all {
		for j, b := range all {
			is.Equal(a == b, i == j) // i, j
		}
	}
	copied := filepath.Join(dir, "copy")
	text, err := os.ReadFile(one)
	is.NoErr(err)
	is.NoErr(os.WriteFile(copied, text, 0o600))
	is.Equal(load(copied, "", false), load(one, "", false))
}

func TestFileWithoutAuthoritiesIsRefused(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "ca.pem")
	_, err := trust.Load(path, "", false)
	is.True(os.IsNotExist(err))
	is.NoErr(os.WriteFile(path, []byte("no certificate"), 0o600))
	_, err = trust.Load(path, "", false)
	is.True(err != nil && strings.HasSuffix(err.Error(), "ca.pem has no certificate in PEM form"))
}

func TestFileMustBeAbsoluteAndOfUse(t *testing.T) {
	is := is.New(t)
	is.NoErr(trust.Check("", true))
	is.NoErr(trust.Check("/etc/ca.pem", false))
	is.Equal(trust.Check("ca.pem", true).Error(), `target CA "ca.pem": want an absolute path`)
	is.Equal(trust.Check("/etc/ca.pem", true).Error(), "target CA /etc/ca.pem: it is of no use where targets are not verified")
}
