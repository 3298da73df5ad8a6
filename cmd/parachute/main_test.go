package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	main "github.com/shahnk19/parachute/cmd/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// patience is how long something may take that is bound to happen.
const patience = time.Minute

// holdTime is how long a request is held at most, over all that a test does meanwhile.
const holdTime = 3 * patience

// binary is the path of the program, built when a test first needs it.
var binary func() (string, error)

func TestMain(m *testing.M) {
	// These tests wait more than they work; an explicit -parallel wins.
	flag.Set("test.parallel", "8")
	dir, err := os.MkdirTemp("", "parachute")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := os.Chmod(dir, 0o711); err != nil { // for the tests that run it as another user
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = sync.OnceValues(func() (string, error) {
		path := filepath.Join(dir, "parachute")
		return path, proxytest.Build(path, ".", ".")
	})
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// An environment is what a command sees of the variables.
type environment map[string]string

// list returns e in the form of os.Environ.
func (e environment) list() []string {
	list := []string{}
	for name, value := range e {
		list = append(list, name+"="+value)
	}
	return list
}

// newEnvironment returns places of their own for a proxy and its commands. The
// paths are short, for that of a socket may not be long.
func newEnvironment(t *testing.T) environment {
	t.Helper()
	dir := proxytest.ShortDir(t)
	return environment{
		"PARACHUTE_SOCKET":   filepath.Join(dir, "s"),
		"PARACHUTE_DATA_DIR": filepath.Join(dir, "data"),
		"PARACHUTE_BIND":     "127.0.0.1",
		"HTTP_PORT":          proxytest.FreePort(t),
		"HTTPS_PORT":         "-1",
	}
}

// with returns e and some more.
func (e environment) with(more environment) environment {
	all := maps.Clone(e)
	maps.Copy(all, more)
	return all
}

// A process is a command line that runs.
type process struct {
	stdout, stderr *output
	interrupt      func()
	signal         func(os.Signal) error // nil if it runs in this process
	pid            int
	code           int           // valid when ended is closed
	ended          chan struct{} // closed when it has ended
}

// A launcher runs a command line.
type launcher func(t *testing.T, env environment, args ...string) *process

// inProcess runs a command line in this process.
func inProcess(t *testing.T, env environment, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{stdout: newOutput(), stderr: newOutput(), interrupt: cancel, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.code = main.Run(ctx, append([]string{"parachute"}, args...), env.list(), p.stdout, p.stderr)
	}()
	t.Cleanup(func() { p.end(t) })
	return p
}

// asBinary runs a command line with the program itself.
func asBinary(t *testing.T, env environment, args ...string) *process {
	t.Helper()
	return start(t, nil, env, args)
}

// start runs a command line with the program itself, as a process that has those
// attributes.
func start(t *testing.T, attributes *syscall.SysProcAttr, env environment, args []string) *process {
	t.Helper()
	stdout, stderr := newOutput(), newOutput()
	p := startWith(t, attributes, env, args, stdout, stderr)
	p.stdout, p.stderr = stdout, stderr
	return p
}

// startWith is start with those outputs.
func startWith(t *testing.T, attributes *syscall.SysProcAttr, env environment, args []string, stdout, stderr io.Writer) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = attributes
	return startCommand(t, cmd, env, stdout, stderr)
}

// startCommand starts cmd as a command line of the program, with those outputs.
func startCommand(t *testing.T, cmd *exec.Cmd, env environment, stdout, stderr io.Writer) *process {
	t.Helper()
	cmd.Env = env.list()
	p := &process{stdout: newOutput(), stderr: newOutput(), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.pid = cmd.Process.Pid
	p.signal = cmd.Process.Signal
	p.interrupt = func() { cmd.Process.Signal(os.Interrupt) }
	go func() {
		defer close(p.ended)
		cmd.Wait()
		p.code = cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() { p.end(t) })
	return p
}

// end stops what a test has left running.
func (p *process) end(t *testing.T) {
	p.interrupt()
	select {
	case <-p.ended:
		return
	case <-time.After(patience):
	}
	t.Errorf("it does not end; it said:\n%s%s", p.stdout, p.stderr)
	if p.signal != nil {
		p.signal(syscall.SIGKILL)
	}
}

// wait returns the exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.code
	case <-time.After(patience):
		t.Fatalf("it does not end; it said:\n%s%s", p.stdout, p.stderr)
		return -1
	}
}

// startProxy runs "parachute run" and returns when it serves.
func startProxy(t *testing.T, launch launcher, env environment, args ...string) (p *process, address string) {
	t.Helper()
	p = launch(t, env, append([]string{"run"}, args...)...)
	line := p.stdout.await(t, p, `"msg":"listening"`)
	var listening struct{ Address string }
	if err := json.Unmarshal([]byte(line), &listening); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	return p, listening.Address
}

// An output collects what a process says.
type output struct{ proxytest.Output }

func newOutput() *output { return new(output) }

// await returns the first whole line that has s in it.
func (o *output) await(t *testing.T, p *process, s string) string {
	t.Helper()
	line, err := o.Await(p.ended, patience, func(line string) bool { return strings.Contains(line, s) })
	if err != nil {
		t.Fatalf("%v and never said %q, but:\n%s%s", err, s, p.stdout, p.stderr)
	}
	return line
}

// An app is a target.
type app struct {
	name    string
	address string
	probe   atomic.Int64 // the status that it answers probes with
	pause   time.Duration

	retired atomic.Bool  // it must not be asked any more
	late    atomic.Int64 // how often it was, nevertheless

	entered chan struct{} // gets one for each request for /hold
	release chan struct{} // lets one of them go on
}

func newApp(t *testing.T, name string) *app {
	t.Helper()
	a := &app{name: name, entered: make(chan struct{}, 100), release: make(chan struct{}, 100)}
	a.probe.Store(http.StatusOK)
	s := httptest.NewServer(a)
	a.address = s.Listener.Addr().String()
	t.Cleanup(s.Close)
	return a
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.retired.Load() && r.URL.Path != "/up" { // a probe may have been on its way
		a.late.Add(1)
	}
	switch r.URL.Path {
	case "/up":
		w.WriteHeader(int(a.probe.Load()))
		if a.probe.Load() != http.StatusOK {
			io.WriteString(w, "starting")
		}
		return
	case "/moved":
		http.Redirect(w, r, "https://app1.example.com/up", http.StatusMovedPermanently)
		return
	case "/socket":
		echo(w)
		return
	case "/events":
		count(w, r)
		return
	case "/hold":
		a.entered <- struct{}{}
		select {
		case <-a.release:
		case <-time.After(holdTime):
		}
	}
	if a.pause > 0 {
		time.Sleep(a.pause)
	}
	io.WriteString(w, a.name)
}

// get asks a proxy for a path of a host and returns the status and the body.
func get(client *http.Client, proxy, host, path string) (string, error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+proxy+path, nil)
	if err != nil {
		return "", err
	}
	r.Host = host
	res, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %s", res.StatusCode, strings.TrimSpace(string(body))), nil
}

// newClient returns a client whose connections end with the test.
func newClient(t *testing.T) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// A load is many clients that ask for the same thing all the time, each on one
// connection.
type load struct {
	crowd
	cancel context.CancelFunc
}

func startLoad(proxy string, clients int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	l.start(clients, func(_ int, got *atomic.Int64) error { return ask(ctx, proxy, got) })
	return l
}

// ask asks until ctx ends or something fails. An http.Client would ask once
// more where a connection is lost, and say nothing of it.
func ask(ctx context.Context, proxy string, got *atomic.Int64) error {
	conn, err := net.Dial("tcp", proxy)
	if err != nil {
		return err
	}
	defer func() { conn.Close() }()
	for br := bufio.NewReader(conn); ctx.Err() == nil; got.Add(1) {
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return err
		}
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK || !strings.HasPrefix(string(body), "web-") {
			return fmt.Errorf("%s %s", res.Status, body)
		}
		if !res.Close {
			continue
		}
		conn.Close() // as the proxy has announced
		if conn, err = net.Dial("tcp", proxy); err != nil {
			return err
		}
		br.Reset(conn)
	}
	return nil
}

// stop returns how many requests were served, and what failed.
func (l *load) stop() (int64, error) {
	l.cancel()
	l.done.Wait()
	return l.all(), l.failed()
}
