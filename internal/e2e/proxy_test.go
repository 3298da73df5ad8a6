package e2e_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// A proxy is the binary that runs, with a data directory and a socket of its
// own.
type proxy struct {
	dir  string
	args []string

	// Of the process that runs now.
	cmd   *exec.Cmd
	said  *proxytest.Output
	ended chan struct{}

	http, https, http3 string // addresses; http3 may be empty
}

// startProxy runs a proxy that gets its certificates from ca, on free ports.
// It returns when it serves, and is stopped when the test ends.
func startProxy(t *testing.T, ca *authority, args ...string) *proxy {
	t.Helper()
	dir := proxytest.ShortDir(t)
	p := &proxy{dir: dir, args: append([]string{
		"run", "--bind", "127.0.0.1", "--http-port", "0", "--https-port", "0",
		"--acme-directory", ca.directory, "--acme-ca-root", ca.rootFile, "--acme-email", "ops@example.com",
		"--data-dir", filepath.Join(dir, "data"), "--socket", filepath.Join(dir, "s"),
	}, args...)}
	p.start(t)
	t.Cleanup(func() { p.stop(t) })
	return p
}

func (p *proxy) start(t *testing.T) {
	t.Helper()
	p.said, p.ended = new(proxytest.Output), make(chan struct{})
	p.cmd = exec.Command(binary, p.args...)
	p.cmd.Env = []string{}
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.reap()
	p.http = p.address(t, "http")
	p.https = p.address(t, "https")
	if slices.Contains(p.args, "--http3") {
		p.http3 = p.address(t, "http3")
	}
}

func (p *proxy) reap() {
	defer close(p.ended)
	p.cmd.Wait()
}

// stop ends the proxy as an operator does. What is not a clean end, a data race
// among them, fails the test.
func (p *proxy) stop(t *testing.T) {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.cmd.Process.Kill()
		<-p.ended
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the proxy ended with %d; it said:\n%s", code, p.said)
	} else if t.Failed() {
		t.Logf("the proxy said:\n%s", p.said)
	}
}

// kill ends the proxy as a power cut does.
func (p *proxy) kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

// restart runs the proxy again, on other ports.
func (p *proxy) restart(t *testing.T) {
	t.Helper()
	p.stop(t)
	p.start(t)
}

// address returns where the proxy listens for protocol, once it says so.
func (p *proxy) address(t *testing.T, protocol string) string {
	t.Helper()
	line := p.await(t, func(line map[string]any) bool {
		return line["msg"] == "listening" && line["protocol"] == protocol
	})
	return line["address"].(string)
}

// await returns the first line of the log that matches.
func (p *proxy) await(t *testing.T, matches func(line map[string]any) bool) map[string]any {
	t.Helper()
	var found map[string]any
	_, err := p.said.Await(p.ended, patience, func(text string) bool {
		var line map[string]any
		if json.Unmarshal([]byte(text), &line) != nil || !matches(line) {
			return false
		}
		found = line
		return true
	})
	if err != nil {
		t.Fatalf("%v and said no such line, but:\n%s", err, p.said)
	}
	return found
}

// command runs a command against the proxy and returns what it printed, errors
// too, and its exit code.
func (p *proxy) command(t *testing.T, args ...string) (printed string, code int) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, append(args, "--socket", filepath.Join(p.dir, "s"))...)
	cmd.Env = []string{}
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// deploy deploys service with that target, which must succeed.
func (p *proxy) deploy(t *testing.T, service string, target *app, args ...string) (printed string) {
	t.Helper()
	printed, code := p.command(t, append([]string{"deploy", service, "--target", target.address}, args...)...)
	if code != 0 {
		t.Fatalf("deploy ended with %d:\n%s", code, printed)
	}
	return printed
}

// certificates returns what "parachute certificates" says.
func (p *proxy) certificates(t *testing.T) map[string]parachute.Certificate {
	t.Helper()
	printed, code := p.command(t, "certificates", "--json")
	var all []parachute.Certificate
	if err := json.Unmarshal([]byte(printed), &all); code != 0 || err != nil {
		t.Fatalf("certificates ended with %d (%v):\n%s", code, err, printed)
	}
	byHost := make(map[string]parachute.Certificate)
	for _, c := range all {
		byHost[c.Host] = c
	}
	return byHost
}

// secured returns the flags of a deploy that waits for the certificates of
// hosts.
func secured(hosts ...string) []string {
	return []string{"--tls", "--host", strings.Join(hosts, ","), "--wait-certificate", "--deploy-timeout", patience.String()}
}
