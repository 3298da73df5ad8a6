package main_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/crypto/bcrypt"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestScriptWrittenForKamalProxyRunsWithOnlyTheNameChanged(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	script, err := os.ReadFile("testdata/kamal-proxy.sh")
	is.NoErr(err)
	path, err := binary()
	is.NoErr(err)
	env := newEnvironment(t)
	dir := filepath.Dir(env["PARACHUTE_SOCKET"])
	is.NoErr(os.WriteFile(filepath.Join(dir, "5xx.html"), []byte(`<h1>{{.Status}}</h1>`), 0o600))
	certificate, key := proxytest.NewCA().WritePair(t, dir, "app1.example.com", "app2.example.com", "app3.example.com")

	cmd := exec.Command("sh", "-c", strings.ReplaceAll(string(script), "kamal-proxy ", path+" "))
	cmd.Env = append(os.Environ(), "PARACHUTE_ACME_DIRECTORY=http://127.0.0.1:9/directory") // nobody's
	for name, value := range env.with(environment{
		"APP": newApp(t, "app").address, "READER": newApp(t, "reader").address,
		"HTTP": "0", "HTTPS": "0", "METRICS": proxytest.FreePort(t),
		"CERTIFICATE": certificate, "KEY": key, "PAGES": dir, "CACHE": filepath.Join(dir, "certs"),
	}) {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// An exchange is a request to the proxy, and what its answer has in it.
type exchange struct {
	request string // method and path
	header  string // NAME: VALUE; "": none
	body    string
	want    string // status, and a part of the answer's headers and body
}

func TestEveryFlagOfDeployDoesWhatItSays(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	dir := filepath.Dir(env["PARACHUTE_SOCKET"])
	is.NoErr(os.WriteFile(filepath.Join(dir, "404.html"), []byte(`<h1>{{.Status}} lost</h1>`), 0o600))
	is.NoErr(os.WriteFile(filepath.Join(dir, "413.html"), []byte(`<h1>{{.Status}} too much</h1>`), 0o600))
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	is.NoErr(err)
	is.NoErr(os.WriteFile(filepath.Join(dir, "users"), append([]byte("ann:"), hash...), 0o600))
	_, address := startProxy(t, asBinary, env, "--spool-dir", filepath.Join(dir, "spool"), "--trusted-proxies", "127.0.0.0/8")
	client := newClient(t)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	writer, reader := newMirror(t, "writer"), newMirror(t, "reader")

	for _, test := range []struct {
		flags     string // separated by '|'
		exchanges []exchange
	}{
		{"", []exchange{{request: "GET /x", want: "200 writer GET /x"}}},
		{"--host|app1.example.com", []exchange{{request: "GET /", want: "404"}}},
		{"--path-prefix|/api,/v1", []exchange{
			{request: "GET /api/a%2Fb", want: "200 GET /a%2Fb"}, {request: "GET /v1", want: "200 GET /"}, {request: "GET /apiary", want: "404"},
		}},
		{"--path-prefix|/api|--strip-path-prefix=false", []exchange{{request: "GET /api/x", want: "200 GET /api/x"}}},
		{"--read-target|" + reader, []exchange{{request: "GET /", want: "200 reader"}, {request: "POST /", want: "200 writer"}}},
		{"--buffer-requests|--buffer-responses|--buffer-memory|2|--max-request-body|10", []exchange{
			{request: "POST /", body: "0123456789", want: "200 0123456789"}, {request: "POST /", body: "01234567890", want: "413"},
		}},
		{"--max-request-body|10", []exchange{{request: "POST /", body: "01234567890", want: "413"}}},
		{"--max-request-body|0|--max-response-body|0", []exchange{{request: "POST /", body: "01234567890", want: "200"}}},
		{"--buffer-responses|--max-response-body|4", []exchange{{request: "GET /", want: "502"}}},
		{"--error-pages|" + dir + "|--max-request-body|1", []exchange{{request: "POST /", body: "01", header: "Accept: text/html", want: "413 413 too much"}}},
		{"--redirect|/old=/new", []exchange{{request: "GET /old?x=y", want: "301 Location: /new?x=y"}, {request: "POST /old", want: "308 Location: /new"}}},
		{"--request-header|set X-Color: red, blue|--request-header|del X-Secret", []exchange{{request: "GET /", header: "X-Secret: 1", want: "200 X-Color=red, blue"}}},
		{"--request-header|edit X-Color ^(r)ed ${1}ose", []exchange{{request: "GET /", header: "X-Color: red, blue", want: "200 X-Color=rose, blue"}}},
		{"--response-header|set X-Color: red, blue|--response-header|del X-Name", []exchange{{request: "GET /", want: "200 X-Color: red, blue"}}},
		{"--basic-auth-file|" + filepath.Join(dir, "users"), []exchange{
			{request: "GET /", want: "401 Basic"}, {request: "GET /", header: "Authorization: Basic YW5uOnNlY3JldA==", want: "200"}, {request: "GET /up", want: "401"},
		}},
		{"--deny|127.0.0.0/8", []exchange{{request: "GET /", want: "403"}}},
		{"--allow|10.0.0.0/8", []exchange{{request: "GET /", want: "403"}}},
		{"--allow|127.0.0.1", []exchange{{request: "GET /", want: "200"}}},
		{"--forward-headers=false", []exchange{{request: "GET /", header: "X-Forwarded-For: 203.0.113.5", want: "200 X-Forwarded-For=127.0.0.1\n"}}},
		{"--forward-headers", []exchange{{request: "GET /", header: "X-Forwarded-For: 203.0.113.5", want: "200 X-Forwarded-For=203.0.113.5, 127.0.0.1\n"}}},
		{"--client-ip-header|CF-Connecting-IP|--allow|203.0.113.9", []exchange{
			{request: "GET /", header: "CF-Connecting-IP: 203.0.113.9", want: "200"}, {request: "GET /", want: "403"},
		}},
		{"--path-prefix|/app|--scope-cookie-paths", []exchange{{request: "GET /app/cookie", want: "200 Set-Cookie: a=b; Path=/app\r\n"}}},
		{"--health-check-path|/204|--health-check-status|200-399|--health-check-header|X-Probe: a, b|--health-check-rise|2|--health-check-fall|3|--health-check-interval|100ms", []exchange{{request: "GET /", want: "200"}}},
		{"--target-timeout|50ms", []exchange{{request: "GET /slow", want: "504"}}},
	} {
		t.Run(test.flags, func(t *testing.T) {
			is := is.New(t)
			args := []string{"deploy", "web", "--target", writer}
			if test.flags != "" {
				args = append(args, strings.Split(test.flags, "|")...)
			}
			p := asBinary(t, env, args...)
			if p.wait(t) != 0 {
				t.Fatal(p.stderr)
			}
			for _, e := range test.exchanges {
				got, err := send(client, address, e)
				is.NoErr(err)
				status, part, _ := strings.Cut(e.want, " ")
				if !strings.HasPrefix(got, status) || !strings.Contains(got, part) {
					t.Errorf("%s answers\n%s\nwanted: %s", e.request, got, e.want)
				}
			}
		})
	}
}

// send returns the status, the headers and the body of an answer.
func send(client *http.Client, proxy string, e exchange) (string, error) {
	method, path, _ := strings.Cut(e.request, " ")
	r, err := http.NewRequest(method, "http://"+proxy+path, strings.NewReader(e.body))
	if err != nil {
		return "", err
	}
	if name, value, ok := strings.Cut(e.header, ": "); ok {
		r.Header.Set(name, value)
	}
	res, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var b strings.Builder
	fmt.Fprintln(&b, res.StatusCode)
	if err := res.Header.Write(&b); err != nil {
		return "", err
	}
	_, err = io.Copy(&b, res.Body)
	return b.String(), err
}

// newMirror returns the address of a target that says what it was asked.
func newMirror(t *testing.T, name string) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/204", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b", Path: "/"})
		w.Header().Set("X-Name", name)
		fmt.Fprintf(w, "%s %s %s\n%s\n", name, r.Method, r.RequestURI, body)
		for _, h := range []string{"X-Color", "X-Secret", "X-Forwarded-For"} {
			fmt.Fprintf(w, "%s=%s\n", h, r.Header.Get(h))
		}
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestEveryCommandRunsWithTheBinary(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	a, b := newApp(t, "web-1"), newApp(t, "web-2")
	_, address := startProxy(t, asBinary, env, "--debug", "--http-port", "0", "--https-port", "0", "--metrics-port", proxytest.FreePort(t), "--http3")
	for _, test := range []struct {
		command string // with A and B for targets
		code    int
		says    string
		state   parachute.State // of the service after it; "": it is not there
	}{
		{"list", 0, "nothing is deployed yet", ""},
		{"deploy web --target A", 0, "switched", parachute.StateServing},
		{"deploy web --target A --target B", 0, "switched", parachute.StateServing},
		{"deploy web --target A,B --host app1.example.com --canonical-host app2.example.com", 1, "is not among the hosts", parachute.StateServing},
		{"deploy web --target " + address, 1, "is this proxy itself, which listens on " + address, parachute.StateServing},
		{"deploy web --target https://localhost:" + portOf(address), 1, "is this proxy itself", parachute.StateServing},
		{"rollout deploy web --target " + address, 1, "is this proxy itself", parachute.StateServing},
		{"deploy web --target A --error-pages /nowhere", 1, "/nowhere", parachute.StateServing},
		{"deploy web --target A --basic-auth-file /nowhere", 1, "/nowhere", parachute.StateServing},
		{"deploy web --target A --allow 10.0.0.0/99", 1, "10.0.0.0/99", parachute.StateServing},
		{"deploy web --target A --request-header nonsense", 1, "nonsense", parachute.StateServing},
		{"deploy web --target A --health-check-status 2xx", 1, "200-399", parachute.StateServing},
		{"deploy web --target A --buffer-memory 1MB", 2, "64KiB", parachute.StateServing},
		{"pause web --drain-timeout 1s --max-pause 30s", 0, "paused", parachute.StatePaused},
		{"deploy web --target B", 0, "switched", parachute.StatePaused},
		{"stop web --drain-timeout 1s --message closed", 0, "stopped", parachute.StateStopped},
		{"resume web", 0, "resumed", parachute.StateServing},
		{"rollout deploy web --target A --read-target B --deploy-timeout 5s --drain-timeout 5s", 0, "rollout beside", parachute.StateServing},
		{"rollout set web --percent 101", 2, "want a number from 0 to 100", parachute.StateServing},
		{"rollout set web --percent=-1", 2, "want a number from 0 to 100", parachute.StateServing},
		{"rollout set web --percent 10", 0, "10 %", parachute.StateServing},
		{"rollout set web --percent 10 --list v1,v2", 0, "v1, v2", parachute.StateServing},
		{"rollout set web --percent 20", 0, "20 % and v1, v2", parachute.StateServing},
		{"rollout set web --list v3", 0, "20 % and v3", parachute.StateServing},
		{"rollout set web --list=", 0, "rollout for 20 %", parachute.StateServing},
		{"rollout set web --preview-header X-Preview", 1, "want one with a secret value", parachute.StateServing},
		{"rollout set web --preview-header X-Preview:sesame", 0, "rollout for 20 %", parachute.StateServing},
		{"rollout set web", 2, "--percent, --list or both", parachute.StateServing},
		{"ls", 0, "(rollout, healthy)", parachute.StateServing},
		{"rollout status web", 0, "rollout  -        20 %", parachute.StateServing},
		{"rollout status web --json", 0, `"preview": "X-Preview:sesame"`, parachute.StateServing},
		{"rollout stop web", 0, "takes no more requests", parachute.StateServing},
		{"rollout status web", 1, "the service has no rollout: deploy one first", parachute.StateServing},
		{"rollout promote web", 1, "the service has no rollout: deploy one first", parachute.StateServing},
		{"rollout deploy web --target B", 0, "rollout beside", parachute.StateServing},
		{"rollout promote web", 0, "promoted", parachute.StateServing},
		{"rollout status web", 1, "the service has no rollout", parachute.StateServing},
		{"rm web", 0, "removed", ""},
		{"remove web", 1, "no such service", ""},
		{"resume web", 1, "no such service", ""},
	} {
		t.Run(test.command, func(t *testing.T) {
			is := is.New(t)
			args := strings.Fields(test.command)
			for i, arg := range args {
				if strings.Trim(arg, "AB,") == "" {
					args[i] = strings.NewReplacer("A", a.address, "B", b.address).Replace(arg)
				}
			}
			p := asBinary(t, env, args...)
			is.Equal(p.wait(t), test.code)
			is.True(strings.Contains(p.stdout.String()+p.stderr.String(), test.says))
			services := list(t, env)
			if test.state == "" {
				is.Equal(len(services), 0)
			} else {
				is.Equal(services[0].State, test.state)
			}
		})
	}
}

func TestPauseStopAndRolloutSurviveARestart(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	a, b := newApp(t, "web-1"), newApp(t, "web-2")
	proxy, _ := startProxy(t, asBinary, env)
	for _, command := range []string{
		"deploy paused --target A --host paused.test", "pause paused --max-pause 50ms",
		"deploy stopped --target A --host stopped.test", "stop stopped --message closed",
		"deploy split --target A --host split.test", "rollout deploy split --target B", "rollout set split --percent 100",
	} {
		args := strings.Fields(strings.NewReplacer(" A", " "+a.address, " B", " "+b.address).Replace(command))
		is.Equal(inProcess(t, env, args...).wait(t), 0)
	}
	is.NoErr(proxy.signal(os.Kill))
	proxy.wait(t)

	_, address := startProxy(t, asBinary, env)
	client := newClient(t)
	for host, want := range map[string]string{"paused.test": "504", "stopped.test": "503", "split.test": "200 web-2"} {
		answer, err := get(client, address, host, "/")
		is.NoErr(err)
		is.True(strings.HasPrefix(answer, want))
	}
	is.Equal(inProcess(t, env, "resume", "paused").wait(t), 0)
	answer, err := get(client, address, "paused.test", "/")
	is.NoErr(err)
	is.Equal(answer, "200 web-1")
}

func TestServiceThatCannotBeRestoredIsKeptForABetterDay(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	pages := filepath.Join(filepath.Dir(env["PARACHUTE_SOCKET"]), "pages")
	is.NoErr(os.Mkdir(pages, 0o700))
	is.NoErr(os.WriteFile(filepath.Join(pages, "5xx.html"), []byte("{{.Status}}"), 0o600))
	a := newApp(t, "web-1")
	proxy, _ := startProxy(t, asBinary, env)
	is.Equal(inProcess(t, env, "deploy", "broken", "--target", a.address, "--host", "broken.test", "--error-pages", pages).wait(t), 0)
	is.Equal(inProcess(t, env, "deploy", "well", "--target", a.address, "--host", "well.test").wait(t), 0)
	proxy.interrupt()
	is.Equal(proxy.wait(t), 0)

	is.NoErr(os.Rename(pages, pages+".away"))
	proxy, address := startProxy(t, asBinary, env)
	client := newClient(t)
	for host, want := range map[string]string{"broken.test": "503", "well.test": "200 web-1"} {
		answer, err := get(client, address, host, "/")
		is.NoErr(err)
		is.True(strings.HasPrefix(answer, want)) // the others serve
	}
	is.Equal(list(t, env)[0].State, parachute.StateFailed)
	is.Equal(inProcess(t, env, "deploy", "another", "--target", a.address, "--host", "another.test").wait(t), 0) // which saves the state
	proxy.interrupt()
	is.Equal(proxy.wait(t), 0)

	is.NoErr(os.Rename(pages+".away", pages))
	_, address = startProxy(t, asBinary, env)
	answer, err := get(client, address, "broken.test", "/")
	is.NoErr(err)
	is.Equal(answer, "200 web-1")
}

func TestErrorsOfRolloutsNameTheirCommand(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	startProxy(t, asBinary, env)
	is.Equal(deploy(t, env, newApp(t, "web")), 0)
	for command, want := range map[string]string{
		"rollout deploy none --target 127.0.0.1:1": "parachute: rollout deploy none: no such service\n",
		"rollout set none --percent 5":             "parachute: rollout set none: no such service\n",
		"rollout set default --percent 5":          "parachute: rollout set default: the service has no rollout: deploy one first\n",
		"rollout stop none":                        "parachute: rollout stop none: no such service\n",
		"pause split":                              "parachute: pause split: no such service\n",
	} {
		p := asBinary(t, env, strings.Fields(command)...)
		is.Equal(p.wait(t), 1)
		if got := p.stderr.String(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", command, got)
		}
	}
}
