package control_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// handOver has next take the place of old, as after an upgrade.
func handOver(t *testing.T, old, next *plane) {
	t.Helper()
	old.server.HandOver(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", next.socket)
	})
	if err := old.proxy.HandOver(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
}

// newPlanes starts two proxies with the same service web.
func newPlanes(t *testing.T) (old, next *plane) {
	t.Helper()
	old, next = newPlane(t, parachute.Options{}), newPlane(t, parachute.Options{})
	target := newTarget(t)
	for _, p := range []*plane{old, next} {
		if err := p.proxy.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{target}}); err != nil {
			t.Fatal(err)
		}
	}
	return old, next
}

// targetsOf returns what web serves in p, as it is told.
func targetsOf(p *plane) string {
	s, _ := p.proxy.Service("web")
	return strings.Join(s.Deployment.Targets, ",")
}

func TestChangesThatRunWhenTheProxyIsReplacedAreMadeByTheNewOne(t *testing.T) {
	timeouts := parachute.Timeouts{Deploy: time.Minute, Drain: time.Second}
	for name, tc := range map[string]struct {
		run   func(c *control.Client, target string, events func(parachute.Event)) error
		wait  parachute.EventKind // that it has sent when the proxy is replaced; empty: none
		moves bool                // the target serves then
	}{
		"deploy": {func(c *control.Client, target string, events func(parachute.Event)) error {
			_, err := c.DeployIn(t.Context(), parachute.Deployment{Service: "web", Targets: []string{target}, Timeouts: timeouts}, control.Manner{}, events)
			return err
		}, parachute.EventDeploying, true},
		"apply": {func(c *control.Client, target string, events func(parachute.Event)) error {
			document := `{"version":1,"services":[{"service":"web","targets":["` + target + `"],"timeouts":{"deploy":"1m"}}]}`
			applied, err := c.Apply(t.Context(), control.Application{Document: []byte(document), Events: events})
			if err == nil && applied.Replaced != 1 {
				return errors.New("it tells of something else")
			}
			return err
		}, parachute.EventDeploying, true},
		"deploy that waits for its turn": {func(c *control.Client, target string, events func(parachute.Event)) error {
			_, err := c.DeployIn(t.Context(), parachute.Deployment{Service: "web", Targets: []string{target}}, control.Manner{Wait: true}, events)
			return err
		}, "", true},
		"dry run": {func(c *control.Client, target string, events func(parachute.Event)) error {
			result, err := c.DeployIn(t.Context(), parachute.Deployment{Service: "web", Targets: []string{target}, Timeouts: timeouts}, control.Manner{DryRun: true}, events)
			if err == nil && !result.DryRun {
				return errors.New("it was no dry run")
			}
			return err
		}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			old, next := newPlanes(t)
			want := targetsOf(next)
			sick, heal := newSickTarget(t)
			if tc.moves {
				want = sick
			}
			var leave func()
			if name == "deploy that waits for its turn" {
				var err error
				leave, err = old.proxy.Turn(t.Context(), "web")
				is.NoErr(err)
			}
			begun, ended := make(chan struct{}, 1), make(chan error, 1)
			go func() {
				ended <- tc.run(old.client, sick, func(e parachute.Event) {
					if e.Kind == tc.wait {
						select {
						case begun <- struct{}{}:
						default:
						}
					}
				})
			}()
			if tc.wait != "" {
				<-begun
			}
			handOver(t, old, next)
			heal()
			is.NoErr(<-ended)
			if leave != nil {
				leave()
			}
			is.Equal(targetsOf(next), want)
		})
	}
}

func TestChangeThatIsHandedOnTooLateIsSuperseded(t *testing.T) {
	is := is.New(t)
	old, next := newPlane(t, parachute.Options{}), newPlane(t, parachute.Options{})
	gone := make(chan struct{})
	next.server.Predecessor = gone
	handOver(t, old, next)
	first, second := newTarget(t), newTarget(t)
	deploy := func(c *control.Client, target string) error {
		_, err := c.DeployIn(t.Context(), parachute.Deployment{Service: "web", Targets: []string{target}}, control.Manner{}, nil)
		return err
	}
	// What is handed on comes in its order, and before what is asked for here.
	is.NoErr(deploy(old.client, first))
	is.NoErr(deploy(old.client, second))
	is.NoErr(deploy(next.client, first))
	err := deploy(old.client, second)
	is.True(errors.Is(err, parachute.ErrSuperseded))
	is.Equal(err.Error(), "parachute: deploy web: a newer change of the service came first, over an upgrade of the proxy")
	is.Equal(targetsOf(next), first)
	_, err = old.client.Apply(t.Context(), control.Application{Document: []byte(`{"version":1,"services":[{"service":"web","targets":["` + second + `"]}]}`)})
	is.True(errors.Is(err, parachute.ErrSuperseded))
	is.Equal(targetsOf(next), first)

	// A promotion is about what is deployed, too.
	_, err = old.client.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{second}}, nil)
	is.NoErr(err)
	_, err = old.client.Promote(t.Context(), "web", nil)
	is.True(errors.Is(err, parachute.ErrSuperseded))
	is.Equal(targetsOf(next), first)

	// A pause is not about what is deployed.
	_, err = old.client.Pause(t.Context(), "web", parachute.Pause{}, nil)
	is.NoErr(err)
	_, err = next.client.Resume(t.Context(), "web", nil)
	is.NoErr(err)
	_, err = old.client.Stop(t.Context(), "web", parachute.Stop{}, nil)
	is.True(errors.Is(err, parachute.ErrSuperseded))

	// A removal is about all of it.
	_, err = next.client.Remove(t.Context(), "web", nil)
	is.NoErr(err)
	is.True(errors.Is(deploy(old.client, second), parachute.ErrSuperseded))
	is.Equal(len(next.proxy.Services()), 0)

	close(gone) // nothing is late any more
	is.NoErr(deploy(old.client, second))
	is.Equal(targetsOf(next), second)
}

func TestOfTwoChangesThatAreHandedOnTheOneThatWasAskedForLastServes(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	p.server.Predecessor = make(chan struct{})
	handler := p.server.Handler(p.proxy)
	first, second := newTarget(t), newTarget(t)
	is.Equal(putLate(t, handler, second, "8"), http.StatusOK)
	is.Equal(putLate(t, handler, first, "7"), http.StatusConflict)
	is.Equal(targetsOf(p), second)
	is.Equal(putLate(t, handler, first, "9"), http.StatusOK)
	is.Equal(targetsOf(p), first)
}

// putLate deploys web as a process does that hands it on, and returns the status.
func putLate(t *testing.T, handler http.Handler, target, arrival string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "PUT", "/v1/services/web", strings.NewReader(`{"targets":["`+target+`"]}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Parachute-Arrival", arrival)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w.Code
}
