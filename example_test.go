package parachute_test

import (
	"context"
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
		Timeouts: parachute.Timeouts{Deploy: 100 * time.Millisecond}, // if 0, 30 s
	})
	fmt.Println(strings.HasPrefix(err.Error(), "parachute: deploy web: "))
	// Output: true
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
	app := func(name string) *httptest.Server {
		return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name) }))
	}
	one, two := app("one"), app("two")
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
	if err == nil {
		err = p.SetSplit(ctx, "web", parachute.Split{Percent: 100, List: []string{"colleague"}})
	}
	if err != nil {
		log.Fatal(err)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	fmt.Println(w.Body)
	// Output: two
}
