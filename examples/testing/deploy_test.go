// Package testing_test shows a proxy inside a test of somebody's own: does the
// app take a deploy without losing a request?
package testing_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// app is what is to be tested: a version of an app. Slow answers /slow, in its own
// time.
func app(version string, slow http.HandlerFunc) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/up", func(w http.ResponseWriter, r *http.Request) {})
	mux.HandleFunc("/slow", slow)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, version) })
	return httptest.NewServer(mux)
}

// newProxy returns a proxy, and a server in front of it, both for one test.
func newProxy(t *testing.T) (*parachute.Proxy, *httptest.Server) {
	proxy := parachute.New(parachute.Options{})
	front := httptest.NewServer(proxy)
	t.Cleanup(func() {
		proxy.Close()
		front.Close()
	})
	return proxy, front
}

// deployment is how the app is deployed, wherever it listens.
func deployment(app *httptest.Server) parachute.Deployment {
	return parachute.Deployment{Service: "app", Targets: []string{app.Listener.Addr().String()}}
}

func TestNoRequestIsLostWhenTheNextVersionIsDeployed(t *testing.T) {
	is := is.New(t)
	proxy, front := newProxy(t)
	one, two := app("one", http.NotFound), app("two", http.NotFound)
	defer two.Close()
	is.NoErr(proxy.Deploy(t.Context(), deployment(one)))

	clients := keepBusy(front, 8)
	clients.await(100)
	is.NoErr(proxy.Deploy(t.Context(), deployment(two)))
	one.Close() // the deploy has returned, so nobody needs it
	clients.await(100)
	is.NoErr(clients.stop()) // none has failed

	answer, err := ask(front, "/")
	is.NoErr(err)
	is.Equal(answer, "two")
}

func TestRequestThatRunsIsAnsweredByTheVersionThatItCameTo(t *testing.T) {
	is := is.New(t)
	proxy, front := newProxy(t)
	arrived, finish := make(chan bool), make(chan bool)
	one := app("one", func(w http.ResponseWriter, r *http.Request) {
		arrived <- true
		<-finish
		io.WriteString(w, "one, slowly")
	})
	defer one.Close()
	two := app("two", http.NotFound)
	defer two.Close()
	is.NoErr(proxy.Deploy(t.Context(), deployment(one)))

	answer := make(chan string, 1)
	go func() {
		text, err := ask(front, "/slow")
		answer <- fmt.Sprint(text, err)
	}()
	<-arrived
	deployed := make(chan error, 1)
	go func() { deployed <- proxy.Deploy(t.Context(), deployment(two)) }()
	for text := ""; text != "two"; { // until the switch
		var err error
		text, err = ask(front, "/")
		is.NoErr(err)
	}
	select {
	case <-deployed:
		t.Error("the deploy did not wait for the request")
	default:
	}
	close(finish)
	is.Equal(<-answer, "one, slowly<nil>")
	is.NoErr(<-deployed)
}

func TestVersionThatIsNotHealthyChangesNothing(t *testing.T) {
	is := is.New(t)
	proxy, front := newProxy(t)
	one := app("one", http.NotFound)
	defer one.Close()
	broken := httptest.NewServer(http.NotFoundHandler())
	defer broken.Close()
	is.NoErr(proxy.Deploy(t.Context(), deployment(one)))

	d := deployment(broken)
	d.Timeouts.Deploy = 50 * time.Millisecond
	err := proxy.Deploy(t.Context(), d)
	is.True(errors.Is(err, parachute.ErrUnhealthy))

	answer, err := ask(front, "/")
	is.NoErr(err)
	is.Equal(answer, "one")
}

// ask returns the answer of what is deployed. It posts, for net/http sends a GET
// again if the connection was lost, which would hide a request that was.
func ask(front *httptest.Server, path string) (string, error) {
	resp, err := front.Client().Post(front.URL+path, "text/plain", strings.NewReader("x"))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("answer: %s", resp.Status)
	}
	return string(body), err
}

// A load is a number of clients that ask all the time.
type load struct {
	running sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	more    sync.Cond  // is told of each answer
	answers int
	ended   bool
	failed  error // all that went wrong
}

func keepBusy(front *httptest.Server, clients int) *load {
	l := new(load)
	l.more.L = &l.mu
	for range clients {
		l.running.Go(func() { l.run(front) })
	}
	return l
}

// run is one client.
func (l *load) run(front *httptest.Server) {
	for goOn := true; goOn; {
		_, err := ask(front, "/")
		goOn = l.count(err)
	}
}

// count counts an answer, and reports whether there are to be more.
func (l *load) count(err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers++
	l.failed = errors.Join(l.failed, err)
	l.more.Broadcast()
	return !l.ended
}

// await returns when so many more requests have been answered.
func (l *load) await(requests int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for until := l.answers + requests; l.answers < until; {
		l.more.Wait()
	}
}

// stop ends the clients, and returns what went wrong.
func (l *load) stop() error {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.running.Wait()
	return l.failed
}
