package e2e_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/shahnk19/parachute/internal/proxytest"
)

// etcdProgram is the path of a real etcd, once it is built.
var etcdProgram = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "etcd")
	return path, proxytest.BuildEtcd(path, "../..")
})

// startEtcd runs an etcd until the test ends.
func startEtcd(t *testing.T) *proxytest.Etcd {
	t.Helper()
	program, err := etcdProgram()
	if err != nil {
		t.Fatal(err)
	}
	return proxytest.StartEtcd(t, program)
}

// asEtcdctl calls f with a client of etcd, as an operator has one.
func asEtcdctl(t *testing.T, e *proxytest.Etcd, f func(ctx context.Context, client *clientv3.Client) error) {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{e.URL}, Logger: zap.NewNop(), Context: t.Context()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := f(ctx, client); err != nil {
		t.Fatal(err)
	}
}

// stored returns what etcd has, by key.
func stored(t *testing.T, e *proxytest.Etcd) map[string]string {
	t.Helper()
	found := make(map[string]string)
	asEtcdctl(t, e, func(ctx context.Context, client *clientv3.Client) error {
		all, err := client.Get(ctx, "/", clientv3.WithPrefix())
		if err != nil {
			return err
		}
		for _, pair := range all.Kvs {
			found[string(pair.Key)] = string(pair.Value)
		}
		return nil
	})
	return found
}

// putByHand has etcd have that value, without a lease.
func putByHand(t *testing.T, e *proxytest.Etcd, key, value string) {
	t.Helper()
	asEtcdctl(t, e, func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.Put(ctx, key, value)
		return err
	})
}

// newKeyFile returns the path of a file with an encryption key.
func newKeyFile(t *testing.T) string {
	t.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	return writeFile(t, "etcd.key", []byte(base64.StdEncoding.EncodeToString(key)))
}

// Whichever proxy the authority happens to reach answers for all.
func TestTwentyNamesOnThreeProxiesThatShareAnEtcdAreTwentyOrders(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca, store, key := newAuthority(t, authorityConfig{}), startEtcd(t), newKeyFile(t)
	ca.set(mute) // until all have been deployed
	var names []string
	want := make(map[string]int)
	for i := range 20 {
		names = append(names, fmt.Sprintf("name-%d.example.com", i))
		want[names[i]] = 1
	}
	web := newApp(t, "web")
	var proxies []*proxy
	var addresses []string
	for i := range 3 {
		p := startProxy(t, ca, "--etcd", store.URL, "--etcd-encryption-key-file", key, "--fleet-name", fmt.Sprintf("proxy-%d", i))
		proxies, addresses = append(proxies, p), append(addresses, p.https)
	}
	for _, p := range proxies {
		p.deploy(t, "web", web, "--tls", "--host", strings.Join(names, ","))
	}
	ca.tls.lead(addresses...)
	ca.set(up)

	for _, name := range names {
		serials := make(map[string]bool)
		for _, p := range proxies {
			eventually(t, name+" at every proxy", func() bool {
				cert, err := shown(t, p.https, name, ca.roots)
				if err != nil {
					return false
				}
				serials[cert.SerialNumber.String()] = true
				return true
			})
		}
		is.Equal(len(serials), 1) // all have the same one
	}
	is.Equal(ca.orderedBy(proxies...), want)

	eventually(t, "no lock and no answer left", func() bool {
		for key := range stored(t, store) {
			if strings.Contains(key, "/locks/") || strings.Contains(key, "/answers/") {
				return false
			}
		}
		return true
	})
	for key, value := range stored(t, store) {
		is.True(!strings.Contains(key, "/certificates/") || strings.HasPrefix(value, "sealed:1:")) // key
	}
}

func TestOneOfTheProxiesThatShareAnEtcdRenewsForAll(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca, store := newAuthority(t, authorityConfig{validity: 48 * time.Second}), startEtcd(t)
	web := newApp(t, "web")
	var proxies []*proxy
	var addresses []string
	for i := range 3 {
		p := startProxy(t, ca, "--etcd", store.URL, "--fleet-name", fmt.Sprintf("proxy-%d", i))
		proxies, addresses = append(proxies, p), append(addresses, p.https)
		ca.tls.lead(addresses...)
		p.deploy(t, "web", web, secured(app1)...)
	}
	is.Equal(ca.orderedBy(proxies...), map[string]int{app1: 1})
	first, err := shown(t, proxies[0].https, app1, ca.roots)
	is.NoErr(err)

	for _, p := range proxies {
		eventually(t, "the next certificate at every proxy", func() bool {
			next, err := shown(t, p.https, app1, ca.roots)
			is.NoErr(err) // at no time is there none that is valid
			return next.NotAfter.After(first.NotAfter)
		})
	}
	is.Equal(ca.orderedBy(proxies...), map[string]int{app1: 2})
}

func TestProxyWithoutItsEtcdServesTheCertificatesThatItHas(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca, store := newAuthority(t, authorityConfig{}), startEtcd(t)
	p := startProxy(t, ca, "--etcd", store.URL)
	ca.tls.lead(p.https)
	p.deploy(t, "web", newApp(t, "web"), secured(app1)...)
	before, err := shown(t, p.https, app1, ca.roots)
	is.NoErr(err)

	store.Kill()
	p.restart(t)
	ca.tls.lead(p.https)
	eventually(t, "the certificate after the restart", func() bool {
		after, err := shown(t, p.https, app1, ca.roots)
		return err == nil && after.Equal(before)
	})
	is.Equal(ca.orderedBy(p), map[string]int{app1: 1})
}

// Another key is a mistake, and nobody's certificates are lost for it.
func TestCertificatesThatCannotBeDecryptedAreNotOrderedAgain(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	ca, store := newAuthority(t, authorityConfig{}), startEtcd(t)
	first := startProxy(t, ca, "--etcd", store.URL, "--fleet-name", "first", "--etcd-encryption-key-file", newKeyFile(t))
	ca.tls.lead(first.https)
	first.deploy(t, "web", newApp(t, "web"), secured(app1)...)
	before := stored(t, store)

	second := startProxy(t, ca, "--etcd", store.URL, "--fleet-name", "second", "--etcd-encryption-key-file", newKeyFile(t))
	second.deploy(t, "web", newApp(t, "web"), "--tls", "--host", app1)
	eventually(t, "the error in the list of certificates", func() bool {
		return strings.Contains(second.certificates(t)[app1].Error, "it cannot be decrypted: the key of --etcd-encryption-key-file is another one")
	})
	is.Equal(ca.orderedBy(first, second), map[string]int{app1: 1})
	isCertificate := func(key string) bool { return strings.Contains(key, "/certificates/") }
	after := stored(t, store)
	for key, value := range before {
		is.True(!isCertificate(key) || after[key] == value) // key
	}
	is.True(slices.ContainsFunc(slices.Collect(maps.Keys(before)), isCertificate))
}
