package main_test

import (
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	main "github.com/shahnk19/parachute/cmd/parachute"
)

func TestLogsPrintsWhatTheProxyHasLogged(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	proxy, address := startProxy(t, inProcess, env)
	web, api := newApp(t, "web"), newApp(t, "api")
	is.Equal(inProcess(t, env, "deploy", "web", "--target", web.address).wait(t), 0)
	is.Equal(inProcess(t, env, "deploy", "api", "--target", api.address, "--path-prefix", "/api").wait(t), 0)
	for _, path := range []string{"/", "/api", "/%7f"} {
		answer, err := get(newClient(t), address, "localhost", path)
		is.NoErr(err)
		is.True(strings.HasPrefix(answer, "200 "))
	}

	all := inProcess(t, env, "logs")
	is.Equal(all.wait(t), 0)
	ofWeb := inProcess(t, env, "logs", "web")
	is.Equal(ofWeb.wait(t), 0)
	last := inProcess(t, env, "logs", "web", "-n", "1")
	is.Equal(last.wait(t), 0)
	is.Equal(inProcess(t, env, "remove", "web").wait(t), 0)
	removed := inProcess(t, env, "logs", "web")
	is.Equal(removed.wait(t), 0) // of it there still are lines
	is.True(strings.HasPrefix(removed.stdout.String(), ofWeb.stdout.String()))
	is.True(strings.Contains(removed.stdout.String(), `"msg":"removed"`))
	proxy.interrupt()
	is.Equal(proxy.wait(t), 0)

	logged := strings.ReplaceAll(proxy.stdout.String(), "\x7f", `\u007f`)
	is.True(strings.HasPrefix(logged, all.stdout.String())) // the same lines, and the terminal is safe
	is.True(strings.Contains(all.stdout.String(), `"path":"/\u007f"`))
	var lines []string
	for line := range strings.Lines(all.stdout.String()) {
		if strings.Contains(line, `"service":"web"`) {
			lines = append(lines, line)
		}
	}
	is.Equal(ofWeb.stdout.String(), strings.Join(lines, "")) // its own alone
	is.Equal(last.stdout.String(), lines[len(lines)-1])
}

func TestLogsFollowsUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	proxy, address := startProxy(t, inProcess, env)
	following := inProcess(t, env, "logs", "-f")
	following.stdout.await(t, following, `"msg":"started"`)
	staying := inProcess(t, env, "logs", "--follow", "--lines", "1")
	staying.stdout.await(t, staying, `"msg":"listening"`)
	_, err := get(newClient(t), address, "localhost", "/")
	is.NoErr(err)
	following.stdout.await(t, following, `"msg":"Request"`)
	following.interrupt()
	is.Equal(following.wait(t), 0)
	is.Equal(following.stderr.String(), "")

	proxy.interrupt()
	is.Equal(proxy.wait(t), 0)
	is.Equal(staying.wait(t), 5) // no proxy answers any more
	is.True(strings.Contains(staying.stdout.String(), `"msg":"stopping"`))
	is.True(!strings.Contains(staying.stdout.String(), `"msg":"started"`)) // of those that were there, one
	is.True(strings.HasPrefix(staying.stderr.String(), "parachute: logs: the proxy on "+env["PARACHUTE_SOCKET"]+" has ended\n  "))
}

func TestLogsOfAProxyWithoutAccessLogAreItsOwn(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	_, address := startProxy(t, inProcess, env, "--no-access-log")
	a := newApp(t, "web")
	is.Equal(inProcess(t, env, "deploy", "web", "--target", a.address).wait(t), 0)
	_, err := get(newClient(t), address, "localhost", "/")
	is.NoErr(err)
	logs := inProcess(t, env, "logs", "web")
	is.Equal(logs.wait(t), 0)
	is.True(strings.Contains(logs.stdout.String(), `"msg":"switched"`))
	is.True(!strings.Contains(logs.stdout.String(), `"msg":"Request"`))
	unknown := inProcess(t, env, "logs", "shop")
	is.Equal(unknown.wait(t), 1)
	is.Equal(unknown.stderr.String(), "parachute: logs: shop: no such service, and no line about it\n  parachute list shows what is deployed\n")
}

// A closedPipe is output that nobody reads any more.
type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) {
	return 0, &fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}
}

func TestCommandEndsQuietlyWhenNobodyReadsIt(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	startProxy(t, inProcess, env)
	a := newApp(t, "web")
	is.Equal(inProcess(t, env, "deploy", a.address).wait(t), 0)
	stderr := newOutput()
	for _, command := range [][]string{{"logs", "-f"}, {"list"}, {"list", "--json"}, {"status", "--watch"}, {"help"}, {"deploy", "--help"}} {
		is.Equal(main.Run(t.Context(), append([]string{"parachute"}, command...), env.list(), closedPipe{}, stderr), 0) // command
	}
	is.Equal(stderr.String(), "")
}

func TestPrintedLineCannotTakeControlOfTheTerminal(t *testing.T) {
	is := is.New(t)
	for line, want := range map[string]string{
		"":                                   "",
		"{\"path\":\"/caf\u00e9 \u4e2d\"}\n": "{\"path\":\"/caf\u00e9 \u4e2d\"}\n",
		"\"\u009b31m\u007f\u202e\x1b\r\t\"":  `"\u009b31m\u007f\u202e\u001b\u000d\u0009"`,
		"\"\U000e0001\"":                     `"\udb40\udc01"`,
		"\xff":                               `\ufffd`,
	} {
		is.Equal(string(main.Escaped([]byte(line))), want)
	}
}
