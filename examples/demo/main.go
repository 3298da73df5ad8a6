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
	flag.Parse()

	// Also where nobody reads what it prints any more, the demo must end what
	// it has started.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	if err := demo(ctx, *once, *pace); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo plays with the programs that lie beside its own.
func demo(ctx context.Context, once bool, pace time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "parachute-demo-")
	if err != nil {
		return err
	}
	s := &stage{
		parachute: filepath.Join(filepath.Dir(self), "parachute"),
		backend:   filepath.Join(filepath.Dir(self), "backend"),
		dir:       dir,
		out:       os.Stdout,
		pace:      pace,
	}
	return errors.Join(s.play(ctx, once), os.RemoveAll(dir))
}
