package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// patience bounds how long a program may take to start or to end.
const patience = 15 * time.Second

// A process is a program that the demo has started and will end.
type process struct {
	cmd   *exec.Cmd
	log   string        // the file with what it prints
	ended chan struct{} // closed when it has
}

// startProcess starts a program that prints to the file log.
func startProcess(log, program string, args ...string) (*process, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = out, out
	// The terminal's Ctrl-C is for the demo alone: it ends its programs in
	// good order, when it has no request on its way any more.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, log: log, ended: make(chan struct{})}
	go p.wait()
	return p, nil
}

func (p *process) wait() {
	p.cmd.Wait()
	close(p.ended)
}

// accepts returns when the process accepts connections at addr.
func (p *process) accepts(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("takes too long to start"))
	defer cancel()
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-p.ended:
			printed, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s did not start: %v\n%s", p.name(), p.cmd.ProcessState, printed)
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", p.name(), context.Cause(ctx))
		}
	}
}

// end has the process end, and returns when it has.
func (p *process) end() error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-time.After(patience):
	}
	p.cmd.Process.Kill()
	<-p.ended
	return fmt.Errorf("%s did not end in %v and was killed", p.name(), patience)
}

func (p *process) name() string { return filepath.Base(p.cmd.Path) }
