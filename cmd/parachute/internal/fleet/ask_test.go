package fleet_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	checks "github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/fleet"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv/kvtest"
)

// ask has a node ask all a question, and returns each answer in a line.
func (n *node) ask(ctx context.Context) (lines []string, err error) {
	_, member := n.now()
	answers, err := member.Ask(ctx, []byte(`1`))
	for _, a := range answers {
		line := fmt.Sprint(a.Name, " ", string(a.Told), " ", a.Err)
		if a.Self {
			line = "*" + line
		}
		lines = append(lines, line)
	}
	return lines, err
}

// left returns the keys that there are of questions and answers.
func (w *world) left() (keys []string) {
	for _, prefix := range []string{"questions/", "answers/"} {
		pairs, _, err := w.memory.Client().Read(w.t.Context(), prefix)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, p := range pairs {
			keys = append(keys, p.Key)
		}
	}
	return keys
}

// noise returns as many bytes of text, of which compression makes more than half.
func noise(n int) string {
	text := make([]byte, n/2)
	rand.NewChaCha8([32]byte{}).Read(text)
	return hex.EncodeToString(text)
}

func TestQuestionIsAnsweredByAllAndLeavesNothing(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		for range 2 {
			answers, err := w.nodes["b"].ask(w.t.Context())
			is.NoErr(err)
			is.Equal(answers, []string{`a "a 1" <nil>`, `*b "b 1" <nil>`, `c "c 1" <nil>`})
			is.Equal(w.left(), nil)
		}
	})
}

func TestQuestionsOfSeveralMembersDoNotMix(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		type end struct {
			answers []string
			err     error
		}
		ended := make(chan end, 6)
		for _, name := range []string{"a", "b", "c", "a", "b", "c"} {
			go func() {
				answers, err := w.nodes[name].ask(w.t.Context())
				ended <- end{answers, err}
			}()
		}
		for range 6 {
			e := <-ended
			is.NoErr(e.err)
			is.Equal(strings.ReplaceAll(strings.Join(e.answers, "; "), "*", ""), `a "a 1" <nil>; b "b 1" <nil>; c "c 1" <nil>`)
		}
		is.Equal(w.left(), nil)
	})
}

func TestMemberThatDoesNotAnswerIsNamed(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(c *node)
		want string
		took time.Duration
	}{
		"for it does not come to it": {func(c *node) {
			c.answer = func(ctx context.Context) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }
		}, "it did not answer within 5s", 5 * time.Second},
		"for it is cut off": {func(c *node) { c.client.Cut() }, "it did not answer within 5s", 5 * time.Second},
		"for it cannot": {func(c *node) {
			c.answer = func(context.Context) ([]byte, error) { return nil, errors.New("I am tired") }
		}, "I am tired", 0},
		"for it has too much to say": {func(c *node) {
			c.answer = func(context.Context) ([]byte, error) {
				return json.Marshal(noise(3 << 20))
			}
		}, "it has more to say than the store is to take", 0},
		"for it is lost meanwhile": {func(c *node) {
			c.client.Cut()
			time.Sleep(7 * time.Second)
		}, "its lease has ended, and whether it still serves is not known", 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(is *checks.I, w *world) {
				tt.do(w.nodes["c"])
				began := time.Now()
				answers, err := w.nodes["a"].ask(w.t.Context())
				is.NoErr(err)
				is.Equal(len(answers), 3)
				is.Equal(answers[1], `b "b 1" <nil>`)
				is.True(strings.HasPrefix(answers[2], "c  "))
				is.True(strings.Contains(answers[2], tt.want))
				is.True(time.Since(began) <= tt.took)
				is.Equal(w.left(), nil)
			})
		})
	}
}

func TestMemberThatLeavesWithNothingLeftIsNotMissed(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		c := w.nodes["c"]
		c.answer = func(ctx context.Context) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }
		go func() {
			time.Sleep(time.Second)
			c.leave()
		}()
		answers, err := w.nodes["a"].ask(w.t.Context())
		is.NoErr(err)
		is.Equal(answers, []string{`*a "a 1" <nil>`, `b "b 1" <nil>`})
	})
}

func TestLostMemberIsNamedUntilItIsBackOrForgotten(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		a, c := w.nodes["a"], w.nodes["c"]
		is.True(errors.Is(a.member.Forget(w.t.Context(), "c"), fleet.ErrNotLost)) // it is there
		lost := func() (names []string) {
			all, err := a.member.Lost(w.t.Context())
			is.NoErr(err)
			for _, of := range all {
				names = append(names, of.Name+" "+of.Address)
			}
			return names
		}
		c.kill()
		time.Sleep(time.Minute)
		is.Equal(lost(), []string{"c c.test:80"})
		answers, err := a.ask(w.t.Context())
		is.NoErr(err)
		is.Equal(answers[2], "c  its lease has ended, and whether it still serves is not known")
		c.start()
		w.await("c is back")
		is.Equal(lost(), nil)
		c.leave()
		is.Equal(lost(), nil) // it said good-bye
		c.start()
		w.await("c is back")
		c.kill()
		time.Sleep(time.Minute)
		is.NoErr(a.member.Forget(w.t.Context(), "c"))
		is.Equal(lost(), nil)
		answers, err = a.ask(w.t.Context())
		is.NoErr(err)
		is.Equal(len(answers), 2)
		is.True(errors.Is(a.member.Forget(w.t.Context(), "c"), fleet.ErrNotLost))
	})
}

func TestMemberThatComesMeanwhileIsAskedToo(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		w.nodes["c"].answer = func(context.Context) ([]byte, error) {
			time.Sleep(2 * time.Second) // it has a lot to do
			return []byte(`"at last"`), nil
		}
		d := w.add("d")
		time.AfterFunc(time.Second, d.start)
		answers, err := w.nodes["a"].ask(w.t.Context())
		is.NoErr(err)
		is.Equal(answers, []string{`*a "a 1" <nil>`, `b "b 1" <nil>`, `c "at last" <nil>`, `d "d 1" <nil>`})
	})
}

func TestAnswersAreAsLongAsTheStoreCanBear(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		long := noise(500<<10) + strings.Repeat("parachute ", 1<<17) // 2 MiB in all
		w.nodes["c"].answer = func(context.Context) ([]byte, error) { return json.Marshal(long) }
		_, member := w.nodes["a"].now()
		answers, err := member.Ask(w.t.Context(), []byte(`1`))
		is.NoErr(err)
		is.NoErr(answers[2].Err)
		is.Equal(len(answers[2].Told), len(long)+2)
	})
}

func TestQuestionWithoutTheStoreIsRefused(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		w.memory.Stop()
		_, err := w.nodes["a"].ask(w.t.Context())
		is.True(errors.Is(err, kv.ErrUnreachable) || errors.Is(err, context.DeadlineExceeded))
		time.Sleep(20 * time.Second)
		_, err = w.nodes["a"].ask(w.t.Context())
		is.True(errors.Is(err, kv.ErrUnreachable))
		w.memory.Start()
	})
}

func TestQuestionOfALostMemberEndsByItself(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		c := w.nodes["c"]
		c.answer = func(ctx context.Context) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }
		go w.nodes["a"].ask(w.t.Context())
		time.Sleep(time.Second)
		w.nodes["a"].client.Cut()
		is.Equal(len(w.left()), 2) // with the answer of b
		time.Sleep(12 * time.Second)
		is.Equal(w.left(), nil)
	})
}

func TestQuestionCostsAMemberOneCommit(t *testing.T) {
	inWorld(t, func(is *checks.I, w *world) {
		time.Sleep(time.Minute)
		var commits atomic.Int64
		w.nodes["c"].client.Fail(func(c kvtest.Call) kvtest.Fault {
			if c == "commit" {
				commits.Add(1)
			}
			return kvtest.Fault{}
		})
		_, err := w.nodes["a"].ask(w.t.Context())
		is.NoErr(err)
		time.Sleep(time.Minute)
		is.Equal(commits.Load(), int64(1)) // its answer
	})
}
