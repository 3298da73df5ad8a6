// Demo shows what parachute is for: it keeps a proxy busy with requests while
// it deploys one version of an app after the other, and counts what was lost.
// It is run by make demo, which builds the proxy and the app beside it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	once := flag.Bool("once", false, "end after the summary")
	pace := flag.Duration("pace", time.Second, "`time` between two deploys")
	fleet := flag.Bool("fleet", false, "three proxies that share an etcd, behind HAProxy, in place of one proxy")
	etcd := flag.String("etcd", "etcd", "`program` of etcd, for a fleet")
	haproxy := flag.String("haproxy", "haproxy", "`program` of HAProxy, likewise")
	flag.Parse()
	if !*fleet {
		*etcd, *haproxy = "", ""
	}

	// Also where nobody reads what it prints any more, the demo must end what
	// it has started.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	if err := demo(ctx, &stage{etcd: *etcd, haproxy: *haproxy, pace: *pace}, *once); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo plays with the programs that lie beside its own.
func demo(ctx context.Context, s *stage, once bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "parachute-demo-")
	if err != nil {
		return err
	}
	s.parachute, s.backend = filepath.Join(filepath.Dir(self), "parachute"), filepath.Join(filepath.Dir(self), "backend")
	s.dir, s.out = dir, os.Stdout
	return errors.Join(s.play(ctx, once), os.RemoveAll(dir))
}
