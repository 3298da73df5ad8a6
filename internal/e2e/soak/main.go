// Soak shakes the proxy for as long as it is told to, and checks that nobody loses
// what the documents promise. It runs the binary itself between targets, which are
// processes of their own, and clients that check all that they get: each request has a
// nonce, and status, content, order and version of the answer are verified. Meanwhile
// it deploys, pauses, kills, freezes, fills the disk, takes the name server away and so
// on, in an order that a seed decides.
//
// A failure is put down to what was done at that time, by a contract which names the
// sentence of the documents that allows it. One that no contract allows makes the soak
// end with exit code 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// Roles of this program, named by the first argument. Without one, it is the soak.
const (
	roleInside = "inside" // the soak, in namespaces of its own
	roleTarget = "target" // a target
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == roleTarget {
		if err := serveTarget(args[1:]); err != nil {
			fmt.Fprintln(stderr, "soak target:", err)
			return 1
		}
		return 0
	}
	inside := len(args) > 0 && args[0] == roleInside
	if inside {
		args = args[1:]
	}
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if !inside {
		code, err := enter(ctx, o, stdout, stderr)
		if err == nil {
			return code
		}
		fmt.Fprintf(stdout, "no namespaces of our own (%v): the name server stays, and the disk is never full\n", err)
	}
	clean, err := soakProxy(ctx, o, inside, stdout)
	if err != nil {
		fmt.Fprintln(stderr, "soak:", err)
		return 1
	}
	if !clean {
		return 1
	}
	return 0
}

// options are what the command line says.
type options struct {
	duration   time.Duration
	seed       uint64
	parachute  string // path of the proxy's binary
	dir        string // where everything is kept
	untilFault bool   // end early if there is one
}

// args returns the command line that says the same.
func (o options) args() []string {
	return []string{
		"--for", o.duration.String(), "--seed", fmt.Sprint(o.seed), "--parachute", o.parachute, "--dir", o.dir, fmt.Sprint("--until-fault=", o.untilFault),
	}
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.DurationVar(&o.duration, "for", 2*time.Minute, "`time` to go on for")
	flags.Uint64Var(&o.seed, "seed", 0, "`number` that decides what is done, and in which order; 0 is any")
	flags.StringVar(&o.parachute, "parachute", beside("parachute"), "`path` of the proxy's binary")
	flags.StringVar(&o.dir, "dir", "", "`folder` for logs and state (default: a new one, removed after a clean run)")
	flags.BoolVar(&o.untilFault, "until-fault", false, "end as soon as something has failed that must not")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		fmt.Fprintln(stderr, "soak: unexpected argument:", flags.Arg(0))
		return o, errors.New("usage")
	}
	if o.seed == 0 {
		o.seed = 1 + rand.Uint64N(1_000_000)
	}
	return o, nil
}

// beside returns the path of a program in the folder of this one.
func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}
