package parachute_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute"
)

// An app server that deploys itself: two versions of an app, one after the
// other, behind one address.
func Example() {
	ctx := context.Background()
	app := func(version string) *httptest.Server {
		return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, version)
		}))
	}
	one, two := app("version 1"), app("version 2")
	defer two.Close()

	p := parachute.New(parachute.Options{})
	defer p.Close()
	front := httptest.NewServer(p) // any server will do: a Proxy is an http.Handler
	defer front.Close()

	deploy := func(app *httptest.Server) {
		err := p.Deploy(ctx, parachute.Deployment{
			Service: "web",
			Targets: []string{app.Listener.Addr().String()},
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	get := func() string {
		resp, err := http.Get(front.URL)
		if err != nil {
			log.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}

	deploy(one)
	fmt.Println(get())
	deploy(two)
	one.Close() // Deploy has returned, so nobody needs it any more
	fmt.Println(get())
	// Output:
	// version 1
	// version 2
}

// A deploy that fails has changed nothing, and says what the target answered.
func ExampleProxy_Deploy() {
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()

	p := parachute.New(parachute.Options{})
	defer p.Close()
	err := p.Deploy(context.Background(), parachute.Deployment{
		Service:  "web",
		Targets:  []string{app.Listener.Addr().String()},
		Hosts:    []string{"app1.example.com"},
		Timeouts: parachute.Timeouts{Deploy: 3 * time.Second}, // if 0, 30 s
	})
	var unhealthy *parachute.UnhealthyError
	if errors.As(err, &unhealthy) {
		fmt.Println("the last probe was answered", unhealthy.Targets[0].Last.Status)
	}
	fmt.Println(len(p.Services()), "services")
	// Output:
	// the last probe was answered 404
	// 0 services
}

// What was committed is what Restore takes: keep it where it outlives the
// process.
func ExampleProxy_Restore() {
	var kept []parachute.Status // in a file, say
	p := parachute.New(parachute.Options{
		Commit: func(services []parachute.Status) error {
			kept = services
			return nil
		},
	})
	defer p.Close()
	if err := p.Restore(kept); err != nil {
		log.Print(err) // of some services; the others serve
	}
}

// HTTPS takes a second server. The certificate is obtained at the deploy, and
// kept in a folder; the proxy answers the questions of the authority itself, on
// either port.
func ExampleProxy_TLSConfig() {
	p := parachute.New(parachute.Options{
		ACME: parachute.ACME{Cache: autocert.DirCache("/var/lib/app/certificates"), Email: "ops@example.com"},
	})
	defer p.Close()
	go http.ListenAndServe(":80", p)
	go (&http.Server{Addr: ":443", Handler: p, TLSConfig: p.TLSConfig()}).ListenAndServeTLS("", "")

	err := p.Deploy(context.Background(), parachute.Deployment{
		Service: "web",
		Targets: []string{"10.0.0.7:3000"},
		Hosts:   []string{"app1.example.com"},
		TLS:     parachute.TLS{Mode: parachute.TLSAutomatic},
	})
	if err != nil {
		log.Print(err)
	}
}

// A rollout runs beside the service, for a share of its visitors.
func ExampleProxy_Rollout() {
	one, two := newApp("one"), newApp("two")
	defer one.Close()
	defer two.Close()
	p := parachute.New(parachute.Options{})
	defer p.Close()
	ctx := context.Background()
	err := p.Deploy(ctx, parachute.Deployment{Service: "web", Targets: []string{one.Listener.Addr().String()}})
	if err == nil {
		err = p.Rollout(ctx, "web", parachute.Rollout{
			Targets: []string{two.Listener.Addr().String()},
			Split:   parachute.Split{List: []string{"colleague"}}, // in the cookie parachute-rollout
		})
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer(p))
	fmt.Println(answer(p, &http.Cookie{Name: "parachute-rollout", Value: "colleague"}))
	// Output:
	// one
	// two
}

// Who goes to a rollout may be said anew at any time. A visitor who has been
// there stays there as the share grows.
func ExampleProxy_SetSplit() {
	one, two := newApp("one"), newApp("two")
	defer one.Close()
	defer two.Close()
	p := deployed(one)
	defer p.Close()
	ctx := context.Background()
	err := p.Rollout(ctx, "web", parachute.Rollout{Targets: []string{two.Listener.Addr().String()}})
	for _, percent := range []int{0, 100} {
		if err == nil {
			err = p.SetSplit(ctx, "web", parachute.Split{Percent: percent})
			fmt.Printf("%d %%: %s\n", percent, answer(p))
		}
	}
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// 0 %: one
	// 100 %: two
}

// To make a rollout the service, deploy its targets, and end it.
func ExampleProxy_EndRollout() {
	one, two := newApp("one"), newApp("two")
	defer one.Close()
	defer two.Close()
	p := deployed(one)
	defer p.Close()
	ctx := context.Background()
	next := []string{two.Listener.Addr().String()}
	err := p.Rollout(ctx, "web", parachute.Rollout{Targets: next, Split: parachute.Split{Percent: 10}})
	if err == nil {
		err = p.Deploy(ctx, parachute.Deployment{Service: "web", Targets: next})
	}
	if err == nil {
		err = p.EndRollout(ctx, "web") // returns when its requests have ended
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer(p), p.Services()[0].Rollout == nil)
	// Output: two true
}

// Whoever embeds a Proxy gets to know what it does by hooks.
func ExampleNew() {
	app := newApp("hello")
	defer app.Close()
	p := parachute.New(parachute.Options{
		Notify: func(e parachute.Event) {
			if e.Kind != parachute.EventProbed {
				fmt.Println("event:", e.Service, e.Kind)
			}
		},
		Observe: func(r *http.Request, o parachute.Outcome) {
			fmt.Println("request:", r.URL.Path, "of", o.Service, o.Status)
		},
	})
	defer p.Close()
	err := p.Deploy(context.Background(), parachute.Deployment{
		Service: "web",
		Targets: []string{app.Listener.Addr().String()},
	})
	if err != nil {
		log.Fatal(err)
	}
	p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/cart", nil))
	// Output:
	// event: web deploying
	// event: web healthy
	// event: web switched
	// request: /cart of web 200
}

// A Proxy is a handler as any other, and goes where a handler goes: here, only
// what no page of the server's own is for.
func ExampleProxy_ServeHTTP() {
	app := newApp("from the app")
	defer app.Close()
	p := deployed(app)
	defer p.Close()
	mux := http.NewServeMux()
	mux.Handle("/", p)
	mux.HandleFunc("/about", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "from the server itself") })
	for _, path := range []string{"/about", "/cart"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		fmt.Println(w.Body)
	}
	// Output:
	// from the server itself
	// from the app
}

// Once a service is removed, its hosts are free, and its targets are asked
// nothing more.
func ExampleProxy_Only() {
	app := newApp("admin")
	defer app.Close()
	p := parachute.New(parachute.Options{})
	defer p.Close()
	err := p.Deploy(context.Background(), parachute.Deployment{Service: "admin", Targets: []string{app.Listener.Addr().String()}})
	if err != nil {
		log.Fatal(err)
	}
	for _, listener := range []http.Handler{p.Only("admin"), p.Except("admin")} { // a port of its own, and the others
		w := httptest.NewRecorder()
		listener.ServeHTTP(w, httptest.NewRequest("GET", "http://app1.example.com/", nil))
		fmt.Println(w.Code)
	}
	// Output:
	// 200
	// 404
}

func ExampleProxy_Except() {
	p := parachute.New(parachute.Options{})
	defer p.Close()
	go http.ListenAndServe("10.0.0.1:9000", p.Only("admin")) // behind a firewall
	go http.ListenAndServe(":80", p.Except("admin"))
}

func ExampleProxy_Remove() {
	app := newApp("hello")
	p := deployed(app)
	defer p.Close()
	err := p.Remove(context.Background(), "web")
	app.Close()
	fmt.Println(err, len(p.Services()))

	err = p.Remove(context.Background(), "web")
	fmt.Println(err, errors.Is(err, parachute.ErrNotFound))
	// Output:
	// <nil> 0
	// parachute: remove web: no such service true
}

// When Pause has returned, no request is on the app: the moment to move its
// database. Those that come meanwhile wait, and are answered afterwards.
func ExampleProxy_Pause() {
	app := newApp("hello")
	defer app.Close()
	p := deployed(app)
	defer p.Close()
	if err := p.Pause(context.Background(), "web", parachute.Pause{Max: time.Minute}); err != nil {
		log.Fatal(err)
	}
	held := make(chan string)
	go func() { held <- answer(p) }()
	// ... move the database ...
	if err := p.Resume(context.Background(), "web"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-held)
	// Output: hello
}

// A service that is stopped answers with a page, for as long as it takes.
func ExampleProxy_Stop() {
	app := newApp("hello")
	defer app.Close()
	p := deployed(app)
	defer p.Close()
	if err := p.Stop(context.Background(), "web", parachute.Stop{Message: "Back at noon"}); err != nil {
		log.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept", "text/plain")
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	fmt.Println(w.Code, strings.Contains(w.Body.String(), "Back at noon"))
	// Output: 503 true
}

// Only Resume ends a pause or a stop: a deploy does not.
func ExampleProxy_Resume() {
	one, two := newApp("one"), newApp("two")
	defer one.Close()
	defer two.Close()
	p := deployed(one)
	defer p.Close()
	ctx := context.Background()
	err := p.Stop(ctx, "web", parachute.Stop{})
	if err == nil {
		err = p.Deploy(ctx, parachute.Deployment{Service: "web", Targets: []string{two.Listener.Addr().String()}})
	}
	fmt.Println(p.Services()[0].State)
	if err == nil {
		err = p.Resume(ctx, "web")
	}
	fmt.Println(p.Services()[0].State, answer(p), err)
	// Output:
	// stopped
	// serving two <nil>
}

// What is deployed, and how it is at the moment.
func ExampleProxy_Services() {
	app := newApp("hello")
	defer app.Close()
	p := deployed(app)
	defer p.Close()
	for _, s := range p.Services() {
		fmt.Println(s.Service, s.State, "generation", s.Generation)
		for _, t := range s.Live.Targets {
			fmt.Println("target", t.Health, t.Requests, "requests")
		}
	}
	// Output:
	// web serving generation 1
	// target healthy 0 requests
}

// When do certificates expire, and what keeps those that are missing?
func ExampleProxy_Certificates() {
	p := parachute.New(parachute.Options{})
	defer p.Close()
	for _, c := range p.Certificates() {
		switch {
		case c.Issuer == "":
			fmt.Printf("%s has none yet: %s\n", c.Host, c.Error)
		case time.Until(c.Expires) < 7*24*time.Hour:
			fmt.Printf("%s has one that expires at %v: %s\n", c.Host, c.Expires, c.Error)
		}
	}
	// Output:
}

// Servers wait for requests, and the Proxy for what a server does not see or
// would wait for in vain: upgraded connections and event streams.
func ExampleProxy_Shutdown() {
	p := parachute.New(parachute.Options{})
	defer p.Close()
	server := &http.Server{Addr: "127.0.0.1:0", Handler: p}
	go server.ListenAndServe()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- p.Shutdown(ctx) }()
	fmt.Println(errors.Join(server.Shutdown(ctx), <-drained))
	// Output: <nil>
}

// After Close nothing is left running, and requests are answered 503.
func ExampleProxy_Close() {
	app := newApp("hello")
	defer app.Close()
	p := deployed(app)
	p.Close()
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	fmt.Println(w.Code)
	err := p.Deploy(context.Background(), parachute.Deployment{Service: "web", Targets: []string{"10.0.0.7:3000"}})
	fmt.Println(errors.Is(err, parachute.ErrClosed))
	// Output:
	// 503
	// true
}

// newApp returns an app that answers every request with a text.
func newApp(text string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, text) }))
}

// deployed returns a Proxy that serves app as the service web.
func deployed(app *httptest.Server) *parachute.Proxy {
	p := parachute.New(parachute.Options{})
	err := p.Deploy(context.Background(), parachute.Deployment{
		Service: "web",
		Targets: []string{app.Listener.Addr().String()},
	})
	if err != nil {
		log.Fatal(err)
	}
	return p
}

// answer returns what p answers a visitor with those cookies.
func answer(p *parachute.Proxy, cookies ...*http.Cookie) string {
	r := httptest.NewRequest("GET", "/", nil)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Body.String()
}

// Two versions of an app that are part of the same program: no socket lies in
// between.
func ExampleOptions_handlers() {
	app := func(version string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, version) })
	}
	p := parachute.New(parachute.Options{Handlers: map[string]http.Handler{"one": app("version 1"), "two": app("version 2")}})
	defer p.Close()
	for _, target := range []string{"handler:one", "handler:two"} {
		if err := p.Deploy(context.Background(), parachute.Deployment{Service: "web", Targets: []string{target}}); err != nil {
			log.Fatal(err)
		}
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Println(w.Body)
	}
	// Output:
	// version 1
	// version 2
}
