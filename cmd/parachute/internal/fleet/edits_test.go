package fleet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	checks "github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv/kvtest"
)

// edit has somebody change by hand what the store has, of a node if it is of one.
func (o *order) edit(node string) {
	key := []string{
		"services/web", "services/web", "services/web", "proposals/web", "claims", "format",
		"members/" + node, "turns/" + node, "reports/" + node,
	}[o.rand.IntN(9)]
	write := kv.Put(key, []byte("by hand"), 0)
	switch o.rand.IntN(3) {
	case 0:
		write = kv.Delete(key)
	case 1:
		if key == "services/web" {
			write = o.redirect(key)
		}
	}
	if key == "format" { // another one is kept out as it should be, for good
		write = kv.Delete(key)
	}
	o.mu.Lock()
	switch {
	case key == "services/web":
		o.edits++
		o.isUnsure = true
		o.isGone = o.isGone || write.Action == kv.ActionDelete
	case key == "members/"+node:
		o.outside[node] = time.Now().Add(20 * time.Second)
	}
	o.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _, err := o.memory.Client().Commit(ctx, nil, []kv.Write{write})
	o.note("by hand: %s %s: %v", key, write.Value, err)
}

// redirect returns what has the record in key name another app.
func (o *order) redirect(key string) kv.Write {
	pairs, _, err := o.memory.Client().Read(context.Background(), key)
	if err != nil || len(pairs) == 0 {
		return kv.Delete(key)
	}
	o.mu.Lock()
	o.apps++
	name := fmt.Sprintf("app-%d", o.apps)
	o.returned[name] = true
	o.mu.Unlock()
	o.app(name)
	before, rest, _ := bytes.Cut(pairs[0].Value, []byte(`"targets":["`))
	_, rest, _ = bytes.Cut(rest, []byte(`"`))
	return kv.Put(key, fmt.Appendf(nil, `%s"targets":["%s.app:80"%s`, before, name, rest), 0)
}

// byHand does writes as somebody with a client of the store.
func (w *world) byHand(writes ...kv.Write) {
	w.t.Helper()
	if _, _, err := w.memory.Client().Commit(w.t.Context(), nil, writes); err != nil {
		w.t.Fatal(err)
	}
}

func TestMemberWhoseKeyIsChangedByHandBecomesOneAgain(t *testing.T) {
	for name, write := range map[string]kv.Write{
		"it is deleted":  kv.Delete("members/c"),
		"it is replaced": kv.Put("members/c", []byte("by hand"), 0),
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(is *checks.I, w *world) {
				c := w.nodes["c"]
				w.byHand(write)
				time.Sleep(3 * time.Second)
				is.NoErr(c.member.Ready())
				is.NoErr(w.nodes["a"].deploy(web("two")))
				is.Equal(w.all(), "two two two")
				is.NoErr(c.deploy(web("one")))
				is.Equal(w.all(), "one one one")
				members, err := w.nodes["a"].member.Members(w.t.Context())
				is.NoErr(err)
				is.Equal(len(members), 3)
			})
		})
	}
}

// Nobody would ever answer for it, and a deploy would wait for that.
func TestKeyOfAMemberThatWasPutByHandIsNone(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		w.byHand(kv.Put("members/d", []byte(`{"name":"d"}`), 0))
		is.NoErr(w.nodes["a"].deploy(web("two")))
		members, err := w.nodes["a"].member.Members(w.t.Context())
		is.NoErr(err)
		is.Equal(len(members), 3)
		w.add("d").start()
		w.await("the name is free")
		is.NoErr(w.nodes["d"].deploy(web("one")))
		is.Equal(w.all(), "one one one one")
	})
}

func TestTurnThatIsChangedByHandIsTakenUp(t *testing.T) {
	for name, write := range map[string]kv.Write{
		"it is deleted":  kv.Delete("turns/a"),
		"it is replaced": kv.Put("turns/a", []byte("by hand"), 0),
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(is *checks.I, w *world) {
				w.byHand(write)
				is.NoErr(w.nodes["a"].deploy(web("two")))
				is.Equal(w.all(), "two two two")
			})
		})
	}
}

// Whether a change was made, its turn tells, and nothing else.
func TestOutcomeThatGotLostIsUndecidedIfTheTurnIsChangedByHand(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		a, commits := w.nodes["a"], 0
		time.Sleep(time.Minute) // there is nothing to be reported any more
		a.client.Fail(func(c kvtest.Call) kvtest.Fault {
			if c == "commit" {
				if commits++; commits == 2 { // after the proposal
					time.AfterFunc(time.Second, func() { w.byHand(kv.Put("turns/a", []byte("by hand"), 0)) })
					return kvtest.Fault{LoseAnswer: true}
				}
			}
			return kvtest.Fault{}
		})
		is.True(errors.Is(a.deploy(web("two")), parachute.ErrUndecided))
		time.Sleep(time.Second)
		is.Equal(w.all(), "two two two") // it was made
		is.NoErr(a.deploy(web("one")))
	})
}

func TestFleetThatHasLostItsFormatIsNotBegunAnew(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		w.nodes["c"].leave()
		is.NoErr(w.nodes["a"].deploy(web("two")))
		w.byHand(kv.Delete("format"))
		w.nodes["c"].start() // with app one
		w.await("c is back")
		is.Equal(w.all(), "two two two")
	})
}

func TestReportThatIsChangedByHandKeepsNobodyWaiting(t *testing.T) {
	for name, write := range map[string]kv.Write{
		"it is deleted":  kv.Delete("reports/c"),
		"it is replaced": kv.Put("reports/c", []byte("by hand"), 0),
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(is *checks.I, w *world) {
				a := w.nodes["a"]
				is.NoErr(a.proxy.Deploy(w.t.Context(), web("two")))
				time.Sleep(time.Second) // all have drained, and have said so
				w.byHand(write)
				began := time.Now()
				is.NoErr(a.member.Settle(w.t.Context(), []string{"web"}, nil, func(_, _ string) {}))
				is.True(time.Since(began) <= 10*time.Second)
			})
		})
	}
}

func TestServiceIsWhatItsRecordIsMadeByHand(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		pairs, _, err := w.memory.Client().Read(w.t.Context(), "services/web")
		is.NoErr(err)
		w.byHand(kv.Put("services/web", bytes.ReplaceAll(pairs[0].Value, []byte("one.app"), []byte("two.app")), 0))
		time.Sleep(time.Second)
		is.Equal(w.all(), "two two two")
		is.NoErr(w.nodes["b"].deploy(web("one")))
		is.Equal(w.all(), "one one one")
	})
}

// A proxy that has missed what was there before would have all of them go back.
func TestServiceWhoseRecordCannotBeReadIsChangedByADeployAlone(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		ctx, c := context.Background(), w.nodes["c"]
		c.kill()
		w.nodes["a"].deploy(web("two"))
		w.byHand(kv.Put("services/web", []byte("by hand"), 0))
		c.start()
		w.await("c is back")
		is.Equal(w.all(), "two two one") // it cannot know
		err := c.change("web", func() error { return c.proxy.Pause(ctx, "web", parachute.Pause{}) })
		is.True(strings.Contains(err.Error(), "what the store has of web cannot be read: deploy it anew: "))
		err = c.change("web", func() error {
			return c.proxy.Rollout(ctx, "web", parachute.Rollout{Targets: []string{"one.app:80"}})
		})
		is.True(strings.Contains(err.Error(), "what the store has of web cannot be read: deploy it anew: "))
		is.Equal(w.all(), "two two one")
		is.NoErr(c.proxy.CommitHistory()) // that is its own
		is.NoErr(c.deploy(web("two")))
		is.Equal(w.all(), "two two two")
		is.NoErr(c.change("web", func() error { return c.proxy.Stop(ctx, "web", parachute.Stop{}) }))
	})
}

// It would be out of service for a key that has nothing to do with it.
func TestRecordThatCannotBeReadKeepsNobodyFromBeingReady(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		w.byHand(kv.Put("services/other", []byte("by hand"), 0))
		w.nodes["c"].kill()
		w.nodes["c"].start()
		w.await("c is back")
		is.Equal(w.all(), "one one one")
		is.NoErr(w.nodes["a"].deploy(parachute.Deployment{Service: "other", Targets: []string{"two.app:80"}, Hosts: []string{"other.test"}}))
		for _, node := range w.names() {
			is.Equal(w.ask(node, "other.test"), "two")
		}
	})
}

func TestFrozenMemberDoesNothingThatItWasAbout(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		ctx, c, ended := context.Background(), w.nodes["c"], make(chan error, 1)
		thawed := make(chan error, 1)
		go func() {
			c.freeze(20 * time.Second)
			thawed <- c.member.Ready()
		}()
		time.Sleep(time.Second)
		go func() {
			ended <- c.change("web", func() error { return c.proxy.Stop(ctx, "web", parachute.Stop{}) })
		}()
		is.True(errors.Is(w.nodes["a"].deploy(web("two")), parachute.ErrUndecided)) // it may still serve the old one
		is.NoErr(w.nodes["a"].deploy(web("one")))
		is.NoErr(w.nodes["a"].deploy(web("two")))
		is.True(<-thawed != nil) // before anything has come to it
		is.True(<-ended != nil)
		w.await("c is back")
		is.Equal(w.all(), "two two two")
	})
}
