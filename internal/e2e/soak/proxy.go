package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/shahnk19/parachute"
)

// patience bounds what is bound to happen.
const patience = 90 * time.Second

// A proxy is the binary that runs: one process after the other, at the same ports.
type proxy struct {
	binary string
	data   string // its data directory
	socket string
	log    *os.File // what all of its processes have said
	ledger *ledger

	http, https, metrics string // addresses

	mu      sync.Mutex // guards what follows
	process *process
	killed  time.Time // when it was last killed
}

// A process is one that was started, and ends by itself or is ended.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has
}

func (p *process) wait() {
	defer close(p.ended)
	p.cmd.Wait()
}

// A logLine is one of the proxy's log.
type logLine struct {
	Message   string `json:"msg"`
	RequestID string `json:"request_id"`
	Status    int    `json:"status"`
	Target    string `json:"target"`
	Error     string `json:"error"`
}

// newProxy returns a proxy that is not running yet, with free ports.
func newProxy(binary, dir, data string, l *ledger) (*proxy, error) {
	p := &proxy{binary: binary, data: data, socket: filepath.Join(dir, "s"), ledger: l}
	for _, address := range []*string{&p.http, &p.https, &p.metrics} {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer free.Close()
		*address = free.Addr().String()
	}
	var err error
	p.log, err = os.Create(filepath.Join(dir, "proxy.log"))
	return p, err
}

func port(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// start starts a process, and returns when it serves.
func (p *proxy) start(ctx context.Context) error {
	cmd := exec.Command(p.binary, "run", "--bind", "127.0.0.1", "--http3",
		"--http-port", port(p.http), "--https-port", port(p.https), "--metrics-port", port(p.metrics),
		"--data-dir", p.data, "--socket", p.socket, "--shutdown-timeout", "30s")
	cmd.Env = []string{"GORACE=halt_on_error=1", "GOTRACEBACK=all"}
	said, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = p.log
	if err := cmd.Start(); err != nil {
		return err
	}
	process := &process{cmd: cmd, ended: make(chan struct{})}
	go p.follow(process, said)
	p.mu.Lock()
	p.process = process
	p.mu.Unlock()
	return p.serves(ctx, process)
}

// follow keeps what a process says until it ends.
func (p *proxy) follow(process *process, said io.Reader) {
	lines := bufio.NewScanner(said)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line logLine
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Message != "Request" {
			fmt.Fprintf(p.log, "%s\n", lines.Bytes())
		} else if line.Error != "" {
			fmt.Fprintf(p.log, "%s\n", lines.Bytes())
			p.ledger.logged(line)
		}
	}
	process.wait()
}

// serves returns when process accepts connections and commands.
func (p *proxy) serves(ctx context.Context, process *process) error {
	late := time.After(patience)
	for {
		conn, err := net.Dial("tcp", p.http)
		if err == nil {
			conn.Close()
			if _, err = p.services(ctx); err == nil {
				return nil
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-process.ended:
			return fmt.Errorf("the proxy does not start: %v; see %s", process.cmd.ProcessState, p.log.Name())
		case <-late:
			return fmt.Errorf("the proxy does not serve: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// current returns the process that runs.
func (p *proxy) current() *process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.process
}

// kill ends the process at once.
func (p *proxy) kill() {
	process := p.current()
	process.cmd.Process.Kill()
	<-process.ended
}

// dump ends the process at once, and has it say in its log what every goroutine does.
func (p *proxy) dump() {
	process := p.current()
	process.cmd.Process.Signal(syscall.SIGQUIT)
	<-process.ended
}

// stop ends the process in good order.
func (p *proxy) stop() error {
	process := p.current()
	process.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-process.ended:
	case <-time.After(patience):
		p.dump()
		return errors.New("the proxy does not end")
	}
	if code := process.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the proxy ended with %v; see %s", process.cmd.ProcessState, p.log.Name())
	}
	return nil
}

// An event is a line of a command with --json.
type event struct {
	Event *struct {
		Kind   string   `json:"kind"`
		Unused []string `json:"unused"`
	} `json:"event"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// A report is what a command said.
type report struct {
	code   int
	err    error    // what it said was wrong, or why it could not be run
	kind   string   // the code of that
	unused []string // the targets that may be stopped
}

// command runs a command that changes something, and calls heard with each event as it
// comes. When ctx ends, the command is killed.
func (p *proxy) command(ctx context.Context, heard func(kind string), args ...string) report {
	cmd := exec.CommandContext(ctx, p.binary, append(args, "--json", "--socket", p.socket)...)
	cmd.Env = []string{}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	said, err := cmd.StdoutPipe()
	if err != nil {
		return report{code: -1, err: err}
	}
	if err := cmd.Start(); err != nil {
		return report{code: -1, err: err}
	}
	var r report
	lines := bufio.NewScanner(said)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			r.err = fmt.Errorf("%w: %s", err, lines.Text())
			continue
		}
		switch {
		case e.Event != nil:
			r.unused = append(r.unused, e.Event.Unused...)
			if heard != nil {
				heard(e.Event.Kind)
			}
		case e.Error != nil:
			r.err, r.kind = errors.New(e.Error.Message), e.Error.Code
		}
	}
	cmd.Wait()
	r.code = cmd.ProcessState.ExitCode()
	if r.code != 0 && r.err == nil {
		r.err = fmt.Errorf("%v: %s", cmd.ProcessState, bytes.TrimSpace(stderr.Bytes()))
	}
	return r
}

// services returns what is deployed, as a command has it.
func (p *proxy) services(ctx context.Context) (map[string]parachute.Status, error) {
	cmd := exec.CommandContext(ctx, p.binary, "list", "--json", "--socket", p.socket)
	cmd.Env = []string{}
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var all []parachute.Status
	if err := json.Unmarshal(out, &all); err != nil {
		return nil, err
	}
	services := make(map[string]parachute.Status)
	for _, s := range all {
		services[s.Service] = s
	}
	return services, nil
}
