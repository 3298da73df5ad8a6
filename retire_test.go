package parachute_test

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// What is replaced may be shut down while it drains: nobody wants to know how it is,
// but for the deploy, which may have to return to it.
func TestNothingIsToldOfWhatIsReplacedWhileItDrains(t *testing.T) {
	for name, replace := range map[string]func(h *house) error{
		"by a deploy": func(h *house) error { return h.deploy("web", "new.test:80") },
		"removed":     func(h *house) error { return h.Remove(h.t.Context(), "web") },
		"by a rollout": func(h *house) error {
			return h.Rollout(h.t.Context(), "web", parachute.Rollout{Targets: []string{"new.test:80"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				old := h.slow("old", "old.test:80", 20*time.Second)
				h.app("new", "new.test:80")
				h.app("main", "main.test:80")
				if name == "by a rollout" {
					is.NoErr(h.deploy("web", "main.test:80"))
					is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"old.test:80"}, Split: parachute.Split{Percent: 100}}))
				} else {
					is.NoErr(h.deploy("web", "old.test:80"))
				}
				answer := h.ask("any.test")
				replaced := make(chan error, 1)
				go func() { replaced <- replace(h) }()
				time.Sleep(time.Second)
				probes := old.Probes()
				old.SetHealth(503)
				time.Sleep(15 * time.Second)
				is.Equal(old.Requests(), 1)                         // it drains still
				is.Equal(old.Probes() == probes, name == "removed") // nobody returns to that
				is.Equal(<-answer, "200 old")
				is.NoErr(<-replaced)
				is.Equal(len(h.of(parachute.EventUnhealthy)), 0)
			})
		})
	}
}

// What has been healthy a moment ago is asked again only if somebody had to be waited for.
func TestNewTargetsAreAskedOnceMoreWhereADrainTookTime(t *testing.T) {
	for name, tt := range map[string]struct {
		path string // of a request that is inside; "": there is none
		asks int
	}{
		"nobody":    {"", 0},
		"a request": {"/slow", 1},
		"a stream":  {"/events", 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				h.net.Serve(t, "old.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/events" {
						w.Header().Set("Content-Type", "text/event-stream")
						http.NewResponseController(w).Flush()
					}
					select {
					case <-r.Context().Done():
					case <-time.After(time.Second):
					}
				}))
				next := h.app("new", "new.test:80")
				is.NoErr(h.deploy("web", "old.test:80"))
				if tt.path != "" {
					r, err := http.NewRequest("GET", "http://proxy.test"+tt.path, nil)
					is.NoErr(err)
					go h.do(r)
					synctest.Wait()
				}
				is.NoErr(h.Deploy(t.Context(), parachute.Deployment{
					Service: "web", Targets: []string{"new.test:80"}, HealthCheck: parachute.HealthCheck{Interval: time.Minute},
				}))
				is.Equal(next.Probes(), 1+tt.asks) // the first was before the switch
			})
		})
	}
}

func TestHostsStayReservedWhileTheirDeployIsCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		begun, goOn := make(chan struct{}, 3), make(chan struct{})
		defer close(goOn)
		h := newHouse(t, parachute.Options{Commit: func([]parachute.Status) error {
			begun <- struct{}{}
			<-goOn
			return nil
		}})
		h.app("old", "old.test:80")
		app := h.app("new", "new.test:80")
		app.SetHealth(503)
		deploy := func(service, host, target string) <-chan error {
			done := make(chan error, 1)
			go func() {
				done <- h.Deploy(t.Context(), parachute.Deployment{Service: service, Hosts: []string{host}, Targets: []string{target}})
			}()
			return done
		}
		first := deploy("web", "app.test", "old.test:80")
		<-begun
		second := deploy("web", "www.app.test", "new.test:80") // which comes too late to end the first
		synctest.Wait()
		select {
		case err := <-deploy("shop", "app.test", "new.test:80"):
			is.True(errors.Is(err, parachute.ErrConflict))
		case <-time.After(time.Second):
			is.Fail() // what is being committed has that host
		}
		goOn <- struct{}{}
		is.NoErr(<-first)
		is.Equal(h.get("app.test"), "200 old")

		app.SetHealth(200)
		<-begun
		goOn <- struct{}{}
		is.NoErr(<-second)
		is.Equal(h.get("www.app.test"), "200 new")
		third := deploy("shop", "app.test", "new.test:80") // it is free now
		<-begun
		goOn <- struct{}{}
		is.NoErr(<-third)
		is.Equal(h.get("app.test"), "200 new")
	})
}
