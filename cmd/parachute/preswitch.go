package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// A preSwitch is a flag that names a program, or stands alone where that is behind "--".
type preSwitch struct {
	isSet bool
	path  string
}

// Decode leaves what may be the next flag where it is.
func (c *preSwitch) Decode(ctx *kong.DecodeContext) error {
	c.isSet = true
	next := ctx.Scan.Peek()
	if text := fmt.Sprint(next); !next.IsEOL() && (next.Type == kong.FlagValueToken || !strings.HasPrefix(text, "-")) {
		ctx.Scan.Pop()
		c.path = text
	}
	return nil
}

// takeArgv returns the words of a command line without "--" and those behind it, which it
// returns as well, if it is a deploy with --pre-switch: they are the program's.
func takeArgv(words []string) (rest, argv []string) {
	at := slices.Index(words, "--")
	isPreSwitch := func(word string) bool {
		name, _, _ := strings.Cut(word, "=")
		return name == "--pre-switch"
	}
	if at < 0 || words[0] != "deploy" || !slices.ContainsFunc(words[:at], isPreSwitch) {
		return words, nil
	}
	return words[:at], words[at+1:]
}

// argv returns the program and its arguments, or nil if there is no --pre-switch. behind is
// what stands behind "--".
func (c preSwitch) argv(behind []string) ([]string, error) {
	if !c.isSet {
		return nil, nil
	}
	argv := behind
	if c.path != "" {
		argv = append([]string{c.path}, behind...)
	}
	if len(argv) == 0 || argv[0] == "" {
		return nil, errors.New("--pre-switch names no program: want the path of one, or a program with its arguments behind --, as in --pre-switch -- ./smoke-test login")
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, fmt.Errorf("--pre-switch: %w", err)
	}
	return append([]string{path}, argv[1:]...), nil
}

// killDelay is how long a program has to end by itself when it is not needed any more.
const killDelay = 5 * time.Second

// agreeBy returns what answers the question of a deploy by running a program: with exit
// code 0, it is agreed to. What the program prints goes to standard error. When ctx ends,
// the program is ended, with all that it has started in its process group.
func (p *program) agreeBy(argv []string) func(ctx context.Context, q control.Question) error {
	return func(ctx context.Context, q control.Question) error {
		// The system kills it as well if this process is killed, or, as it sees it, the
		// thread that has started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		p.settleProgress(argv[0])
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = append(slices.Clone(p.variables),
			"PARACHUTE_TARGETS="+strings.Join(q.Targets, " "),
			"PARACHUTE_SERVICE="+q.Service,
			"PARACHUTE_GENERATION="+strconv.FormatUint(q.Generation, 10),
			"PARACHUTE_RELEASE="+q.Release,
		)
		cmd.Stdout, cmd.Stderr = p.stderr, p.stderr
		cmd.SysProcAttr = groupOfItsOwn()
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
		cmd.WaitDelay = killDelay
		err := cmd.Run()
		if ctx.Err() != nil && cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // an error means that nobody is left
		}
		if err == nil || errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil {
			return nil
		}
		return fmt.Errorf("--pre-switch %s: %w", argv[0], err)
	}
}
