package parachute_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

func TestReleaseIsToldWhereverTheGenerationIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var log bytes.Buffer
		h := newHouse(t, parachute.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		h.app("one", "one.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, Release: "v1", By: "Ann"}))
		is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{}))
		for _, e := range h.events {
			is.Equal(e.Release, "v1") // in each event
			is.Equal(e.By, "Ann")
		}
		for _, line := range strings.Split(strings.TrimSpace(log.String()), "\n") {
			is.True(strings.Contains(line, "generation=1 release=v1 by=Ann")) // in each line
		}
		is.Equal(h.Services()[0].Deployment.Release, "v1")
	})
}

func TestAnswersTellTheReleaseIfThatIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80")
		h.app("two", "two.test:80")
		told := func(cookie string) []string {
			r, _ := http.NewRequest("GET", "http://proxy.test/", nil)
			r.Header.Set("Cookie", cookie)
			resp, err := h.client.Do(r)
			is.NoErr(err)
			resp.Body.Close()
			return resp.Header["X-Parachute-Release"]
		}
		d := parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, Release: "v1"}
		is.NoErr(h.Deploy(t.Context(), d))
		is.Equal(told(""), nil) // nobody asked
		d.Headers.Release = true
		is.NoErr(h.Deploy(t.Context(), d))
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}, Release: "v2", Split: parachute.Split{List: []string{"beta"}}}))
		is.Equal(told(""), []string{"v1"})
		is.Equal(told("parachute-rollout=beta"), []string{"v2"}) // which is the rollout's own
		d.Release = ""
		is.NoErr(h.Deploy(t.Context(), d))
		is.Equal(told(""), nil)                                  // it has no name
		is.Equal(told("parachute-rollout=beta"), []string{"v2"}) // which goes on
	})
}

func TestReleaseThatIsNoTextInOneLineIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80")
		for _, text := range []string{"a\nb", "a\x00", " a", "a ", "a\tb", "\xff", strings.Repeat("x", 129)} {
			err := h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, Release: text})
			is.True(errors.Is(err, parachute.ErrInvalid)) // a release
			is.True(strings.Contains(err.Error(), "release"))
			err = h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, By: text})
			is.True(errors.Is(err, parachute.ErrInvalid)) // somebody
			is.True(strings.Contains(err.Error(), ": by "))
		}
		is.NoErr(h.deploy("web", "one.test:80"))
		err := h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"one.test:80"}, By: "a\nb"})
		is.True(errors.Is(err, parachute.ErrInvalid))
	})
}
