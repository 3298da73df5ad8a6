package parachute_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

func TestPromotedRolloutIsTheFirstVersionAndKeepsTheOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80")
		h.app("two", "two.test:80")
		d := parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, MaxRequestBody: 4, Release: "v1"}
		is.NoErr(h.Deploy(t.Context(), d))
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}, Release: "v2", By: "ann"}))
		is.NoErr(h.Promote(t.Context(), "web"))

		s := h.Services()[0]
		is.Equal(s.Deployment.Targets, []string{"two.test:80"})
		is.Equal(s.Deployment.MaxRequestBody, int64(4))
		is.Equal([2]string{s.Deployment.Release, s.Deployment.By}, [2]string{"v2", "ann"})
		is.Equal(s.Rollout, nil)
		is.Equal(s.Generation, uint64(3))
		answer, set := h.visit("GET", "any.test", "")
		is.Equal(answer, "two")
		is.Equal(set, "") // nobody has to be told apart
		past, err := h.History("web")
		is.NoErr(err)
		is.Equal([2]parachute.End{past[0].End, past[1].End}, [2]parachute.End{"", parachute.EndReplaced})
		is.Equal(past[1].Release, "v1")
	})
}

func TestPromotionLosesNoRequestAndWaitsForTheFirstVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		slow := func(name string) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/slow" {
					time.Sleep(10 * time.Second)
				}
				io.WriteString(w, name)
			}
		}
		h.net.Serve(t, "one.test:80", slow("one"))
		h.net.Serve(t, "two.test:80", slow("two"))
		is.NoErr(h.deploy("web", "one.test:80"))
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}, Split: parachute.Split{List: []string{"beta"}}}))
		answers := make(chan string, 2)
		for _, cookie := range []string{"parachute-rollout=beta", "a=b"} {
			r := httptest.NewRequest("GET", "http://proxy.test/slow", nil)
			r.RequestURI = ""
			r.Header.Set("Cookie", cookie)
			go func() { answers <- h.do(r) }()
		}
		synctest.Wait()
		time.Sleep(time.Second)
		began := time.Now()
		is.NoErr(h.Promote(t.Context(), "web"))
		is.Equal(time.Since(began), 9*time.Second) // that of the first version has ended
		got := []string{<-answers, <-answers}
		slices.Sort(got)
		is.Equal(got, []string{"200 one", "200 two"})
	})
}

func TestPromotionBringsWhatTheRolloutWasDeployedAs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80")
		h.app("two", "two.test:80")
		h.app("other", "other.test:80")
		is.NoErr(h.deploy("web", "one.test:80"))
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "other", Targets: []string{"other.test:80"}, Hosts: []string{"taken.test"}}))
		second := parachute.Rollout{Targets: []string{"two.test:80"}, Deployment: &parachute.Deployment{Hosts: []string{"new.test", "taken.test"}}}
		err := h.Rollout(t.Context(), "web", second)
		is.True(errors.Is(err, parachute.ErrConflict)) // and not when it is promoted
		second.Deployment = &parachute.Deployment{Hosts: []string{"new.test"}, MaxRequestBody: -1}
		is.True(errors.Is(h.Rollout(t.Context(), "web", second), parachute.ErrInvalid))
		second.Deployment.MaxRequestBody = 3
		is.NoErr(h.Rollout(t.Context(), "web", second))
		answer, _ := h.visit("GET", "any.test", "")
		is.Equal(answer, "one") // the service is what it was
		is.NoErr(h.Promote(t.Context(), "web"))
		d := h.Services()[1].Deployment
		is.Equal(d.Hosts, []string{"new.test"})
		is.Equal(d.MaxRequestBody, int64(3))
		answer, _ = h.visit("GET", "new.test", "")
		is.Equal(answer, "two")
	})
}

func TestPromotionIsTakenBackWhenItsTargetsDie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		release := make(chan struct{})
		h.net.Serve(t, "one.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-release
			io.WriteString(w, "one")
		}))
		two := h.app("two", "two.test:80")
		is.NoErr(h.deploy("web", "one.test:80"))
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"two.test:80"}}))
		slow := h.ask("any.test")
		promoted := make(chan error, 1)
		go func() { promoted <- h.Promote(t.Context(), "web") }()
		time.Sleep(2 * time.Second)
		two.Stop()
		time.Sleep(10 * time.Second)
		close(release)
		is.Equal(<-slow, "200 one")
		is.True(errors.Is(<-promoted, parachute.ErrTakenBack))
		answer, _ := h.visit("GET", "any.test", "")
		is.Equal(answer, "one")
	})
}

func TestThereMustBeARolloutToPromote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		is.True(errors.Is(h.Promote(t.Context(), "web"), parachute.ErrNotFound))
		h.app("one", "one.test:80")
		is.NoErr(h.deploy("web", "one.test:80"))
		is.True(errors.Is(h.Promote(t.Context(), "web"), parachute.ErrInvalid))
		is.NoErr(h.Close())
		is.True(errors.Is(h.Promote(t.Context(), "web"), parachute.ErrClosed))
	})
}

func TestPromotionRestoresAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var kept []parachute.Status
		h := newHouse(t, parachute.Options{Commit: func(all []parachute.Status) error { kept = all; return nil }})
		h.app("one", "one.test:80")
		h.app("two", "two.test:80")
		is.NoErr(h.deploy("web", "one.test:80"))
		second := parachute.Rollout{Targets: []string{"two.test:80"}, Deployment: &parachute.Deployment{MaxRequestBody: 3}}
		is.NoErr(h.Rollout(t.Context(), "web", second))
		is.NoErr(h.Close())

		again := newHouseAt(t, h, "again.test:80")
		is.NoErr(again.Restore(kept))
		is.NoErr(again.Promote(t.Context(), "web")) // without its options being repeated
		d := again.Services()[0].Deployment
		is.Equal(d.Targets, []string{"two.test:80"})
		is.Equal(d.MaxRequestBody, int64(3))
	})
}

func TestPromotionReadsNoFileAgainButThoseOfTheCertificate(t *testing.T) {
	for name, isOwn := range map[string]bool{"of the service": false, "of the rollout": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				k := newKeep(t, parachute.Options{})
				k.app("one", "one.test:80")
				k.app("two", "two.test:80")
				dir := t.TempDir()
				certFile, keyFile := k.ca.WritePair(t, dir, "app.test")
				users := filepath.Join(t.TempDir(), "htpasswd")
				is.NoErr(os.WriteFile(users, []byte("ann:$2a$04$QNaWkTtNIzCPMoVYMBCsy.KfWQ0Sm9CvIfTsLuUcvkxbrcWBVFxQ6\n"), 0o600))
				d := parachute.Deployment{
					Service: "web", Targets: []string{"one.test:80"}, Hosts: []string{"app.test"},
					TLS:    parachute.TLS{Mode: parachute.TLSFiles, CertFile: certFile, KeyFile: keyFile},
					Access: parachute.Access{BasicAuthFile: users},
				}
				is.NoErr(k.Deploy(t.Context(), d))
				r := parachute.Rollout{Targets: []string{"two.test:80"}}
				if isOwn {
					r.Deployment = &d
				}
				is.NoErr(k.Rollout(t.Context(), "web", r))
				expired := k.Certificates()[0].Expires

				time.Sleep(time.Minute)
				is.NoErr(os.Remove(users))
				k.ca.WritePair(t, dir, "app.test")
				is.NoErr(k.Promote(t.Context(), "web"))
				is.True(k.Certificates()[0].Expires.After(expired)) // at once
				is.Equal(k.getTLS("app.test", "app.test", "/"), "401 401 Unauthorized")
				is.Equal(k.Services()[0].Deployment.Access.BasicAuthFile, users)

				is.NoErr(k.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"one.test:80"}}))
				is.NoErr(os.Remove(certFile))
				err := k.Promote(t.Context(), "web")
				is.True(errors.Is(err, parachute.ErrInvalid))
				is.Equal(k.Services()[0].Deployment.Targets, []string{"two.test:80"}) // nothing was changed
			})
		})
	}
}
