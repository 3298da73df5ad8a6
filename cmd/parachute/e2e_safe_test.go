package main_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

var takeBacks = flag.Int("takebacks", 3, "how many times a bad version is taken back under load")

// A release is a version of an app. A bad one passes its probes, and answers 500 to
// everybody else.
type release struct {
	name, address string
	isBad         bool
	answered      atomic.Int64 // requests, probes aside
}

func newRelease(t *testing.T, name string, isBad bool) *release {
	t.Helper()
	r := &release{name: name, isBad: isBad}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	r.address = s.Listener.Addr().String()
	return r
}

func (v *release) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/up" {
		return
	}
	v.answered.Add(1)
	if v.isBad {
		w.WriteHeader(http.StatusInternalServerError)
	}
	fmt.Fprint(w, v.name)
}

// Visitors come to a service all the time. What they get is counted by status and body.
type visitors struct {
	stop chan struct{}
	gone sync.WaitGroup

	mu  sync.Mutex // guards got
	got map[string]int64
}

func newVisitors(t *testing.T, proxy, host string, clients int) *visitors {
	t.Helper()
	v := &visitors{stop: make(chan struct{}), got: make(map[string]int64)}
	client := newClient(t)
	for range clients {
		v.gone.Go(func() {
			pace := time.NewTicker(5 * time.Millisecond)
			defer pace.Stop()
			for {
				select {
				case <-v.stop:
					return
				case <-pace.C:
				}
				answer, err := get(client, proxy, host, "/shop/cart")
				if err != nil {
					answer = err.Error()
				}
				v.mu.Lock()
				v.got[answer]++
				v.mu.Unlock()
			}
		})
	}
	return v
}

// await returns when the visitors have got at least n answers more.
func (v *visitors) await(t *testing.T, n int64) {
	t.Helper()
	all := func() (sum int64) {
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, n := range v.got {
			sum += n
		}
		return sum
	}
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for before, began := all(), time.Now(); all() < before+n; <-look.C {
		if time.Since(began) > patience {
			t.Fatal("nobody comes")
		}
	}
}

// leave returns what the visitors got in all.
func (v *visitors) leave() map[string]int64 {
	close(v.stop)
	v.gone.Wait()
	return v.got
}

// What fails in a bad version is lost, and nothing else is.
func TestTakeBacksUnderLoadLoseOnlyWhatFailedInTheBadVersion(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	_, address := startProxy(t, asBinary, env, "--no-access-log")
	good, bad := newRelease(t, "good", false), newRelease(t, "bad", true)
	is.Equal(inProcess(t, env, "deploy", "web", "--target", good.address).wait(t), 0)
	visitors := newVisitors(t, address, "localhost", 8)
	visitors.await(t, 200)
	for range *takeBacks {
		p := inProcess(t, env, "deploy", "web", "--target", bad.address, "--bake", "5m")
		is.Equal(p.wait(t), 1)
		is.True(strings.Contains(p.stderr.String(), "GET /shop answered 500"))
		visitors.await(t, 100)
	}
	got := visitors.leave()
	t.Logf("%d take-backs: %v", *takeBacks, got)
	lost := got["500 bad"]
	is.True(lost > 0)
	is.Equal(lost, bad.answered.Load()) // each that the bad version has answered
	served := got["200 good"]
	is.Equal(served, good.answered.Load())
	delete(got, "500 bad")
	delete(got, "200 good")
	is.Equal(len(got), 0) // and no other
}

// A walk is a story of deploys, as docs/safe-deploys.md tells it, with the program itself
// and with visitors who come all the time. Each step goes on where the one before has
// ended.
type walk struct {
	*testing.T
	env      environment
	proxy    string
	releases map[string]*release
	told     <-chan toldOf
}

func TestWalkThroughSafeDeploysUnderLoad(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	url, told := newListener(t)
	w := &walk{T: t, env: newEnvironment(t), releases: make(map[string]*release), told: told}
	_, w.proxy = startProxy(t, asBinary, w.env, "--notify-url", url, "--no-access-log")
	for _, name := range []string{"v1", "v2", "v3", "bad", "api-1", "api-2"} {
		w.releases[name] = newRelease(t, name, name == "bad")
	}
	w.is(0, "deploy web --host web.test --target v1 --release v1 --by ann --allow 127.0.0.0/8", "switched")
	w.is(0, "deploy api --host api.test --target api-1 --deploy-timeout 8s", "switched")
	web, api := newVisitors(t, w.proxy, "web.test", 4), newVisitors(t, w.proxy, "api.test", 2)
	web.await(t, 200)

	for _, step := range []struct {
		name string
		run  func()
	}{
		{"what a deploy changes", w.changes},
		{"history and rollback", w.history},
		{"bake and take back", func() { w.bakes(web) }},
		{"canary", func() { w.canaries(web) }},
		{"several services", func() { w.several(api) }},
		{"whoever wants to know", w.agrees},
	} {
		t.Log(step.name)
		step.run()
	}
	for _, visitors := range []*visitors{web, api} {
		got := visitors.leave()
		t.Log(got)
		for answer := range got {
			is.True(strings.HasPrefix(answer, "200 ") || answer == "500 bad") // nothing else was lost
		}
		is.Equal(got["500 bad"] > 0, visitors == web)
	}
}

// run runs a command line of words, in which releases stand for their addresses.
func (w *walk) run(line string) *process {
	w.Helper()
	words := strings.Fields(line)
	for i, word := range words {
		if r := w.releases[word]; r != nil && i > 0 && words[i-1] == "--target" {
			words[i] = r.address
		}
	}
	p := asBinary(w.T, w.env, words...)
	p.wait(w.T)
	return p
}

// is runs a command line, which must end with that code and say all of that.
func (w *walk) is(code int, line string, says ...string) {
	w.Helper()
	p := w.run(line)
	said := p.stdout.String() + p.stderr.String()
	for _, s := range says {
		if !strings.Contains(said, s) {
			w.Fatalf("parachute %s says\n%s\nand not %q", line, said, s)
		}
	}
	if p.code != code {
		w.Fatalf("parachute %s ends with %d:\n%s", line, p.code, said)
	}
}

// serves checks which release visitors of a host get.
func (w *walk) serves(host, want string) {
	w.Helper()
	answer, err := get(newClient(w.T), w.proxy, host, "/")
	if err != nil || answer != "200 "+want {
		w.Fatalf("%s serves %q, %v: want %s", host, answer, err, want)
	}
}

func (w *walk) status(service string) parachute.Status {
	w.Helper()
	for _, s := range list(w.T, w.env) {
		if s.Service == service {
			return s
		}
	}
	w.Fatalf("there is no %s", service)
	return parachute.Status{}
}

func (w *walk) changes() {
	is := is.New(w.T)
	w.is(0, "deploy web --keep --target v2 --release v2 --dry-run", "would switch", "nothing was changed")
	w.serves("web.test", "v1")
	w.is(0, "deploy web --keep --target v2 --release v2 --by bob --max-request-body 1MiB", "now: --max-request-body 1MiB")
	w.serves("web.test", "v2")
	is.Equal(w.status("web").Deployment.Access.Allow, []string{"127.0.0.0/8"})
	w.is(0, "deploy web --host web.test --target v3 --release v3", "no longer: --allow 127.0.0.0/8, --max-request-body 1MiB", "web is no longer protected by --allow")
	w.serves("web.test", "v3")
	w.is(0, "list", "v3")
	w.is(1, "deploy none --keep --target v1", "deploy it first")
}

func (w *walk) history() {
	w.is(0, "history web", "v1", "ann", "replaced", "v2", "bob", "serves")
	w.is(0, "rollback web --to v1 --by eve", "switched", "now: --allow 127.0.0.0/8")
	w.serves("web.test", "v1")
	w.is(1, "rollback web --to v9", "v9")
	w.serves("web.test", "v1")
}

func (w *walk) bakes(web *visitors) {
	is := is.New(w.T)
	web.await(w.T, 200)
	before := w.status("web")
	w.is(1, "deploy web --keep --target bad --release bad --bake 5m", "taken back", "GET /shop answered 500")
	w.serves("web.test", "v1")
	after := w.status("web")
	is.Equal(after.Restores, before.Generation)
	is.Equal(after.Generation, before.Generation+2)
	is.Equal(after.Deployment.Access, before.Deployment.Access) // with all of its options
	web.await(w.T, 200)
	w.is(0, "deploy web --keep --target v2 --release v2 --bake 2s", "baked")
	w.serves("web.test", "v2")
	w.is(0, "history web", "taken back", "restores")
	w.is(2, "deploy web --keep --target v2 --bake -1s", "--bake")
	w.is(2, "deploy web --keep --target v2 --bake 1s --max-error-rate 130%", "--max-error-rate")
}

func (w *walk) canaries(web *visitors) {
	is := is.New(w.T)
	before := w.status("web")
	w.is(1, "deploy web --keep --bake= --target bad --release bad --canary 20%,60%", "canary for 20 %", "taken back", "serves everybody", "GET /shop answered 500")
	w.serves("web.test", "v2")
	is.Equal(w.status("web").Rollout, nil)
	is.Equal(w.status("web").Generation, before.Generation)
	web.await(w.T, 200)
	w.is(0, "deploy web --keep --bake= --target v3 --release v3 --canary 20%,60% --step 2s --max-request-body 2MiB", "canary for 20 %", "60 %", "may be removed")
	w.serves("web.test", "v3")
	is.Equal(w.status("web").Deployment.MaxRequestBody, int64(2<<20))

	w.is(0, "rollout deploy web --target v2 --release v2 --preview-header X-Preview:sesame", "rollout beside")
	w.is(0, "rollout set web --percent 10", "10 %")
	web.await(w.T, 100)
	w.is(0, "rollout status web", "VERSION", "v3", "v2", "10 %")
	w.is(0, "rollout promote web", "promoted", "may be removed")
	w.serves("web.test", "v2")
	is.Equal(w.status("web").Deployment.MaxRequestBody, int64(2<<20)) // and no flag was repeated
	w.is(2, "deploy web --keep --target v3 --canary 50%,10%", "want steps that grow")
	w.is(2, "deploy web --keep --target v3 --canary 101%", "want a share of the visitors from 1% to 100%")
	w.is(1, "deploy web --keep --target v3 --canary 10% --bake 1m", "want one of them")
	w.is(0, "deploy web --keep --canary= --step= --target v2 --release v2", "switched")
}

func (w *walk) several(api *visitors) {
	is := is.New(w.T)
	p := w.run("export")
	is.Equal(p.code, 0)
	var document struct {
		Version  int              `json:"version"`
		Services []map[string]any `json:"services"`
	}
	is.NoErr(json.Unmarshal([]byte(p.stdout.String()), &document))
	names := make([]string, 0)
	for _, s := range document.Services {
		names = append(names, s["service"].(string))
	}
	slices.Sort(names)
	is.Equal(names, []string{"api", "web"})
	file := filepath.Join(filepath.Dir(w.env["PARACHUTE_SOCKET"]), "services.json")
	write := func(address string) {
		for _, s := range document.Services {
			if s["service"] == "api" {
				s["targets"] = []string{address}
			}
		}
		text, err := json.Marshal(document)
		is.NoErr(err)
		is.NoErr(os.WriteFile(file, text, 0o600))
	}
	generation := w.status("web").Generation
	write(proxytest.FreeAddress(w.T))
	w.is(1, "apply "+file, "did not become healthy")
	w.serves("api.test", "api-1")
	write(w.releases["api-2"].address)
	w.is(0, "apply "+file+" --dry-run", "api")
	w.serves("api.test", "api-1")
	w.is(0, "apply "+file)
	w.serves("api.test", "api-2")
	is.Equal(w.status("web").Generation, generation) // it is not touched
	api.await(w.T, 20)
}

func (w *walk) agrees() {
	is := is.New(w.T)
	generation := w.status("web").Generation
	w.is(1, "deploy web --keep --target v3 --pre-switch "+newProgram(w.T, "exit 1"), "exit status 1")
	is.Equal(w.status("web").Generation, generation)
	w.is(0, "deploy web --keep --target v3 --pre-switch "+newProgram(w.T, `test "$PARACHUTE_TARGETS" = `+w.releases["v3"].address))
	w.serves("web.test", "v3")

	kinds := make(map[string]int)
	for last := ""; kinds["failed"] == 0 || !strings.Contains(last, "serves at "+w.releases["v3"].address); {
		one := next(w.T, w.told)
		kinds[one.Kind]++
		last = one.Text
	}
	w.Log(kinds)
	is.Equal(kinds["started"], 1)
	is.Equal(kinds["taken back"], 2) // after a bake, and in a canary
	is.True(kinds["switched"] > 5)
}
