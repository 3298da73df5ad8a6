package main_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
)

// newProgram returns the path of a shell script.
func newProgram(t *testing.T, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	syscall.ForkLock.RLock() // or a process that another test starts just then keeps it open, and nobody can run it
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+lines+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProgramBeforeTheSwitchIsToldTheTargetsAndDecides(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t).with(environment{"GREETING": "hello"})
	_, address := startProxy(t, asBinary, env)
	old, next := newApp(t, "old"), newApp(t, "next")
	is.Equal(deploy(t, env, old), 0)
	tell := newProgram(t, `echo "$GREETING $# $1 $PARACHUTE_TARGETS $PARACHUTE_SERVICE $PARACHUTE_GENERATION $PARACHUTE_RELEASE"; exit 7`)
	serves := func() string {
		answer, err := get(newClient(t), address, "localhost", "/")
		is.NoErr(err)
		return answer
	}

	p := inProcess(t, env, "deploy", "default", "--target", next.address, "--read-target", old.address, "--release", "v7", "--pre-switch", tell, "--", "--two words", "x")
	is.Equal(p.wait(t), 1)
	is.True(strings.Contains(p.stderr.String(), fmt.Sprintf("hello 2 --two words %s %s default 2 v7\n", next.address, old.address)))
	is.True(strings.Contains(p.stderr.String(), "parachute: deploy default: --pre-switch "+tell+": exit status 7\n  nothing was changed; default still serves "+old.address+"\n  what the program has printed"))
	is.Equal(serves(), "200 old")
	is.True(strings.Contains(p.stdout.String(), "pre-switch"))

	for name, args := range map[string][]string{
		"alone":       {"--pre-switch", "true"},
		"behind":      {"--pre-switch", "--quiet", "--", newProgram(t, `test "$1" = --flag`), "--flag"},
		"with equals": {"--pre-switch=true", "--", "-x"},
		"with --keep": {"--keep", "--pre-switch", "true"},
	} {
		t.Log(name)
		is.Equal(inProcess(t, env, append([]string{"deploy", "default", "--target", next.address}, args...)...).wait(t), 0)
		is.Equal(serves(), "200 next")
		is.Equal(deploy(t, env, old), 0)
	}
	p = inProcess(t, env, "deploy", "default", "--target", next.address, "--json", "--pre-switch", newProgram(t, "echo some words"))
	is.Equal(p.wait(t), 0)
	for line := range strings.Lines(p.stdout.String()) {
		is.True(strings.HasPrefix(line, "{")) // nothing but JSON
	}
	is.Equal(inProcess(t, env, "deploy", "default", "--target", next.address, "--dry-run", "--pre-switch", "false").wait(t), 0) // it is not run
}

func TestProgramBeforeTheSwitchThatCannotBeRunIsNamedAndNothingChanged(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--pre-switch":              "names no program",
		"--pre-switch --":           "names no program",
		"--pre-switch= -- x":        "executable file not found",
		"--pre-switch -- /nowhere":  "/nowhere",
		"--pre-switch /dev/null":    "permission denied",
		"--pre-switch /nowhere --x": "unknown flag --x",
		"-- true":                   "unexpected argument true",
	} {
		is := is.New(t)
		p := inProcess(t, newEnvironment(t), append([]string{"deploy", "web", "--target", "web-1:3000"}, strings.Fields(args)...)...)
		is.Equal(p.wait(t), 2)
		t.Log(args, p.stderr)
		is.True(strings.Contains(p.stderr.String(), want))
	}
}

func TestProgramBeforeTheSwitchIsKilledWithItsDeploy(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		end  func(t *testing.T, env environment, waiting *process, newer *app)
		code int
		said string
	}{
		"its timeout":   {func(*testing.T, environment, *process, *app) {}, 1, "nobody has agreed to the switch within 8s"},
		"a newer one":   {func(t *testing.T, env environment, _ *process, newer *app) { deploy(t, env, newer) }, 4, "superseded"},
		"an interrupt":  {func(_ *testing.T, _ environment, p *process, _ *app) { p.signal(os.Interrupt) }, 1, "nothing was changed"},
		"a lost client": {func(_ *testing.T, _ environment, p *process, _ *app) { p.signal(syscall.SIGKILL) }, -1, ""},
		"a removal": {func(t *testing.T, env environment, _ *process, _ *app) {
			inProcess(t, env, "remove", "default").wait(t)
		}, 4, "superseded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			env := newEnvironment(t)
			proxy, _ := startProxy(t, asBinary, env)
			old, next, newer := newApp(t, "old"), newApp(t, "next"), newApp(t, "newer")
			is.Equal(deploy(t, env, old), 0)
			program := newProgram(t, `sleep 1000 &
echo "pids $$ $!"
exec sleep 1000`)
			timeout := "1m"
			if name == "its timeout" {
				timeout = "8s" // of which the program needs a part to start
			}
			waiting := asBinary(t, env, "deploy", next.address, "--deploy-timeout", timeout, "--pre-switch", program)
			line := waiting.stderr.await(t, waiting, "pids ")
			pids := strings.Fields(line)[1:]
			tt.end(t, env, waiting, newer)
			is.Equal(waiting.wait(t), tt.code)
			is.True(strings.Contains(waiting.stderr.String(), tt.said))
			proxy.stdout.await(t, proxy, `"msg":"failed"`) // the proxy has given it up
			for i, text := range pids {
				if i > 0 && name == "a lost client" {
					pid, _ := strconv.Atoi(text)
					syscall.Kill(pid, syscall.SIGKILL) // nobody could
					continue
				}
				pid, err := strconv.Atoi(text)
				is.NoErr(err)
				awaitEnd(t, pid)
			}
			for _, s := range list(t, env) {
				is.True(s.Deployment.Targets[0] != next.address) // nothing was changed
			}
		})
	}
}

func TestProgramBeforeTheSwitchRunsAgainAfterAnUpgrade(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	_, address := startProxy(t, asBinary, env)
	endProxy(t, env)
	old, next := newApp(t, "old"), newApp(t, "next")
	is.Equal(deploy(t, env, old), 0)
	dir := t.TempDir()
	program := newProgram(t, fmt.Sprintf(`cd %s
if mkdir first; then echo "first $$"; exec sleep 1000; fi
echo second`, dir))
	waiting := asBinary(t, env, "deploy", next.address, "--pre-switch", program)
	first, err := strconv.Atoi(strings.Fields(waiting.stderr.await(t, waiting, "first "))[1])
	is.NoErr(err)
	is.Equal(inProcess(t, env, "upgrade").wait(t), 0)
	is.Equal(waiting.wait(t), 0)
	is.True(strings.Contains(waiting.stderr.String(), "second\n"))
	awaitEnd(t, first)
	answer, err := get(newClient(t), address, "localhost", "/")
	is.NoErr(err)
	is.Equal(answer, "200 next")
}

// awaitEnd returns when a process has ended.
func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	for began := time.Now(); !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH); {
		if state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && strings.Contains(string(state), ") Z ") {
			return // whoever has to wait for it does not
		}
		if time.Since(began) > patience {
			t.Fatalf("process %d goes on", pid)
		}
	}
}
