package parachute_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// logTo returns a log that leaves out times and levels.
func logTo(out *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// linesOf returns the lines of a log that begin so, once nothing more is being logged.
func linesOf(log *bytes.Buffer, prefix string) (lines []string) {
	synctest.Wait()
	for line := range strings.Lines(log.String()) {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

func TestSwitchIsLoggedWithItsTargetsAndHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var log bytes.Buffer
		h := newHouse(t, parachute.Options{Logger: logTo(&log)})
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{
			Service: "web", Targets: []string{"one.test:80"}, ReadTargets: []string{"two.test:80"}, Hosts: []string{"A.test", "b.test"},
			Force: true, // there is no probe that would tell of the targets
		}))
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "rest", Targets: []string{"one.test:80"}, Force: true}))
		is.Equal(linesOf(&log, "msg=switched"), []string{
			`msg=switched service=web generation=1 targets="[one.test:80 two.test:80]" hosts="[a.test b.test]"`,
			`msg=switched service=rest generation=2 targets=[one.test:80] hosts=[]`,
		})
	})
}

// levelsTo returns a log that leaves out times.
func levelsTo(out *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func TestSwitchThatLetsSomebodyInIsAWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var log bytes.Buffer
		opened := parachute.Difference{Now: []string{"--allow 0.0.0.0/0"}, Opened: []string{"anybody may use it"}}
		h := newHouse(t, parachute.Options{Logger: levelsTo(&log), Compare: func(before, after parachute.Deployment) parachute.Difference {
			if len(before.Access.Allow) > len(after.Access.Allow) {
				return opened
			}
			return parachute.Difference{Now: []string{"another target"}}
		}})
		d := parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, Access: parachute.Access{Allow: []string{"10.0.0.0/8"}}, Force: true}
		is.NoErr(h.Deploy(t.Context(), d))
		is.NoErr(h.Deploy(t.Context(), d))
		d.Access.Allow = nil
		is.NoErr(h.Deploy(t.Context(), d))
		is.Equal(len(linesOf(&log, "level=INFO msg=switched")), 2)
		warnings := linesOf(&log, "level=WARN msg=switched")
		is.Equal(len(warnings), 1)
		is.True(strings.HasSuffix(warnings[0], ` now="[--allow 0.0.0.0/0]" opened="[anybody may use it]"`))
	})
}

func TestFiguresThatCannotBeKeptAtTheEndAreLogged(t *testing.T) {
	for name, tt := range map[string]struct {
		refused error
		lines   int
	}{"kept": {nil, 0}, "refused": {errors.New("disk full"), 1}, "left to another process": {parachute.ErrClosed, 0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var log bytes.Buffer
				var refused error
				h := newHouse(t, parachute.Options{Logger: levelsTo(&log), CommitDelta: func(parachute.Delta) error { return refused }})
				is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, Force: true}))
				refused = tt.refused
				is.NoErr(h.Close())
				is.Equal(len(linesOf(&log, `level=WARN msg="the figures of the history are lost`)), tt.lines)
			})
		})
	}
}

func TestRolloutIsLoggedWithItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var log bytes.Buffer
		var events []parachute.Event
		h := newHouse(t, parachute.Options{Logger: logTo(&log), Notify: func(e parachute.Event) { events = append(events, e) }})
		h.app("one", "one.test:80")
		h.app("two", "two.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, Hosts: []string{"a.test"}}))
		synctest.Wait() // nothing is being logged
		log.Reset()
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}}))
		is.NoErr(h.SetSplit(t.Context(), "web", parachute.Split{Percent: 10, List: []string{"staff"}}))
		is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{}))
		is.NoErr(h.EndRollout(t.Context(), "web"))
		is.Equal(linesOf(&log, "msg=switched"), []string{`msg=switched service=web generation=2 targets=[two.test:80] hosts=[a.test] percent=0 list=[]`})
		is.Equal(linesOf(&log, "msg=split"), []string{`msg=split service=web generation=1 percent=10 list=[staff]`})
		is.Equal(linesOf(&log, "msg=paused"), []string{`msg=paused service=web generation=1`})
		is.Equal(linesOf(&log, `msg="rollout ended"`), []string{`msg="rollout ended" service=web generation=3 percent=0 list=[]`})

		for _, e := range events {
			if e.Kind == parachute.EventSplit {
				is.Equal(*e.Split, parachute.Split{Percent: 10, List: []string{"staff"}})
			}
		}
	})
}

func TestServiceIsToldAloneAsAmongTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{KeepHistory: 3})
		for i, name := range []string{"one", "two", "api"} {
			h.app(name, name+".test:80")
			is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: name, Targets: []string{name + ".test:80"}, Hosts: []string{fmt.Sprint("host-", i, ".test")}}))
		}
		is.NoErr(h.Rollout(t.Context(), "two", parachute.Rollout{Targets: []string{"api.test:80"}, Split: parachute.Split{Percent: 50}}))
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "one", Targets: []string{"two.test:80"}, Hosts: []string{"host-0.test"}}))
		is.NoErr(h.Pause(t.Context(), "one", parachute.Pause{}))
		synctest.Wait()
		for _, want := range h.Services() {
			s, err := h.Service(want.Service)
			is.NoErr(err)
			is.True(s.Live != nil && s.History == nil)
			is.Equal(s, want)
			s.Deployment.Hosts[0] = "other.test" // which is the caller's own
			again, err := h.Service(want.Service)
			is.NoErr(err)
			is.Equal(again, want)
		}
		_, err := h.Service("shop")
		is.True(errors.Is(err, parachute.ErrNotFound))
		is.Equal(err.Error(), "parachute: look at shop: no such service")
	})
}

func TestCertificatesOfAServiceAreThoseOfItsHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		is.NoErr(k.secure("web", parachute.TLS{Mode: parachute.TLSAutomatic}, "www.test", "app.test"))
		is.NoErr(k.secure("shop", parachute.TLS{Mode: parachute.TLSAutomatic}, "shop.test"))
		is.NoErr(k.secure("plain", parachute.TLS{}, "plain.test"))
		all := k.Certificates()
		is.Equal(len(all), 3)
		is.Equal(k.CertificatesOf("web"), []parachute.Certificate{all[0], all[2]}) // by host
		is.Equal(k.CertificatesOf("shop"), all[1:2])
		is.Equal(k.CertificatesOf("plain"), []parachute.Certificate{})
		is.Equal(k.CertificatesOf("gone"), []parachute.Certificate{})
	})
}
