package control_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

func TestPrinterPrintsALinePerEventAndAtLastTheEnd(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	p := control.NewPrinter(&out)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p.Event(parachute.Event{Time: at, Service: "web", Generation: 42, Kind: parachute.EventProbed, Target: "a:1",
		Probe:  &parachute.Probe{Time: at, Took: 12 * time.Millisecond, URL: "http://a:1/up", Host: "a:1", Status: 503, Cause: parachute.CauseServerError},
		Probes: 4, Elapsed: 1200 * time.Millisecond, Limit: 30 * time.Second})
	p.Event(parachute.Event{Time: at, Service: "web", Generation: 42, Kind: parachute.EventDrained, Elapsed: time.Second, Unused: []string{"b:1"}})
	p.Result(control.Result{Service: "web", Generation: 42})
	p.Error(fmt.Errorf("deploy: %w", &parachute.ConflictError{Host: "a.test", Owner: "shop"}), "", "do this")
	p.Error(&control.NoProxyError{}, "", "")
	p.Error(errors.New("no colon"), "usage", "")
	is.Equal(out.String(), `{"event":{"time":"2026-01-02T03:04:05Z","service":"web","generation":42,"kind":"probed","target":"a:1",`+
		`"probe":{"time":"2026-01-02T03:04:05Z","url":"http://a:1/up","host":"a:1","status":503,"cause":"server_error","passed":false,"took":"12ms"},`+
		`"probes":4,"elapsed":"1.2s","limit":"30s"}}
{"event":{"time":"2026-01-02T03:04:05Z","service":"web","generation":42,"kind":"drained","elapsed":"1s","unused":["b:1"]}}
{"result":{"service":"web","generation":42,"requests_cut":0,"streams_closed":0}}
{"error":{"code":"conflict","message":"deploy: host a.test is used by another service: shop; remove that one first","hint":"do this","conflict":{"host":"a.test","owner":"shop"}}}
{"error":{"code":"no_proxy","message":"no proxy answers: there is no socket to try"}}
{"error":{"code":"usage","message":"no colon"}}
`)
}

func TestEventsThatTellHowADrainGoesOnAreDroppedForWhoDoesNotRead(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	sick, heal := newSickTarget(t)
	var kinds []parachute.EventKind
	ended := make(chan error)
	go func() {
		_, err := p.client.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{sick}}, func(e parachute.Event) {
			if len(kinds) == 0 {
				// The client reads no more until the server has been told of far more
				// than any buffer holds.
				for range 5_000 {
					p.server.Notify(parachute.Event{Service: e.Service, Generation: e.Generation, Kind: parachute.EventDraining, Elapsed: time.Second,
						Unused: []string{strings.Repeat("x", 2000)}})
				}
				heal()
			}
			kinds = append(kinds, e.Kind)
		})
		ended <- err
	}()
	is.NoErr(<-ended)
	is.True(len(kinds) < 4_000)                            // not all of them were kept
	is.Equal(kinds[len(kinds)-1], parachute.EventSwitched) // but what counts was
}
