package main_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

func TestStatusIsWatchedUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	_, proxy := startProxy(t, inProcess, env)
	a := newApp(t, "web-1")
	is.Equal(inProcess(t, env, "deploy", "web", "--target", a.address).wait(t), 0)
	is.Equal(inProcess(t, env, "deploy", "shop", "--target", a.address, "--host", "shop.test").wait(t), 0)
	answer, err := get(newClient(t), proxy, "any.test", "/")
	is.NoErr(err)
	is.Equal(answer, "200 web-1")

	text := inProcess(t, env, "status", "web", "--watch")
	lines := inProcess(t, env, "status", "web", "--watch", "--json")
	text.stdout.await(t, text, "state    serving since")
	var told []parachute.Status
	is.NoErr(json.Unmarshal([]byte(lines.stdout.await(t, lines, `"state":"serving"`)), &told)) // one line has all of it
	is.Equal(len(told), 1)
	is.Equal(told[0].Service, "web")
	is.True(told[0].Live.Targets[0].Traffic.P50 > 0) // numbers come through the socket

	is.Equal(inProcess(t, env, "pause", "web").wait(t), 0)
	text.stdout.await(t, text, "state    paused since")
	lines.stdout.await(t, lines, `"state":"paused"`)
	is.True(strings.Contains(text.stdout.String(), "\n\nservice  web\n")) // an empty line is between
	is.True(!strings.Contains(text.stdout.String(), "\x1b"))              // it is no terminal
	for _, p := range []*process{text, lines} {
		p.interrupt()
		is.Equal(p.wait(t), 0)
		is.Equal(p.stderr.String(), "")
	}

	gone := inProcess(t, env, "status", "web", "--watch")
	gone.stdout.await(t, gone, "paused")
	is.Equal(inProcess(t, env, "remove", "web").wait(t), 0)
	is.Equal(gone.wait(t), 1)
	is.True(strings.Contains(gone.stderr.String(), "status web: no such service"))
}

func TestStatusSaysWhereThePageIs(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	startProxy(t, inProcess, env)
	status := inProcess(t, env, "status", "--web")
	is.Equal(status.wait(t), 1)
	is.True(strings.Contains(status.stderr.String(), "--page-port 9000")) // how to turn it on
}
