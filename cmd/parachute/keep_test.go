package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

// aboutTheCommand are flags of deploy that say nothing of what is to serve, or of one
// deploy alone; or that take visitors to come to an end (see
// TestCanaryIsADifferenceInItsOwnWords).
var aboutTheCommand = []string{
	"help", "target", "force", "release", "by", "keep", "dry-run", "wait", "pre-switch", "json", "quiet", "socket",
	"canary", "step",
}

// exampleFlags returns command lines that each have one flag of deploy, and what that
// needs, by the name of the flag.
func exampleFlags(t *testing.T, dir string, a *app) map[string]string {
	cert, key := proxytest.NewCA().WritePair(t, dir, "a.test")
	htpasswd, pages := filepath.Join(dir, "htpasswd"), filepath.Join(dir, "pages")
	if os.WriteFile(htpasswd, []byte("ann:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC\n"), 0o600) != nil || os.Mkdir(pages, 0o700) != nil || os.WriteFile(filepath.Join(pages, "404.html"), []byte("none"), 0o600) != nil {
		t.Fatal("no files")
	}
	secured := " --target=https://" + a.address
	return map[string]string{
		"host": "--host=b.test", "path-prefix": "--path-prefix=/api", "strip-path-prefix": "--strip-path-prefix=false",
		"canonical-host": "--canonical-host=c.test", "affinity": "--affinity=cookie=sid",
		"target-keepalive": "--target-keepalive=false", "target-keepalive-requests": "--target-keepalive-requests=10",
		"tls": "--tls --host=a.test", "tls-staging": "--tls-staging --tls --host=a.test",
		"tls-certificate-path": "--tls-certificate-path=" + cert + " --tls-private-key-path=" + key + " --tls --host=a.test",
		"tls-private-key-path": "--tls-private-key-path=" + key + " --tls-certificate-path=" + cert + " --tls --host=a.test",
		"tls-on-demand-url":    "--tls-on-demand-url=/ask --tls", "tls-acme-cache-path": "--tls-acme-cache-path=" + dir + "/acme --tls --host=a.test",
		"tls-redirect":     "--tls-redirect=false --tls --host=a.test",
		"wait-certificate": "--wait-certificate --tls --host=a.test --tls-certificate-path=" + cert + " --tls-private-key-path=" + key,
		"target-ca":        "--target-ca=" + cert + secured, "target-server-name": "--target-server-name=app.internal" + secured, "target-insecure": "--target-insecure" + secured,
		"health-check-grpc": "--health-check-grpc=web.v1.Web --target=h2c://" + a.address, "health-check-path": "--health-check-path=/healthz",
		"health-check-port": "--health-check-port=99", "health-check-host": "--health-check-host=b.test", "health-check-header": "--health-check-header=X-A:1",
		"health-check-status": "--health-check-status=204", "health-check-interval": "--health-check-interval=2s", "health-check-timeout": "--health-check-timeout=3s",
		"health-check-rise": "--health-check-rise=2", "health-check-fall": "--health-check-fall=3",
		"deploy-timeout": "--deploy-timeout=10s", "drain-timeout": "--drain-timeout=0", "stream-drain-timeout": "--stream-drain-timeout=1m",
		"websocket-close": "--websocket-close=false", "target-timeout": "--target-timeout=1m30s", "hold": "--hold=2s",
		"read-target": "--read-target=" + a.address, "read-target-websockets": "--read-target-websockets", "writer-affinity-timeout": "--writer-affinity-timeout=3s",
		"buffer-requests": "--buffer-requests", "buffer-responses": "--buffer-responses", "buffer-memory": "--buffer-memory=64KiB",
		"max-request-body": "--max-request-body=1MiB", "max-response-body": "--max-response-body=1000",
		"redirect": "--redirect=/a=/b", "request-header": "--request-header=del~X-A", "response-header": "--response-header=del~X-B", "hsts": "--hsts=max-age=60",
		"bake": "--bake=1ms", "max-error-rate": "--max-error-rate=7%", "max-slowdown": "--max-slowdown=2x", "min-requests": "--min-requests=9",
		"release-header": "--release-header", "scope-cookie-paths": "--scope-cookie-paths", "rewrite-location": "--rewrite-location", "error-pages": "--error-pages=" + pages,
		"allow": "--allow=10.0.0.0/8", "deny": "--deny=10.0.0.9", "basic-auth-file": "--basic-auth-file=" + htpasswd,
		"forward-headers": "--forward-headers", "client-ip-header": "--client-ip-header=CF-Connecting-IP",
		"log-request-header": "--log-request-header=X-A", "log-response-header": "--log-response-header=X-B", "exclude-metrics-path": "--exclude-metrics-path=/up",
	}
}

var flagInHelp = regexp.MustCompile(`(?m)^ {2,6}(?:-., )?--(?:\[no-\])?([a-z0-9-]+)`)

func TestEveryFlagOfDeployIsToldInBothDirectionsAndKept(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t).with(environment{"HTTPS_PORT": "0"})
	startProxy(t, inProcess, env, "--acme-directory", "https://127.0.0.1:9/", "--no-http3")
	one, two := newApp(t, "one"), newApp(t, "two")
	examples := exampleFlags(t, t.TempDir(), one)

	help := inProcess(t, env, "deploy", "--help")
	is.Equal(help.wait(t), 0)
	var flags []string
	for _, found := range flagInHelp.FindAllStringSubmatch(help.stdout.String(), -1) {
		if !slices.Contains(aboutTheCommand, found[1]) && !slices.Contains(flags, found[1]) {
			flags = append(flags, found[1])
		}
	}
	for _, name := range flags {
		if examples[name] == "" {
			t.Errorf("--%s has no example", name)
		}
	}
	is.Equal(len(flags), len(examples)) // and there are no others
	for _, name := range flags {
		example := strings.Split(examples[name], " ")
		for i := range example {
			example[i] = strings.ReplaceAll(example[i], "~", " ")
		}
		deploy := func(args ...string) string {
			p := inProcess(t, env, append([]string{"deploy", "web", "--force"}, args...)...)
			if code := p.wait(t); code != 0 && code != 3 { // 3: it serves, and its target is not healthy
				t.Fatalf("%s: %q: %s", name, args, p.stderr)
			}
			return p.stdout.String()
		}
		tells := func(said, when string, want bool) {
			t.Helper()
			has := regexp.MustCompile(`web  ` + when + `: (?:.*, )?--` + name + `\b`).MatchString(said)
			if has != want {
				t.Errorf("--%s: %q is told: %v, want %v:\n%s", name, when, has, want, said)
			}
		}
		kept := func() string {
			d := list(t, env)[0].Deployment
			d.Targets = nil
			text, _ := json.Marshal(d)
			return string(text)
		}
		target, scheme := []string{"--target", one.address}, ""
		if _, other, ok := strings.Cut(examples[name], "--target="); ok {
			scheme, _, _ = strings.Cut(other, "127")
			target = nil
		}
		deploy("--target", one.address)
		tells(deploy(append(example, target...)...), "now", true)
		before := kept()
		said := deploy("--keep", "--target", scheme+two.address)
		tells(said, "now", false)
		tells(said, "no longer", false)
		is.Equal(kept(), before) // it is kept
		tells(deploy("--target", one.address), "no longer", true)
	}
}

func TestEmptyValueTakesOneThingAwayAndKeepsTheOthers(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	startProxy(t, inProcess, env)
	a := newApp(t, "web")
	run := func(args ...string) *process {
		p := inProcess(t, env, append([]string{"deploy", "web"}, args...)...)
		is.Equal(p.wait(t), 0)
		return p
	}
	run("--target", a.address, "--host", "a.test", "--allow", "10.0.0.0/8", "--hold", "2s", "--redirect", "/a=/b", "--health-check-rise", "2")
	run("--keep", "--allow", "", "--redirect=")
	d := list(t, env)[0].Deployment
	is.Equal(d.Access.Allow, nil)
	is.Equal(d.Redirects, nil)
	is.Equal(d.Targets, []string{a.address}) // which nothing was said of
	is.Equal(d.Hosts, []string{"a.test"})
	is.Equal(d.HealthCheck.Rise, 2)
	p := run("--keep", "--host", "", "--hold", "", "--health-check-rise", "")
	d = list(t, env)[0].Deployment
	is.Equal(len(d.Hosts), 0)
	is.Equal(d.Timeouts.Hold.String(), "5s") // as by default
	is.Equal(d.HealthCheck.Rise, 1)
	is.True(strings.HasPrefix(p.stderr.String(), "parachute: warning: web answers for every host now"))
}

func TestKeepOfAServiceThatIsNotThereSaysToDeployItFirst(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	startProxy(t, inProcess, env)
	p := inProcess(t, env, "deploy", "web", "--keep", "--target", newApp(t, "web").address)
	is.Equal(p.wait(t), 1)
	is.True(strings.Contains(p.stderr.String(), "deploy it first"))
	is.Equal(len(list(t, env)), 0)
}

func TestWhatADeployOpensIsWarnedOf(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	proxy, _ := startProxy(t, inProcess, env)
	a := newApp(t, "web")
	p := inProcess(t, env, "deploy", "web", "--target", a.address, "--allow", "10.0.0.0/8", "--host", "a.test")
	is.Equal(p.wait(t), 0)
	is.Equal(p.stderr.String(), "")
	p = inProcess(t, env, "deploy", "web", "--target", a.address, "--host", "a.test", "--json", "--max-request-body", "1MiB")
	is.Equal(p.wait(t), 0)
	first, _, _ := strings.Cut(p.stderr.String(), "\n")
	is.Equal(first, "parachute: warning: web is no longer protected by --allow")
	var switched struct {
		Event struct {
			Kind        string
			NoLonger    []string `json:"no_longer"`
			Now, Opened []string
		}
	}
	for _, line := range strings.Split(p.stdout.String(), "\n") {
		if strings.Contains(line, `"kind":"switched"`) {
			is.NoErr(json.Unmarshal([]byte(line), &switched))
		}
	}
	is.Equal(switched.Event.NoLonger, []string{"--allow 10.0.0.0/8"})
	is.Equal(switched.Event.Now, []string{"--max-request-body 1MiB"})
	is.Equal(switched.Event.Opened, []string{"web is no longer protected by --allow"})
	line := proxy.stdout.await(t, proxy, `"no_longer":["--allow 10.0.0.0/8"],"now":["--max-request-body 1MiB"]`)
	is.True(strings.Contains(line, `"level":"WARN","msg":"switched"`))
}

func TestDryRunSaysWhatWouldBeAndChangesNothing(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	startProxy(t, inProcess, env)
	a, b := newApp(t, "one"), newApp(t, "two")
	is.Equal(inProcess(t, env, "deploy", "web", "--target", a.address, "--host", "a.test").wait(t), 0)
	before := list(t, env)[0]
	p := inProcess(t, env, "deploy", "web", "--target", b.address, "--dry-run")
	is.Equal(p.wait(t), 0)
	is.True(strings.Contains(p.stdout.String(), "web  no longer: --host a.test\n"))
	is.True(strings.Contains(p.stdout.String(), "nothing was changed"))
	b.probe.Store(503)
	for args, want := range map[string]string{
		"deploy web --deploy-timeout 300ms --dry-run --target " + b.address:        "did not become healthy",
		"deploy other --host a.test --dry-run --target " + a.address:               "is used by another service",
		"deploy web --error-pages /nowhere --dry-run --target " + a.address:        "/nowhere",
		"deploy web --keep --dry-run --deploy-timeout 300ms --target " + b.address: "did not become healthy",
		"deploy none --keep --dry-run --target " + a.address:                       "deploy it first",
	} {
		p := inProcess(t, env, strings.Split(args, " ")...)
		is.Equal(p.wait(t), 1) // as the deploy
		is.True(strings.Contains(p.stderr.String(), want))
	}
	after := list(t, env)
	is.Equal(len(after), 1)
	is.Equal(after[0].Generation, before.Generation)
	is.Equal(after[0].Deployment, before.Deployment)
}

func TestDeployThatWaitsForItsTurnEndsNoOther(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	proxy, _ := startProxy(t, inProcess, env)
	a, b := newApp(t, "one"), newApp(t, "two")
	a.probe.Store(503)
	first := inProcess(t, env, "deploy", "web", "--target", a.address)
	proxy.stdout.await(t, proxy, `"msg":"deploying"`)
	second := inProcess(t, env, "deploy", "web", "--target", b.address, "--wait")
	other := inProcess(t, env, "deploy", "other", "--target", b.address, "--host", "b.test")
	is.Equal(other.wait(t), 0) // nobody else waits
	a.probe.Store(200)
	is.Equal(first.wait(t), 0)
	is.Equal(second.wait(t), 0)
	services := list(t, env)
	is.Equal(services[1].Deployment.Targets, []string{b.address})
}
