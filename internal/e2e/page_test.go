package e2e_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/matryer/is"
	"github.com/shahnk19/parachute/internal/proxytest"
	"golang.org/x/crypto/bcrypt"
)

// A tab is a tab of a headless browser. It collects what the console says.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu   sync.Mutex
	said []string // errors
}

// newTab returns a tab of that width. Without a browser the test is skipped, but not
// in CI, which installs one.
func newTab(t *testing.T, width int64) *tab {
	t.Helper()
	i := slices.IndexFunc(browsers, func(name string) bool { _, err := exec.LookPath(name); return err == nil })
	if i < 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no browser: want one of " + strings.Join(browsers, ", "))
		}
		t.Skip("there is no browser: install chromium")
	}
	path, _ := exec.LookPath(browsers[i])
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.DisableGPU, chromedp.Flag("disable-dev-shm-usage", true), chromedp.WSURLReadTimeout(patience))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	tab := &tab{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, tab.hear); err != nil { // which starts the browser
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(ctx, patience)
	t.Cleanup(cancel)
	tab.ctx = ctx
	tab.do(chromedp.EmulateViewport(width, 900))
	return tab
}

var browsers = []string{"chromium", "chromium-browser", "google-chrome"}

// hear keeps the errors that the console shows, violations of the policy among them.
func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			b.said = append(b.said, e.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		b.said = append(b.said, e.ExceptionDetails.Text)
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// run returns what an action does.
func run[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return value
}

// set calls a command of the protocol.
func set[P any](b *tab, command cdp.Command[P, cdp.Empty], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

// eval evaluates an expression in JavaScript.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	return run(b, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// picture writes a screenshot to bin/page.
func (b *tab) picture(name string) {
	b.t.Helper()
	png := run(b, chromedp.FullScreenshot(100))
	dir := filepath.Join("..", "..", "bin", "page")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) dark(is bool) {
	b.t.Helper()
	scheme := "light"
	if is {
		scheme = "dark"
	}
	set(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// serious returns what axe-core finds that is serious, if it is installed.
func (b *tab) serious() []string {
	b.t.Helper()
	script, err := os.ReadFile(filepath.Join("..", "..", "bin", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		b.t.Log("accessibility was not tried: npm install --prefix bin axe-core")
		return nil
	}
	eval[chromedp.Void](b, string(script))
	return eval[[]string](b, `axe.run().then(r => r.violations.filter(v => ["serious", "critical"].includes(v.impact)).
		map(v => v.id + ": " + v.nodes.map(n => n.html.slice(0, 200) + " " + n.failureSummary).join("; ")))`)
}

// A viewed is a proxy with a page, and three services under load.
type viewed struct {
	*proxy
	apps []*httptest.Server
	page string
}

func newViewed(t *testing.T, args ...string) *viewed {
	t.Helper()
	port := proxytest.FreePort(t)
	v := &viewed{page: "http://127.0.0.1:" + port + "/"}
	v.proxy = startProxy(t, newAuthority(t, authorityConfig{}), append(args, "--page-port", port)...)
	for _, name := range []string{"api", "shop", "web"} {
		v.deployApp(t, name)
	}
	ctx, stop := context.WithCancel(context.Background())
	var loading sync.WaitGroup
	for _, name := range []string{"api", "shop", "web"} {
		c := client(t, v.http, nil)
		loading.Go(func() {
			pace := time.NewTicker(50 * time.Millisecond)
			defer pace.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-pace.C:
					get(c, "http://"+name+".test/")
				}
			}
		})
	}
	t.Cleanup(func() { stop(); loading.Wait() })
	return v
}

// deployApp deploys a new app as that service.
func (v *viewed) deployApp(t *testing.T, name string) *httptest.Server {
	t.Helper()
	a := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(name)) }))
	t.Cleanup(a.Close)
	v.apps = append(v.apps, a)
	printed, code := v.command(t, "deploy", name, "--target", a.Listener.Addr().String(), "--host", name+".test",
		"--health-check-interval", "500ms")
	if code != 0 {
		t.Fatalf("deploy ended with %d:\n%s", code, printed)
	}
	return a
}

const rows = `[...document.querySelectorAll("#services tr")]`

func TestPageShowsDeploysAndFailuresAsTheyHappen(t *testing.T) {
	is := is.New(t)
	v := newViewed(t)
	b := newTab(t, 1280)
	b.do(chromedp.Navigate(v.page), chromedp.WaitVisible("#services"))
	names := rows + `.map(r => r.querySelector("a").textContent)`
	is.Equal(eval[[]string](b, names), []string{"api", "shop", "web"})
	eval[chromedp.Void](b, "window.stays = true") // until the page is loaded anew

	marks := rows + `.find(r => r.querySelector("a").textContent === "web").querySelectorAll(".mark").length`
	before := eval[int](b, marks)
	last := v.deployApp(t, "web")
	eventually(t, "the deploy has a mark", func() bool { return eval[int](b, marks) == before+1 })

	last.CloseClientConnections()
	last.Close()
	eventually(t, "the service whose target is gone comes first", func() bool {
		return eval[string](b, rows+`[0].className + " " + `+rows+`[0].querySelector("a").textContent`) == "down web"
	})
	is.True(strings.Contains(eval[string](b, rows+`[0].textContent`), "probe failed: refused")) // the cause is text
	is.True(eval[bool](b, "window.stays"))
	b.picture("overview-light")
	b.dark(true)
	b.picture("overview-dark")

	b.do(chromedp.Navigate(v.page+"services/web"), chromedp.WaitVisible("#charts svg"))
	b.picture("service-dark")
	b.dark(false)
	b.picture("service-light")
	is.Equal(b.said, nil) // what the console says
}

func TestPageIsUsableOnAPhone(t *testing.T) {
	is := is.New(t)
	v := newViewed(t)
	b := newTab(t, 360)
	for _, path := range []string{"", "services/web", "events"} {
		b.do(chromedp.Navigate(v.page+path), chromedp.WaitVisible("h1"))
		is.True(eval[int](b, "document.documentElement.scrollWidth") <= 360) // nobody scrolls sideways
		b.picture("phone-" + strings.ReplaceAll("overview"+path, "/", "-"))
	}
	is.Equal(b.said, nil)
}

func TestPageIsUsableWithoutScriptAndByKeyboard(t *testing.T) {
	is := is.New(t)
	v := newViewed(t)
	b := newTab(t, 1280)
	set(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.do(chromedp.Navigate(v.page))
	text := run(b, chromedp.Text("#services"))
	is.True(strings.Contains(text, "api") && strings.Contains(text, "serving"))

	set(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{})
	b.do(chromedp.Navigate(v.page), chromedp.WaitVisible("#services"))
	for range 30 {
		b.do(chromedp.KeyEvent(kb.Tab))
		if eval[string](b, "document.activeElement.textContent") == "shop" {
			break
		}
	}
	b.do(chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#charts"))
	is.Equal(eval[string](b, "document.querySelector('h1').textContent"), "shop")
	is.Equal(b.said, nil)
}

func TestPageIsAccessible(t *testing.T) {
	v := newViewed(t)
	v.apps[0].Close()
	b := newTab(t, 1280)
	for _, path := range []string{"", "services/api", "events"} {
		for _, dark := range []bool{false, true} {
			b.dark(dark)
			b.do(chromedp.Navigate(v.page+path), chromedp.WaitVisible("h1"))
			for _, found := range b.serious() {
				t.Error(path, found)
			}
		}
	}
}

// What others choose is long, and is meant to be taken for markup.
func TestPageKeepsItsLayoutWhateverOthersSay(t *testing.T) {
	is := is.New(t)
	hostile := `"><script>window.stranger = 1</script><img src=x onerror="window.stranger = 1">` + "\u202e" + strings.Repeat("x", 10<<10)
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	is.NoErr(err)
	users := filepath.Join(t.TempDir(), "users")
	is.NoErr(os.WriteFile(users, append([]byte("ops:"), hash...), 0o600))
	v := newViewed(t, "--page-password-file", users)
	page := strings.Replace(v.page, "//", "//ops:secret@", 1)

	label := strings.Repeat("a", 60)
	name := "long-" + label
	good := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(good.Close)
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		w.Write([]byte(hostile))
	}))
	t.Cleanup(bad.Close)
	options := []string{"--host", strings.Join([]string{label, label, label, "test"}, "."), "--release", strings.Repeat("r", 100)}
	printed, code := v.command(t, append([]string{"deploy", name, "--target", good.Listener.Addr().String()}, options...)...)
	if code != 0 {
		t.Fatal(printed)
	}
	_, code = v.command(t, append([]string{"deploy", name, "--target", bad.Listener.Addr().String(), "--deploy-timeout", "1s"}, options...)...)
	is.Equal(code, 1)
	c := client(t, v.http, nil)
	r, err := http.NewRequest("GET", "http://web.test/"+strings.Repeat("y", 4<<10), nil)
	is.NoErr(err)
	r.Header.Set("User-Agent", hostile[:8<<10])
	resp, err := c.Do(r)
	is.NoErr(err)
	resp.Body.Close()

	for _, width := range []int64{360, 1280} {
		b := newTab(t, width)
		for _, path := range []string{"", "services/" + name, "services/" + name + "/log", "services/web/log", "events"} {
			b.do(chromedp.Navigate(page+path), chromedp.WaitVisible("h1"))
			is.True(eval[int64](b, "document.documentElement.scrollWidth") <= width) // nobody scrolls sideways
			is.True(!eval[bool](b, "'stranger' in window"))
			b.picture("hostile-" + strconv.FormatInt(width, 10) + "-" + strings.ReplaceAll(strings.ReplaceAll(path, name, "long"), "/", "-"))
		}
		is.True(strings.Contains(eval[string](b, "document.body.textContent"), `"><script>window.stranger`)) // it is text
		is.Equal(b.said, nil)
	}
}
