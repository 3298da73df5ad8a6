package etcd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/shahnk19/parachute/cmd/parachute/internal/etcd"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv/kvtest"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// program is the path of a real etcd.
var program string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "etcd")
	if err := proxytest.BuildEtcd(program, "../../../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// open returns a Store on an etcd, with the first free prefix.
func open(t *testing.T, c etcd.Config) *etcd.Store {
	t.Helper()
	s, err := etcd.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// at returns what leads to an etcd that needs no password.
func at(e *proxytest.Etcd) etcd.Config {
	return etcd.Config{Endpoints: []string{e.URL}, Prefix: "/parachute/test"}
}

// client returns etcd's own client.
func client(t *testing.T, e *proxytest.Etcd) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{e.URL}, Logger: zap.NewNop(), DialTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// The store in memory keeps the same requirements, by which the fleet is tested.
func TestEtcdKeepsTheClaimsOfAStore(t *testing.T) {
	e := proxytest.StartEtcd(t, program)
	admin := client(t, e)
	compact := func() {
		now, err := admin.Get(t.Context(), "now")
		if err == nil {
			_, err = admin.Compact(t.Context(), now.Header.Revision)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, requirement := range kvtest.Requirements {
		t.Run(requirement.Name, func(t *testing.T) {
			c := at(e)
			c.Prefix = "/parachute/" + requirement.Name
			requirement.Check(t, open(t, c), compact)
		})
	}
}
