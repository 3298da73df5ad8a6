package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/shahnk19/parachute/internal/proxytest"
)

// An instance is a target at an address of its own: one process after the other.
type instance struct {
	service string
	name    string // that it answers with
	listens string // address that it listens on
	address string // as it is deployed
	sick    bool   // it never says that it is healthy
	release func() // lets others have the address

	mu      sync.Mutex // guards what follows
	cmd     *exec.Cmd  // nil: it does not run
	orders  io.WriteCloser
	ended   chan struct{} // closed when cmd has
	retired bool          // it is not to run again
}

// newInstance returns one that does not run yet. It is known to the proxy by host, or
// by its address if that is empty.
func newInstance(service, name, scheme, host string) (*instance, error) {
	number, release, err := proxytest.ReservePort()
	if err != nil {
		return nil, err
	}
	port := strconv.Itoa(number)
	in := &instance{service: service, name: name, listens: net.JoinHostPort("127.0.0.1", port), release: release}
	in.address = scheme + in.listens
	if host != "" {
		in.address = scheme + net.JoinHostPort(host, port)
	}
	return in, nil
}

// start starts a process, and returns when it accepts connections. It reports false if
// the instance is retired, or runs already.
func (in *instance) start(ctx context.Context, dir string) (bool, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.retired || in.cmd != nil {
		return false, nil
	}
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	args := []string{roleTarget, "--name", in.name, "--address", in.listens}
	if in.sick {
		args = append(args, "--sick")
	}
	cmd := exec.Command(self, args...)
	said, err := os.OpenFile(filepath.Join(dir, "targets.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return false, err
	}
	defer said.Close()
	cmd.Stdout, cmd.Stderr = said, said
	if in.orders, err = cmd.StdinPipe(); err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	in.cmd, in.ended = cmd, make(chan struct{})
	go wait(cmd, in.ended)
	late := time.After(patience)
	for {
		conn, err := net.Dial("tcp", in.listens)
		if err == nil {
			return true, conn.Close()
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-in.ended:
			return false, fmt.Errorf("target %s does not start: %v", in.name, cmd.ProcessState)
		case <-late:
			return false, fmt.Errorf("target %s does not start: %w", in.name, err)
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

func wait(cmd *exec.Cmd, ended chan struct{}) {
	defer close(ended)
	cmd.Wait()
}

// signal sends a signal to the process that runs, if one does.
func (in *instance) signal(sig os.Signal) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.cmd != nil {
		in.cmd.Process.Signal(sig)
	}
}

// order tells the process something. It may be gone.
func (in *instance) order(text string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.cmd != nil {
		io.Copy(in.orders, bytes.NewBufferString(text+"\n"))
	}
}

// end sends a signal that ends the process, and returns when that has happened.
func (in *instance) end(sig syscall.Signal) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.endLocked(sig)
}

func (in *instance) endLocked(sig syscall.Signal) {
	if in.cmd == nil {
		return
	}
	in.cmd.Process.Signal(sig)
	select {
	case <-in.ended:
	case <-time.After(patience):
		in.cmd.Process.Kill()
		<-in.ended
	}
	in.cmd = nil
}

// gone returns a channel that is closed when the process that runs has ended.
func (in *instance) gone() <-chan struct{} {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.ended
}

// isRetired reports whether the instance was ended for good.
func (in *instance) isRetired() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.retired
}

// retire ends the process at once and for good: whoever still needs it, will notice.
func (in *instance) retire() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.retired = true
	in.endLocked(syscall.SIGKILL)
	in.release()
}
