package acmedns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// commandTimeout is how long the command may take, and pipeTimeout how long after
	// its end a process that it has left behind is listened to.
	commandTimeout = time.Minute
	pipeTimeout    = time.Second
)

// CheckCommand returns why path cannot be called to set records, or nil.
func CheckCommand(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%q is no absolute path: want one, since no shell looks for the program", path)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is no program: want a file that may be executed", path)
	}
	return nil
}

// A command is called to set records.
type command struct {
	path   string
	logger *slog.Logger
}

func (c *command) run(ctx context.Context, do action, name, value string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path, string(do), name, value)
	cmd.Env = environment()
	output := &lines{log: func(line string) {
		c.logger.Info("command for TXT records", "action", string(do), "name", name, "said", line)
	}}
	cmd.Stdout, cmd.Stderr = output, output
	// It may have started others, which are ended with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeTimeout
	err := cmd.Run()
	output.end()
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay): // what is left behind is its own matter
		return nil
	case ctx.Err() == context.DeadlineExceeded:
		err = fmt.Errorf("it did not end in time: %w", err)
	}
	if output.last != "" {
		err = fmt.Errorf("%w: %s", err, output.last)
	}
	return fmt.Errorf("%s %s %s: %w", c.path, do, name, err)
}

// environment returns that of the proxy, without what is for it alone.
func environment() []string {
	var rest []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch {
		case strings.HasPrefix(name, "LISTEN_"), name == "NOTIFY_SOCKET", name == "MAINPID", strings.HasPrefix(name, "_PARACHUTE_"), strings.HasSuffix(name, "ACME_EAB_HMAC_KEY"):
		default:
			rest = append(rest, v)
		}
	}
	return rest
}
