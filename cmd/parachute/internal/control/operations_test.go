package control_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// statusOf returns that of the service web.
func (p *plane) statusOf(t *testing.T) parachute.Status {
	t.Helper()
	services, err := p.client.Services(t.Context())
	if err != nil || len(services) != 1 {
		t.Fatal(services, err)
	}
	return services[0]
}

func TestServiceIsPausedStoppedAndResumedFromAfar(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	is.NoErr(p.proxy.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{newTarget(t)}}))
	var kinds []parachute.EventKind
	hear := func(e parachute.Event) { kinds = append(kinds, e.Kind) }

	result, err := p.client.Pause(t.Context(), "web", parachute.Pause{Max: 10 * time.Second, Drain: -1}, hear)
	is.NoErr(err)
	is.Equal(result.Service, "web")
	s := p.statusOf(t)
	is.Equal(s.State, parachute.StatePaused)
	is.Equal(*s.Pause, parachute.Pause{Max: 10 * time.Second, Drain: -1})

	_, err = p.client.Stop(t.Context(), "web", parachute.Stop{Message: "Back, at \"noon\""}, hear)
	is.NoErr(err)
	s = p.statusOf(t)
	is.Equal(s.State, parachute.StateStopped)
	is.Equal(s.Stop.Message, "Back, at \"noon\"")

	_, err = p.client.Resume(t.Context(), "web", hear)
	is.NoErr(err)
	is.Equal(p.statusOf(t).State, parachute.StateServing)
	kinds = slices.DeleteFunc(kinds, func(k parachute.EventKind) bool {
		return k == parachute.EventDraining || k == parachute.EventDrained
	})
	is.Equal(kinds, []parachute.EventKind{parachute.EventPaused, parachute.EventStopped, parachute.EventResumed})
}

func TestServiceIsRolledOutFromAfar(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	first, second := newTarget(t), newTarget(t)
	is.NoErr(p.proxy.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{first}}))
	var last parachute.EventKind
	var told parachute.Event
	hear := func(e parachute.Event) {
		switch e.Kind {
		case parachute.EventSwitched, parachute.EventSplit, parachute.EventRolloutEnded:
			last, told = e.Kind, e
		}
	}

	_, err := p.client.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{second}}, hear)
	is.NoErr(err)
	is.Equal(last, parachute.EventSwitched)
	is.Equal(told.Targets, []string{second})
	is.Equal(p.statusOf(t).Rollout.Targets, []string{second})

	_, err = p.client.AmendSplit(t.Context(), "web", control.SplitPatch{Percent: new(10), List: &[]string{"v1", "v2"}}, hear)
	is.NoErr(err)
	is.Equal(last, parachute.EventSplit)
	is.Equal(*told.Split, parachute.Split{Percent: 10, List: []string{"v1", "v2"}})
	is.Equal(p.statusOf(t).Rollout.Split, parachute.Split{Percent: 10, List: []string{"v1", "v2"}})

	last = ""
	_, err = p.client.EndRollout(t.Context(), "web", hear)
	is.NoErr(err)
	is.Equal(last, parachute.EventRolloutEnded)
	is.Equal(p.statusOf(t).Rollout, nil)
	is.Equal(p.statusOf(t).Deployment.Targets, []string{first})
}

func TestOperationsOfNoServiceAreNotFound(t *testing.T) {
	p := newPlane(t, parachute.Options{})
	for name, do := range operations(p.client) {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			_, err := do(t.Context(), "web")
			is.Equal(whichOf(err), []error{parachute.ErrNotFound})
			_, err = do(t.Context(), "")
			is.True(errors.Is(err, parachute.ErrInvalid)) // "" is no name
		})
	}
}

// operations returns what a client can do to a service, but deploy it.
func operations(c *control.Client) map[string]func(ctx context.Context, service string) (control.Result, error) {
	return map[string]func(ctx context.Context, service string) (control.Result, error){
		"pause": func(ctx context.Context, service string) (control.Result, error) {
			return c.Pause(ctx, service, parachute.Pause{}, nil)
		},
		"stop": func(ctx context.Context, service string) (control.Result, error) {
			return c.Stop(ctx, service, parachute.Stop{}, nil)
		},
		"resume": func(ctx context.Context, service string) (control.Result, error) {
			return c.Resume(ctx, service, nil)
		},
		"rollout": func(ctx context.Context, service string) (control.Result, error) {
			return c.Rollout(ctx, service, parachute.Rollout{Targets: []string{"web-1:3000"}}, nil)
		},
		"split": func(ctx context.Context, service string) (control.Result, error) {
			return c.AmendSplit(ctx, service, control.SplitPatch{Percent: new(1)}, nil)
		},
		"end rollout": func(ctx context.Context, service string) (control.Result, error) {
			return c.EndRollout(ctx, service, nil)
		},
	}
}

func TestOperationsAreRefusedWhileTheProxyStops(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	is.NoErr(p.proxy.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{newTarget(t)}}))
	p.server.Refuse()
	for name, do := range operations(p.client) {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			_, err := do(t.Context(), "web")
			is.True(errors.Is(err, parachute.ErrClosed))
		})
	}
}

func TestPauseThatCutsRequestsOffSaysHowMany(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	app := newSlowTarget(t)
	is.NoErr(p.proxy.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{app.address}}))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.serve("/slow")
	}()
	<-app.arrived
	result, err := p.client.Pause(t.Context(), "web", parachute.Pause{Drain: -1}, nil)
	is.NoErr(err)
	is.Equal(result.Requests, int64(1))
	<-ended
}

func TestPauseDuringTheDrainOfADeployHasItsOwnEvents(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	app := newSlowTarget(t)
	is.NoErr(p.proxy.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{app.address}}))
	go p.serve("/slow")
	<-app.arrived
	draining, deployed := make(chan struct{}), make(chan error, 1)
	var once sync.Once // the drain of the pause has the same number
	go func() {
		_, err := p.client.Deploy(context.WithoutCancel(t.Context()), parachute.Deployment{Service: "web", Targets: []string{newTarget(t)}}, func(e parachute.Event) {
			if e.Kind == parachute.EventDraining && e.Requests == 1 {
				once.Do(func() { close(draining) })
			}
		})
		deployed <- err
	}()
	<-draining
	paused := false
	_, err := p.client.Pause(t.Context(), "web", parachute.Pause{}, func(e parachute.Event) {
		if e.Kind == parachute.EventPaused {
			paused = true
			close(app.finish) // which the pause waits for, too
		}
	})
	is.NoErr(err)
	is.True(paused) // although the deploy went on, whose number it has
	is.NoErr(<-deployed)
}

func TestOperationsHaveRoutesForCurl(t *testing.T) {
	p := newPlane(t, parachute.Options{})
	target := newTarget(t)
	if err := p.proxy.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{target}}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		method, path, body string
		status             int
		says               []string
	}{
		{"POST", "/pause", "", 200, []string{`"service":"web"`}},
		{"POST", "/pause", `{"max":"5s","drain":"1s"}`, 200, nil},
		{"POST", "/stop", `{"message":"Back at noon"}`, 200, nil},
		{"POST", "/resume", "", 200, nil},
		{"PUT", "/rollout", `{"targets":["` + target + `"]}`, 200, nil},
		{"PUT", "/rollout/split", `{"percent":10}`, 200, nil},
		{"DELETE", "/rollout", "", 200, nil},

		{"PUT", "/pause", "", 405, []string{"this path takes POST"}},
		{"GET", "/rollout", "", 405, []string{"this path takes PUT, DELETE"}},
		{"POST", "/pause", `{"maximum":"5s"}`, 400, []string{"parachute: pause web: ", "maximum", "max"}},
		{"POST", "/pause", `{"max":5}`, 400, []string{"max"}},
		{"POST", "/stop", `"Back at noon"`, 400, []string{"JSON string", `{\"message\"`}},
		{"PUT", "/rollout", "", 400, []string{"no body", `{\"targets\"`}},
		{"PUT", "/rollout", `{"targets":[]}`, 400, []string{"no target"}},
		{"PUT", "/rollout/split", "", 400, []string{"no body", `{\"percent\"`}},
		{"PUT", "/rollout/split", `{"percent":130}`, 400, []string{"130"}},
		{"DELETE", "/rollout", "", 200, nil}, // a script may repeat it
	} {
		t.Run(test.method+" "+test.path+" "+test.body, func(t *testing.T) {
			is := is.New(t)
			status, answer := p.request(t, test.method, "/v1/services/web"+test.path, test.body)
			is.Equal(status, test.status)
			if !saysAll(answer, test.says...) {
				t.Errorf("%s: want all of %q", answer, test.says)
			}
		})
	}
}

// serve has the proxy serve a request for a path.
func (p *plane) serve(path string) {
	p.proxy.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
}

func TestDeployTellsThatOthersAreBelieved(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	d := parachute.Deployment{Service: "web", Targets: []string{newTarget(t)}}
	trusts := []parachute.Trust{parachute.TrustEverybody, parachute.TrustEverybody, parachute.TrustProxies, parachute.TrustNobody}
	for i, want := range []string{
		"", "",
		"the X-Forwarded headers of the trusted proxies are believed now, and no longer those of everybody: to keep what was, deploy with --forward-headers, or better, name the proxies in front with run --trusted-proxies",
		"the X-Forwarded headers of nobody are believed now, and no longer those of the trusted proxies: to keep what was, deploy without --forward-headers",
	} {
		d.Forwarded.Trust = trusts[i]
		result, err := p.client.Deploy(t.Context(), d, nil)
		is.NoErr(err)
		is.Equal(result.Trust, want)
	}
	status, answer := p.request(t, "PUT", "/v1/services/web", `{"targets":["`+d.Targets[0]+`"],"forwarded":{"trust":"everybody"}}`)
	is.Equal(status, 200)
	is.True(saysAll(answer, `"trust":"`, "deploy with --forward-headers=false")) // for curl, too
	d.Targets = []string{"127.0.0.1:9"}
	d.Timeouts.Deploy = time.Millisecond
	_, err := p.client.Deploy(t.Context(), d, nil)
	is.True(errors.Is(err, parachute.ErrUnhealthy)) // which changes nothing
}
