package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// These tests run the program itself.

func TestHundredDeploysUnderLoadCostNobodyARequest(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	_, address := startProxy(t, asBinary, env)
	apps := []*app{newApp(t, "web-0"), newApp(t, "web-1")}
	for _, a := range apps {
		a.pause = 50 * time.Millisecond // so that every connection is busy at every switch
	}
	is.Equal(deploy(t, env, apps[0]), 0)

	load := startLoad(address, 32)
	for i := range 100 {
		next, previous := apps[(i+1)%2], apps[i%2]
		next.retired.Store(false)
		is.Equal(deploy(t, env, next), 0)
		previous.retired.Store(true)
	}
	served, errs := load.stop()
	is.NoErr(errs)                          // of the requests
	is.True(served >= 100)                  // there was a load
	is.Equal(apps[0].late.Load(), int64(0)) // requests after it had been replaced
	is.Equal(apps[1].late.Load(), int64(0)) // requests after it had been replaced
}

func TestRunningRequestIsAnsweredByTheOldTargetWhileTheDeployWaits(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	_, address := startProxy(t, asBinary, env)
	old, next := newApp(t, "old"), newApp(t, "next")
	is.Equal(deploy(t, env, old), 0)

	slow := hold(t, address, old)
	waiting := asBinary(t, env, "deploy", next.address)
	waiting.stdout.await(t, waiting, "1 request left")
	answer, err := get(newClient(t), address, "localhost", "/")
	is.NoErr(err)
	is.Equal(answer, "200 next") // new requests go to the new target
	answeredAfter(2*time.Second, old)
	is.Equal(<-slow, "200 old")
	is.Equal(waiting.wait(t), 0)
}

func TestNewerDeployOfAServiceWins(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	_, address := startProxy(t, asBinary, env)
	sick, well := newApp(t, "sick"), newApp(t, "well")
	sick.probe.Store(http.StatusServiceUnavailable)

	older := asBinary(t, env, "deploy", sick.address)
	older.stdout.await(t, older, "GET /up 503")
	is.Equal(deploy(t, env, well), 0)
	is.Equal(older.wait(t), 4)
	is.True(strings.Contains(older.stderr.String(), "superseded"))
	answer, err := get(newClient(t), address, "localhost", "/")
	is.NoErr(err)
	is.Equal(answer, "200 well")
}

func TestKilledProxyComesBackWithTheStateBeforeOrAfter(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	apps := []*app{newApp(t, "web-0"), newApp(t, "web-1")}
	proxy, _ := startProxy(t, asBinary, env)
	is.Equal(deploy(t, env, apps[0]), 0)

	before := 0
	for round := range 10 {
		after := 1 - before
		changing := asBinary(t, env, "deploy", apps[after].address)
		changing.stdout.await(t, changing, "connecting")
		killAfter(t, proxy, time.Duration(round)*time.Millisecond) // the whole deploy takes a few
		var address string
		proxy, address = startProxy(t, asBinary, env)
		code := changing.wait(t)

		services := list(t, env)
		is.Equal(len(services), 1) // it is the same service
		serves := services[0].Deployment.Targets[0]
		is.True(serves == apps[before].address || serves == apps[after].address)
		if code == 0 {
			is.Equal(serves, apps[after].address) // what was reported as done is there
		} else if strings.Contains(changing.stderr.String(), "nothing was changed") {
			is.Equal(serves, apps[before].address) // and so is what was reported as unchanged
		}
		answer, err := get(newClient(t), address, "localhost", "/")
		is.NoErr(err)
		is.True(strings.HasPrefix(answer, "200 web-"))
		if serves == apps[after].address {
			before = after
		}
	}
}

func TestSecondProxyIsRefusedWithThePidOfTheFirst(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	first, address := startProxy(t, asBinary, env)
	pid := fmt.Sprintf("pid %d", first.pid)

	sameData := asBinary(t, env.with(environment{"PARACHUTE_SOCKET": env["PARACHUTE_SOCKET"] + "2"}), "run")
	is.Equal(sameData.wait(t), 1)
	is.True(strings.Contains(sameData.stderr.String(), pid))
	sameSocket := asBinary(t, env.with(environment{"PARACHUTE_DATA_DIR": env["PARACHUTE_DATA_DIR"] + "2"}), "run")
	is.Equal(sameSocket.wait(t), 1)
	is.True(strings.Contains(sameSocket.stderr.String(), pid))

	_, port, err := net.SplitHostPort(address)
	is.NoErr(err)
	other := newEnvironment(t)
	samePort := asBinary(t, other, "run", "--http-port", port)
	is.Equal(samePort.wait(t), 1)
	is.True(strings.Contains(samePort.stderr.String(), "--http-port")) // says what to do
	startProxy(t, asBinary, other)                                     // nothing was left behind by the refused ones
	is.Equal(asBinary(t, env, "list").wait(t), 0)                      // nor taken from the first
}

func TestPortComesFromFlagsAndVariables(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env  func(address string) environment
		args func(port string) []string
	}{
		"flag": {args: func(port string) []string { return []string{"--http-port", port} }},
		"HTTP_PORT": {env: func(port string) environment {
			return environment{"HTTP_PORT": port}
		}},
		"PARACHUTE_HTTP_PORT": {env: func(port string) environment {
			return environment{"PARACHUTE_HTTP_PORT": port, "HTTP_PORT": "tcp://10.0.0.1:80"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			port := proxytest.FreePort(t)
			env := newEnvironment(t)
			if test.env != nil {
				env = env.with(test.env(port))
			}
			var args []string
			if test.args != nil {
				args = test.args(port)
			}
			_, address := startProxy(t, asBinary, env, args...)
			is.Equal(address, net.JoinHostPort("127.0.0.1", port))
		})
	}
}

func TestHelpRunShowsOptionsAndTheirVariables(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	help := asBinary(t, nil, "help", "run")
	is.Equal(help.wait(t), 0)
	for _, s := range []string{"--http-port=80", "$PARACHUTE_HTTP_PORT, $HTTP_PORT", "--data-dir", "($PARACHUTE_DATA_DIR)", "SIGTERM"} {
		is.True(strings.Contains(help.stdout.String(), s)) // is in the help
	}
}

func TestSIGTERMLetsRunningRequestsFinish(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	proxy, address := startProxy(t, asBinary, env)
	a := newApp(t, "web")
	is.Equal(deploy(t, env, a), 0)
	running := hold(t, address, a)

	is.NoErr(proxy.signal(syscall.SIGTERM))
	proxy.stdout.await(t, proxy, `"msg":"stopping"`)
	refused := asBinary(t, env, "deploy", newApp(t, "next").address)
	is.Equal(refused.wait(t), 1) // changes are refused
	a.release <- struct{}{}
	is.Equal(<-running, "200 web")
	is.Equal(proxy.wait(t), 0)
	is.True(strings.Contains(proxy.stdout.String(), `"path":"/hold"`)) // its line was written
	_, err := net.Dial("tcp", address)
	is.True(err != nil) // nobody listens
	_, err = os.Lstat(env["PARACHUTE_SOCKET"])
	is.True(errors.Is(err, os.ErrNotExist)) // the socket is gone
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	proxy, address := startProxy(t, asBinary, env)
	a := newApp(t, "web")
	is.Equal(deploy(t, env, a), 0)
	running := hold(t, address, a)

	is.NoErr(proxy.signal(syscall.SIGTERM))
	proxy.stdout.await(t, proxy, `"msg":"stopping"`)
	is.NoErr(proxy.signal(syscall.SIGINT))
	is.Equal(proxy.wait(t), 1)
	is.True(strings.HasPrefix(<-running, "error")) // it was cut off
	a.release <- struct{}{}
	startProxy(t, asBinary, env) // what the first one left is no hindrance
}

func TestSIGTERMEndsAProxyWhoseOutputIsAFullPipe(t *testing.T) {
	for name, tt := range map[string]struct {
		signals int
		told    bool // standard error is read
	}{
		"once":       {1, true},
		"once, both": {1, false},
		"twice":      {2, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			out, in, err := os.Pipe()
			is.NoErr(err)
			defer out.Close()
			defer in.Close()
			fill(t, in)
			env := newEnvironment(t)
			stderr, said := io.Writer(in), newOutput()
			if tt.told {
				stderr = said
			}
			proxy := startWith(t, nil, env, []string{"run"}, in, stderr)
			a := newApp(t, "web")
			for deploy(t, env, a) != 0 { // until it is there
			}
			if tt.signals > 1 { // the first must not have ended it when the second comes
				hold(t, "127.0.0.1:"+env["HTTP_PORT"], a)
				defer func() { a.release <- struct{}{} }()
			}
			for range tt.signals {
				is.NoErr(proxy.signal(syscall.SIGTERM))
				for deploy(t, env, a) == 0 { // until it has heard that
				}
			}
			is.Equal(proxy.wait(t), tt.signals-1)
			is.Equal(strings.Contains(said.String(), "its last lines are lost"), tt.told)
		})
	}
}

// fill writes to a pipe as much as it takes.
func fill(t *testing.T, pipe *os.File) {
	t.Helper()
	sys, err := pipe.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var full error
	err = sys.Write(func(fd uintptr) bool {
		for b := make([]byte, 1<<20); full == nil; {
			_, full = syscall.Write(int(fd), b)
		}
		return true
	})
	if err != nil || full != syscall.EAGAIN {
		t.Fatal(err, full)
	}
}

func TestShutdownTimeoutCutsRequestsOff(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	proxy, address := startProxy(t, asBinary, env, "--shutdown-timeout", "50ms")
	a := newApp(t, "web")
	is.Equal(deploy(t, env, a), 0)
	running := hold(t, address, a)

	is.NoErr(proxy.signal(syscall.SIGTERM))
	is.Equal(proxy.wait(t), 0)
	is.True(!strings.HasPrefix(<-running, "200")) // it was cut off
	is.True(strings.Contains(proxy.stdout.String(), "requests were cut off"))
	a.release <- struct{}{}
}

func TestDeployInterruptedBeforeTheSwitchChangesNothing(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	_, address := startProxy(t, asBinary, env)
	old, sick := newApp(t, "old"), newApp(t, "sick")
	sick.probe.Store(http.StatusServiceUnavailable)
	is.Equal(deploy(t, env, old), 0)

	waiting := asBinary(t, env, "deploy", sick.address)
	waiting.stdout.await(t, waiting, "GET /up 503")
	is.NoErr(waiting.signal(os.Interrupt))
	is.Equal(waiting.wait(t), 1)
	is.True(strings.Contains(waiting.stderr.String(), "nothing was changed"))
	is.Equal(list(t, env)[0].Deployment.Targets, []string{old.address})
	answer, err := get(newClient(t), address, "localhost", "/")
	is.NoErr(err)
	is.Equal(answer, "200 old")
}

func TestDeployInterruptedAfterTheSwitchIsNotDecided(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	_, address := startProxy(t, asBinary, env)
	old, next := newApp(t, "old"), newApp(t, "next")
	is.Equal(deploy(t, env, old), 0)
	running := hold(t, address, old)

	draining := asBinary(t, env, "deploy", next.address)
	draining.stdout.await(t, draining, "1 request left")
	is.NoErr(draining.signal(os.Interrupt))
	is.Equal(draining.wait(t), 3) // for the new version may have to be taken back
	is.True(strings.Contains(draining.stderr.String(), "stop neither yet"))
	old.release <- struct{}{}
	is.Equal(<-running, "200 old") // and it did go on
}

func TestDeployThatCutsRequestsOffSaysHowMany(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	_, address := startProxy(t, asBinary, env)
	old, next := newApp(t, "old"), newApp(t, "next")
	is.Equal(deploy(t, env, old), 0)
	running := hold(t, address, old)

	cutting := asBinary(t, env, "deploy", next.address, "--drain-timeout", "0")
	is.Equal(cutting.wait(t), 0)
	is.True(strings.Contains(cutting.stderr.String(), "warning: 1 request cut off"))
	is.True(strings.HasPrefix(<-running, "504")) // before its answer began
	old.release <- struct{}{}
}

// deploy deploys a as the service without hosts and returns the exit code. Like
// list it is for what a test does on the way, and costs no process.
func deploy(t *testing.T, env environment, a *app) int {
	t.Helper()
	p := inProcess(t, env, "deploy", a.address)
	code := p.wait(t)
	if code != 0 {
		t.Logf("deploy of %s:\n%s%s", a.name, p.stdout, p.stderr)
	}
	return code
}

// list returns what "parachute list" says.
func list(t *testing.T, env environment) (services []parachute.Status) {
	t.Helper()
	p := inProcess(t, env, "list", "--json")
	if p.wait(t) != 0 {
		t.Fatal(p.stderr)
	}
	if err := json.Unmarshal([]byte(p.stdout.String()), &services); err != nil {
		t.Fatal(err)
	}
	return services
}

// hold sends a request that a keeps until it is released, and returns when it
// has arrived. The answer, or "error", is sent to the channel.
func hold(t *testing.T, proxy string, a *app) <-chan string {
	t.Helper()
	answers := make(chan string, 1)
	client := newClient(t)
	client.Timeout = holdTime
	go func() {
		answer, err := get(client, proxy, "localhost", "/hold")
		if err != nil {
			answer = "error: " + err.Error()
		}
		answers <- answer
	}()
	select {
	case <-a.entered:
	case answer := <-answers:
		t.Fatal(answer)
	case <-time.After(patience):
		t.Fatal("the request does not arrive")
	}
	return answers
}

// answeredAfter lets go of a request after as long as an app may take for it.
func answeredAfter(d time.Duration, a *app) {
	<-time.After(d)
	a.release <- struct{}{}
}

// killAfter kills p at a moment of the test's choice.
func killAfter(t *testing.T, p *process, d time.Duration) {
	t.Helper()
	<-time.After(d)
	if err := p.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.wait(t)
}
