package control_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
)

// answering is a proxy whose changes all end with that error.
func answering(t *testing.T, err error) *plane {
	t.Helper()
	return newPlane(t, parachute.Options{Commit: func([]parachute.Status) error { return err }})
}

// deployment returns one that switches without waiting.
func deployment(service string) parachute.Deployment {
	return parachute.Deployment{Service: service, Targets: []string{"127.0.0.1:1"}, Force: true}
}

func TestErrorsAreTheSameOnBothSides(t *testing.T) {
	unhealthy := &parachute.UnhealthyError{
		Waited: 30 * time.Second,
		Targets: []parachute.UnhealthyTarget{
			{Address: "10.0.0.7:3000", Probes: 31, Last: &parachute.Probe{
				Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Took: 12 * time.Millisecond,
				URL: "http://10.0.0.7:3000/up", Host: "10.0.0.7:3000", Status: 301, Location: "https://app1.example.com/up",
			}},
			{Address: "10.0.0.8:3000"},
		},
	}
	errs := []error{
		errors.New("no space left on device"),
		&parachute.ConflictError{Host: "app1.example.com", Owner: "shop"},
		&parachute.ConflictError{Owner: "shop"},
		&parachute.ConflictError{Host: "app1.example.com", Prefix: "/api", Owner: "shop"},
		&parachute.ConflictError{Host: "app1.example.com", Owner: "shop", Dispute: "has no TLS"},
		unhealthy,
		fmt.Errorf("commit: %w", unhealthy),
		&parachute.TakenBackError{
			Generation: 43, Restores: 41, Targets: []string{"10.0.0.7:3000"}, Reason: "43 of 98 requests failed",
			Bake:   &parachute.BakeReport{Now: parachute.BakeFigures{Requests: 98, Errors: 43, P99: time.Second}},
			Routes: []parachute.FailedRoute{{Route: "GET /shop", Status: 500, Requests: 43, RequestID: "id-1"}},
		},
	}
	for _, s := range sentinels() {
		errs = append(errs, fmt.Errorf("the reason: %w", s))
	}
	for _, want := range errs {
		t.Run(want.Error(), func(t *testing.T) {
			is := is.New(t)
			p := answering(t, want)
			local := p.proxy.Deploy(t.Context(), deployment("web"))
			_, remote := p.client.Deploy(t.Context(), deployment("web"), nil)
			is.Equal(textOf(remote), textOf(local))                         // it reads the same
			is.Equal(fmt.Sprintf("%+v", remote), fmt.Sprintf("%+v", local)) // in full too
			is.Equal(whichOf(remote), whichOf(local))                       // it is the same sentinel

			var conflict, wantConflict *parachute.ConflictError
			is.Equal(errors.As(remote, &conflict), errors.As(local, &wantConflict))
			is.Equal(conflict, wantConflict) // with its fields
			var health, wantHealth *parachute.UnhealthyError
			is.Equal(errors.As(remote, &health), errors.As(local, &wantHealth))
			is.Equal(health, wantHealth) // with its fields
			var back, wantBack *parachute.TakenBackError
			is.Equal(errors.As(remote, &back), errors.As(local, &wantBack))
			is.Equal(back, wantBack) // with its fields
		})
	}
}

func TestErrorsOfTheLibraryArriveWhole(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	sick, _ := newSickTarget(t)
	var unhealthy *parachute.UnhealthyError
	limit := 30 * time.Millisecond
	for ; ; limit *= 2 {
		_, err := p.client.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{sick}, Timeouts: parachute.Timeouts{Deploy: limit}}, nil)
		is.True(errors.Is(err, parachute.ErrUnhealthy))
		is.True(errors.As(err, &unhealthy))
		if unhealthy.Targets[0].Last != nil || limit > time.Minute { // the first probe was in time
			break
		}
	}
	is.Equal(unhealthy.Waited, limit)
	is.Equal(unhealthy.Targets[0].Address, sick)
	is.Equal(unhealthy.Targets[0].Last.Status, 503)       // what the target answered
	is.Equal(unhealthy.Targets[0].Last.Body, "not yet\n") // and why

	address := newTarget(t)
	d := parachute.Deployment{Service: "web", Targets: []string{address}, Hosts: []string{"app1.example.com"}}
	_, err := p.client.Deploy(t.Context(), d, nil)
	is.NoErr(err)
	d.Service = "shop"
	_, err = p.client.Deploy(t.Context(), d, nil)
	var conflict *parachute.ConflictError
	is.True(errors.Is(err, parachute.ErrConflict))
	is.True(errors.As(err, &conflict))
	is.Equal(*conflict, parachute.ConflictError{Host: "app1.example.com", Owner: "web"})

	_, err = p.client.Remove(t.Context(), "blog", nil)
	is.True(errors.Is(err, parachute.ErrNotFound))
	_, err = p.client.Deploy(t.Context(), deployment("no/such name"), nil)
	is.True(errors.Is(err, parachute.ErrInvalid))
	is.True(saysAll(err.Error(), "no/such name")) // the library has judged the name as it was given

	is.NoErr(p.proxy.Close())
	_, err = p.client.Deploy(t.Context(), d, nil)
	is.True(errors.Is(err, parachute.ErrClosed))
}

func TestNamesArriveAsTheyAre(t *testing.T) {
	there := newPlane(t, parachute.Options{})
	here := parachute.New(parachute.Options{})
	defer here.Close()
	for _, name := range []string{"a", ".", "..", "a/b", "a//b", "/", "//", "a b", "a?b", "a#b", "a%2Fb", "%", "\x00", "\u00e4", "-a", "../../v1/version"} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			_, remote := there.client.Deploy(t.Context(), deployment(name), nil)
			is.Equal(textOf(remote), textOf(here.Deploy(t.Context(), deployment(name)))) // as in process
			_, remote = there.client.Remove(t.Context(), name, nil)
			is.Equal(textOf(remote), textOf(here.Remove(t.Context(), name))) // as in process
		})
	}
	t.Run("none", func(t *testing.T) {
		is := is.New(t)
		_, err := there.client.Deploy(t.Context(), deployment(""), nil)
		is.True(errors.Is(err, parachute.ErrInvalid))
		_, err = there.client.Remove(t.Context(), "", nil)
		is.True(errors.Is(err, parachute.ErrInvalid))
	})
}
