package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
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

	http, https, metrics string   // addresses
	releases             []func() // let others have them

	mu      sync.Mutex // guards process
	process *process   // that serves
}

// A process is one that was started, by us or by the one before it.
type process struct {
	pid   int
	ended chan struct{} // closed when it has
	code  int           // that it ended with; valid when ended is closed
}

// signal sends a signal, unless the process has ended: its number may be another's then.
func (p *process) signal(sig syscall.Signal) {
	select {
	case <-p.ended:
	default:
		syscall.Kill(p.pid, sig)
	}
}

// wait waits for a process that we have started.
func (p *process) wait(cmd *exec.Cmd) {
	defer close(p.ended)
	cmd.Wait()
	p.code = cmd.ProcessState.ExitCode()
}

// await waits for a process that another has started. It is our child as soon as that
// has ended.
func (p *process) await() {
	defer close(p.ended)
	for {
		var status syscall.WaitStatus
		switch pid, err := syscall.Wait4(p.pid, &status, syscall.WNOHANG, nil); {
		case pid == p.pid:
			p.code = status.ExitStatus()
			return
		case err != nil && syscall.Kill(p.pid, 0) != nil:
			return // somebody else has waited for it
		}
		time.Sleep(20 * time.Millisecond)
	}
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
		port, release, err := proxytest.ReservePort()
		if err != nil {
			p.close()
			return nil, err
		}
		p.releases = append(p.releases, release)
		*address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	var err error
	if p.log, err = os.Create(filepath.Join(dir, "proxy.log")); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// close lets others have the ports. No process may be started any more.
func (p *proxy) close() {
	for _, release := range p.releases {
		release()
	}
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
	said, says, err := os.Pipe()
	if err != nil {
		return err
	}
	defer says.Close()
	cmd.Stdout, cmd.Stderr = says, p.log
	if err := cmd.Start(); err != nil {
		said.Close()
		return err
	}
	go p.follow(said)
	process := &process{pid: cmd.Process.Pid, ended: make(chan struct{})}
	go process.wait(cmd)
	p.become(process)
	return p.serves(ctx, process)
}

// follow keeps what a process says, and those that it starts in its place, until all of
// them have ended.
func (p *proxy) follow(said *os.File) {
	defer said.Close()
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
			return fmt.Errorf("the proxy does not start, and ends with %d; see %s", process.code, p.log.Name())
		case <-late:
			return fmt.Errorf("the proxy does not serve: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// current returns the process that serves.
func (p *proxy) current() *process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.process
}

func (p *proxy) become(process *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process = process
}

// kill ends the process at once.
func (p *proxy) kill() {
	process := p.current()
	process.signal(syscall.SIGKILL)
	<-process.ended
}

// dump ends the process at once, and has it say in its log what every goroutine does.
func (p *proxy) dump() {
	process := p.current()
	process.signal(syscall.SIGQUIT)
	<-process.ended
}

// stop ends the process in good order.
func (p *proxy) stop() error {
	process := p.current()
	process.signal(syscall.SIGTERM)
	return p.ends(process)
}

// ends returns when a process that is to end has ended, which it must in good order.
func (p *proxy) ends(process *process) error {
	select {
	case <-process.ended:
	case <-time.After(patience):
		process.signal(syscall.SIGQUIT)
		<-process.ended
		return fmt.Errorf("the proxy does not end; see %s", p.log.Name())
	}
	if process.code != 0 {
		return fmt.Errorf("the proxy ended with %d; see %s", process.code, p.log.Name())
	}
	return nil
}

// canUpgrade reports whether the binary knows how to take its own place.
func (p *proxy) canUpgrade() bool {
	return exec.Command(p.binary, "help", "upgrade").Run() == nil
}

// upgrade returns when another process serves, or why none does.
func (p *proxy) upgrade() error {
	cmd := exec.Command(p.binary, "upgrade", "--wait", "--socket", p.socket)
	cmd.Env = []string{}
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("upgrade: %w: %s", err, bytes.TrimSpace(said))
	}
	return nil
}

// newcomer returns the pid of the process that p has started in its place, or 0 if it has
// started none before stop is closed. It is one that lasts: before the first process that
// it starts, the runtime tries with another one what the system can do.
func (p *process) newcomer(stop <-chan struct{}) int {
	for last := 0; ; {
		pid := p.child()
		if pid != 0 && pid == last {
			return pid
		}
		last = pid
		select {
		case <-stop:
			return p.child() // of which there is no other any more
		case <-time.After(time.Millisecond):
		}
	}
}

// child returns the pid of a process that runs and that p has started, or 0.
func (p *process) child() int {
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range all {
		var pid, parent int
		var state string
		stat, _ := os.ReadFile(name)
		before, behind, _ := bytes.Cut(stat, []byte(" (")) // the name of its program
		behind = behind[bytes.LastIndexByte(behind, ')')+1:]
		if _, err := fmt.Sscan(string(behind), &state, &parent); err != nil || parent != p.pid || state == "Z" {
			continue
		}
		if _, err := fmt.Sscan(string(before), &pid); err == nil {
			return pid
		}
	}
	return 0
}

// pid returns the process that answers commands.
func (p *proxy) pid(ctx context.Context) (int, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", p.socket)
	}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://parachute/v1/version", nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var is struct {
		PID int `json:"pid"`
	}
	return is.PID, json.NewDecoder(resp.Body).Decode(&is)
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
