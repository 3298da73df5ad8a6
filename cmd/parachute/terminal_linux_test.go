package main_test

import (
	"context"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/matryer/is"

	main "github.com/shahnk19/parachute/cmd/parachute"
)

// onTerminal runs a command line in this process, whose output is a terminal of
// so many columns and rows.
func onTerminal(t *testing.T, env environment, columns, rows uint16, args ...string) *process {
	t.Helper()
	stderr := newOutput()
	return withTerminal(t, env, columns, rows, func(*os.File) io.Writer { return stderr }, stderr, args...)
}

// withTerminal is onTerminal with what standard error is.
func withTerminal(t *testing.T, env environment, columns, rows uint16, stderrOf func(terminal *os.File) io.Writer, stderr *output, args ...string) *process {
	t.Helper()
	terminal, user := openTerminal(t, columns, rows)
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{stdout: newOutput(), stderr: stderr, interrupt: cancel, ended: make(chan struct{})}
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		io.Copy(p.stdout, user) // ends with an error when the terminal is closed
	}()
	go func() {
		defer close(p.ended)
		p.code = main.Run(ctx, append([]string{"parachute"}, args...), env.list(), terminal, stderrOf(terminal))
		terminal.Close()
		<-shown
	}()
	t.Cleanup(func() { p.end(t) })
	return p
}

func TestTablesFitTheTerminal(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	startProxy(t, inProcess, env)
	a, b := newApp(t, "web-1"), newApp(t, "web-2")
	deploy := []string{"deploy", "web", "--target", a.address, "--target", b.address}
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"} {
		deploy = append(deploy, "--host", name+".some.example.com")
	}
	is.Equal(inProcess(t, env, deploy...).wait(t), 0)
	is.Equal(inProcess(t, env, "stop", "web", "--message", strings.Repeat("We are back soon. ", 10)).wait(t), 0)

	for _, columns := range []uint16{40, 80, 120} {
		for _, command := range []string{"list", "status", "certificates"} {
			p := onTerminal(t, env, columns, 50, command)
			is.Equal(p.wait(t), 0)
			for line := range strings.SplitSeq(p.stdout.String(), "\r\n") {
				if utf8.RuneCountInString(line) > int(columns) {
					t.Errorf("%s in %d columns: %q", command, columns, line)
				}
			}
		}
	}
	p := onTerminal(t, env, 40, 50, "list")
	is.Equal(p.wait(t), 0)
	is.True(strings.HasPrefix(p.stdout.String(), "service     web\r\nstate       stopped\r\n")) // a card
	oneLine := "i.some.example.com,j.some.example.com"
	p = onTerminal(t, env, 40, 50, "list", "--wide")
	is.Equal(p.wait(t), 0)
	is.True(strings.Contains(p.stdout.String(), oneLine))
	p = inProcess(t, env, "list")
	is.Equal(p.wait(t), 0)
	is.True(strings.Contains(p.stdout.String(), oneLine)) // a pipe has room for everything
}

func TestLogsAreInColumnsOnATerminalAlone(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	_, address := startProxy(t, inProcess, env)
	a := newApp(t, "web-1")
	is.Equal(inProcess(t, env, "deploy", "web", "--target", a.address).wait(t), 0)
	_, err := get(newClient(t), address, "localhost", "/%1b%5d0;owned")
	is.NoErr(err)

	p := onTerminal(t, env.with(environment{"NO_COLOR": "1"}), 100, 24, "logs", "web")
	is.Equal(p.wait(t), 0)
	is.True(regexp.MustCompile(`(?m)^[A-Z][a-z][a-z] .\d \d\d:\d\d:\d\d  web +200    GET /\x{FFFD}\]0;owned +\d\S+s\r$`).MatchString(p.stdout.String()))
	is.True(!strings.Contains(p.stdout.String(), "\x1b"))
	asLogged := inProcess(t, env, "logs", "web")
	is.Equal(asLogged.wait(t), 0)
	is.True(strings.HasPrefix(asLogged.stdout.String(), `{"time":`))
	p = onTerminal(t, env, 100, 24, "logs", "web", "--json")
	is.Equal(p.wait(t), 0)
	is.Equal(strings.ReplaceAll(p.stdout.String(), "\r\n", "\n"), asLogged.stdout.String())
}
