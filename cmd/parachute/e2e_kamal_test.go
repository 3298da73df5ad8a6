package main_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	main "github.com/shahnk19/parachute/cmd/parachute"
)

func TestBinaryServesWhatAKamalProxyHasServed(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	one, other := newApp(t, "main"), newApp(t, "other")
	state, err := os.ReadFile("internal/kamal/testdata/kamal-proxy.state")
	is.NoErr(err)
	dir := env["PARACHUTE_DATA_DIR"]
	is.NoErr(os.MkdirAll(dir, 0o700))
	is.NoErr(os.WriteFile(filepath.Join(dir, "kamal-proxy.state"), []byte(strings.NewReplacer(
		"127.0.0.1:3001", one.address, "127.0.0.1:3002", other.address, `"port":3002`, `"port":`+portOf(other.address),
	).Replace(string(state))), 0o600))

	_, address := startProxy(t, asBinary, env)
	client := newClient(t)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, tt := range []struct{ host, path, want string }{
		{"any.example.com", "/", "200 main"},
		{"slash.example.com", "/app", "200 main"},
		{"twice.example.com", "/", "200 main"},
		{"ok.example.org", "/", "200 main"},
		{"x.example.net", "/", "200 main"},
		{"pages.example.com", "/", "200 main"},  // without its pages, which are not there
		{"static.example.com", "/", "200 main"}, // without its certificate, likewise
		{"auto.example.com", "/", "200 main"},   // there is no HTTPS here
		{"full.example.com", "/", "200 other"},
		{"space.example.com", "/", "200 main"},
		{"roll.example.com", "/", "200 main"},
		{"slash.example.com", "/", "404 404 Not Found"},
		{"stopped.example.com", "/", "503 503 Service Unavailable: Back <soon>"},
	} {
		answer, err := get(client, address, tt.host, tt.path)
		is.NoErr(err)
		is.Equal(answer, tt.want) // tt.host
	}
	for _, host := range []string{"both.example.com", "a.example.com"} {
		answer, err := get(client, address, host, "/api")
		is.NoErr(err)
		is.True(strings.HasPrefix(answer, "200 ")) // one of its targets
	}
	impatient := &http.Client{Timeout: 100 * time.Millisecond}
	_, err = get(impatient, address, "paused.example.com", "/")
	is.True(errors.Is(err, context.DeadlineExceeded)) // it is held
	for _, s := range list(t, env) {
		is.True(s.State != parachute.StateFailed)
	}
	is.Equal(asBinary(t, env, "deploy", "my service", "--target", other.address, "--host", "space.example.com").wait(t), 0)
	answer, err := get(client, address, "space.example.com", "/")
	is.NoErr(err)
	is.Equal(answer, "200 other")
}

// Whoever runs a script for kamal-proxy expects that of it.
func TestRolloutSetLeavesVisitorsWithoutACookieAsKamalProxyDoes(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	startProxy(t, inProcess, env)
	first, second := newApp(t, "first"), newApp(t, "second")
	is.Equal(inProcess(t, env, "deploy", "web", "--target", first.address).wait(t), 0)
	is.Equal(inProcess(t, env, "rollout", "deploy", "web", "--target", second.address).wait(t), 0)
	for _, tt := range []struct {
		program, flag string
		want          bool
	}{
		{"parachute", "--quiet", false},
		{"parachute", "--cookie-only", true},
		{"kamal-proxy", "--quiet", true},
		{"/usr/local/bin/kamal-proxy", "--no-cookie-only", false},
	} {
		stdout, stderr := newOutput(), newOutput()
		code := main.Run(t.Context(), []string{tt.program, "rollout", "set", "web", "--percent", "50", tt.flag}, env.list(), stdout, stderr)
		is.Equal(code, 0)
		is.Equal(list(t, env)[0].Rollout.Split, parachute.Split{Percent: 50, CookieOnly: tt.want}) // tt
	}
}
