package parachute_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// told returns the generations of a history, with how each has ended.
func told(past []parachute.Past) string {
	var all []string
	for _, p := range past {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%d %s", p.Generation, p.End)))
	}
	return strings.Join(all, ", ")
}

func TestHistoryHasTheLastDeploymentsOfAService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{KeepHistory: 3})
		h.net.Serve(t, "app.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/fails" {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}))
		deploy := func(release string) {
			is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"app.test:80"}, Release: release, By: "ann",
				Headers: parachute.Headers{Request: []string{"set Authorization: secret"}}}))
		}
		_, err := h.History("web")
		is.True(errors.Is(err, parachute.ErrNotFound))
		deploy("v1")
		time.Sleep(time.Minute)
		began := time.Now()
		deploy("v2")
		for _, path := range []string{"/", "/fails", "/", "/"} {
			h.getPath("any.test", path)
		}
		time.Sleep(time.Hour)
		ended := time.Now()
		deploy("v3")
		past, err := h.History("web")
		is.NoErr(err)
		is.Equal(told(past), "3, 2 replaced, 1 replaced")
		p := past[1]
		is.Equal(p.Figures.Served, p.Ended.Sub(p.Switched).Round(time.Millisecond))
		is.True(!p.Switched.Before(began) && p.Switched.Before(began.Add(time.Second))) // once it was healthy
		is.True(!p.Ended.Before(ended) && p.Ended.Before(ended.Add(time.Second)))
		p.Switched, p.Ended, p.Figures.Served = time.Time{}, time.Time{}, 0
		p.Figures.P50, p.Figures.P99 = 0, 0
		is.Equal(p, parachute.Past{Service: "web", Generation: 2, Release: "v2", By: "ann", Targets: []string{"app.test:80"}, End: parachute.EndReplaced,
			Figures: parachute.Figures{Requests: 4, Errors: 1, ErrorRate: 0.25}})
		is.True(past[0].Ended.IsZero()) // it serves

		deploy("v4")
		past, err = h.History("")
		is.NoErr(err)
		is.Equal(told(past), "4, 3 replaced, 2 replaced") // as many as were asked for
		text, err := json.Marshal(past)
		is.NoErr(err)
		is.True(!strings.Contains(string(text), "secret")) // history is for everybody who may look
		is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{}))
		is.NoErr(h.Resume(t.Context(), "web"))
		past, _ = h.History("web")
		is.Equal(told(past), "4, 3 replaced, 2 replaced") // these are no deployments

		is.NoErr(h.Remove(t.Context(), "web"))
		past, err = h.History("web")
		is.NoErr(err)
		is.Equal(told(past), "4 removed, 3 replaced, 2 replaced")
		deploy("v5")
		past, _ = h.History("web")
		is.Equal(told(past), "6, 4 removed, 3 replaced")
	})
}

func TestRequestThatEndsInTheDrainCountsForWhatItWasSentTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("new", "new.test:80")
		h.net.Serve(t, "old.test:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				time.Sleep(5 * time.Second)
				w.WriteHeader(http.StatusInternalServerError)
			}
		}))
		is.NoErr(h.deploy("web", "old.test:80"))
		go h.getPath("any.test", "/slow")
		synctest.Wait()
		is.NoErr(h.deploy("web", "new.test:80"))
		past, err := h.History("web")
		is.NoErr(err)
		is.Equal(past[1].Figures.Requests, uint64(1))
		is.Equal(past[1].Figures.Errors, uint64(1))
		is.Equal(past[0].Figures.Requests, uint64(0))
	})
}

func TestHistoryOutlivesARestart(t *testing.T) {
	for _, kind := range []string{"Commit", "CommitDelta"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var kept []parachute.Status
				var options parachute.Options
				if kind == "Commit" {
					options.Commit = func(all []parachute.Status) error { kept = all; return nil }
				} else {
					options.CommitDelta = func(d parachute.Delta) error {
						kept = nil
						for s := range d.All {
							kept = append(kept, s)
						}
						return nil
					}
				}
				first := newHouse(t, options)
				first.app("one", "one.test:80")
				first.app("two", "two.test:80")
				is.NoErr(first.deploy("web", "one.test:80"))
				first.get("any.test")
				is.NoErr(first.deploy("web", "two.test:80"))
				first.get("any.test")
				first.get("any.test")
				is.NoErr(first.Deploy(t.Context(), parachute.Deployment{Service: "gone", Targets: []string{"one.test:80"}, Hosts: []string{"gone.test"}}))
				is.NoErr(first.Remove(t.Context(), "gone"))
				before, err := first.History("web")
				is.NoErr(err)
				is.NoErr(first.Close())
				text, err := json.Marshal(kept)
				is.NoErr(err)
				kept = nil
				is.NoErr(json.Unmarshal(text, &kept))

				second := newHouse(t, parachute.Options{})
				second.app("one", "one.test:80")
				second.app("two", "two.test:80")
				is.NoErr(second.Restore(kept))
				second.get("any.test")
				after, err := second.History("web")
				is.NoErr(err)
				is.Equal(told(after), "2, 1 replaced")
				is.True(after[0].Switched.Equal(before[0].Switched))
				is.Equal(after[1].Figures, before[1].Figures)
				is.Equal(after[0].Figures.Requests, uint64(3)) // over both
				_, err = second.History("gone")
				is.Equal(errors.Is(err, parachute.ErrNotFound), kind == "Commit") // which knows services alone
				is.NoErr(second.Rollback(t.Context(), "web", parachute.Rollback{}))
				is.Equal(second.get("any.test"), "200 one")
			})
		})
	}
}

func TestRollbackDeploysWhatWasWithItsOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		for _, name := range []string{"one", "two", "three"} {
			h.app(name, name+".test:80")
		}
		first := parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, Hosts: []string{"web.test"}, Release: "v1", By: "ann",
			Access: parachute.Access{Deny: []string{"192.0.2.0/24"}}, Timeouts: parachute.Timeouts{Response: 7 * time.Second, Stream: -1}}
		is.NoErr(h.Deploy(t.Context(), first))
		want := h.Services()[0].Deployment
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"two.test:80"}, Hosts: []string{"web.test"}, Release: "v2"}))
		is.NoErr(h.Rollback(t.Context(), "web", parachute.Rollback{By: "bob"}))
		is.Equal(h.get("web.test"), "200 one")
		got := h.Services()[0]
		is.Equal(got.Generation, uint64(3)) // numbers only grow
		want.By = "bob"
		is.Equal(got.Deployment, want)
		is.NoErr(h.Rollback(t.Context(), "web", parachute.Rollback{}))
		is.Equal(h.get("web.test"), "200 two") // what served before
		is.NoErr(h.Rollback(t.Context(), "web", parachute.Rollback{To: "v1"}))
		is.Equal(h.get("web.test"), "200 one")
		is.NoErr(h.Rollback(t.Context(), "web", parachute.Rollback{To: "2"}))
		is.Equal(h.get("web.test"), "200 two")

		is.NoErr(h.Remove(t.Context(), "web"))
		is.NoErr(h.Rollback(t.Context(), "web", parachute.Rollback{}))
		is.Equal(h.get("web.test"), "200 two") // it is back
	})
}

func TestRollbackThatCannotBeChangesNothingAndSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("two", "two.test:80")
		one := h.app("one", "one.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, Release: "v1"}))
		fails := func(to string, kind error, words ...string) {
			t.Helper()
			err := h.Rollback(t.Context(), "web", parachute.Rollback{To: to})
			is.True(errors.Is(err, kind))
			for _, w := range words {
				is.True(strings.Contains(err.Error(), w)) // the words
			}
		}
		fails("", parachute.ErrInvalid, "nothing was deployed before generation 1")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"two.test:80"}, Release: "v2"}))
		fails("99", parachute.ErrInvalid, "99 is neither a generation nor a release", "1 v1")
		fails("v9", parachute.ErrInvalid, "v9 is neither")
		fails("2", parachute.ErrInvalid, "2 is what serves")
		fails("v2", parachute.ErrInvalid, "v2 is what serves")
		one.Stop()
		fails("", parachute.ErrUnhealthy, "one.test:80", "start what was there in generation 1 again")
		is.Equal(h.get("any.test"), "200 two")
		err := h.Rollback(t.Context(), "api", parachute.Rollback{})
		is.True(errors.Is(err, parachute.ErrNotFound))
	})
}

func TestHistoryTellsWhatWasTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := onTrial(t, parachute.Options{}, nil)
		is := tr.is
		is.Equal(tr.get("any.test"), "200 new")
		tr.new.Stop()
		is.True(errors.Is(<-tr.deployed, parachute.ErrTakenBack))
		<-tr.running
		before, err := tr.History("web")
		is.NoErr(err)
		is.Equal(told(before), "3, 2 taken back, 1 replaced")
		is.Equal(before[0].Restores, uint64(1))
		is.Equal(before[1].Figures.Requests, uint64(1)) // what the new one got
		is.Equal(tr.get("any.test"), "200 old")
		after, err := tr.History("web")
		is.NoErr(err)
		is.Equal(after[0].Figures.Requests, before[0].Figures.Requests+1)
		is.Equal(after[2].Figures, before[2].Figures)                                                   // though it had the same target
		is.True(errors.Is(tr.Rollback(t.Context(), "web", parachute.Rollback{}), parachute.ErrInvalid)) // to what has failed, or to the same
	})
}
