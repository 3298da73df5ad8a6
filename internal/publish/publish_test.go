package publish_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/publish"
)

// A shelf is a snapshot for tests.
type shelf struct {
	books    map[string]*edition
	isClosed bool
}

type edition struct{ text string }

// A house publishes shelves, and writes down what happens.
type house struct {
	*publish.Publisher[shelf, edition, string]
	changes *publish.Book[string]

	mu      sync.Mutex // guards what follows
	refused error      // what commits return
	told    []string
}

func (h *house) tell(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, fmt.Sprintf(format, args...))
}

// since returns what was told since it was called last.
func (h *house) since() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	told := h.told
	h.told = nil
	return told
}

// refuse has commits return err from now on.
func (h *house) refuse(err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused = err
	return err
}

func (e *edition) String() string {
	if e == nil {
		return "nothing"
	}
	return e.text
}

func (s *shelf) String() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(s.books)) {
		all = append(all, name+"="+s.books[name].text)
	}
	return strings.Join(all, " ")
}

func newHouse() *house {
	h := &house{changes: newBook()}
	h.Publisher = publish.New(h.changes, &shelf{}, publish.Snapshots[shelf, edition]{
		Versions: func(s *shelf) map[string]*edition { return s.books },
		Next: func(s *shelf, changes map[string]*edition) *shelf {
			next := &shelf{books: make(map[string]*edition)}
			maps.Copy(next.books, s.books)
			maps.Copy(next.books, changes)
			maps.DeleteFunc(next.books, func(_ string, e *edition) bool { return e == nil })
			return next
		},
		Commit: func(previous, next *shelf, names ...string) error {
			h.tell("commit %v: %v -> %v, while %v is read", names, previous, next, h.Load())
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.refused
		},
		Replaced: func(previous, next *edition) {
			h.tell("%v replaced by %v, while %v is read", previous, next, h.Load())
		},
		Published: func(name string, next *edition) { h.tell("%s published as %v", name, next) },
	})
	return h
}

// of returns the publication of a text, where "" is to take the thing out.
func (h *house) of(name, text string) *publish.Publication[edition, string] {
	return &publish.Publication[edition, string]{
		Name:     name,
		Change:   func(*edition) (*edition, error) { return editionOf(text), nil },
		Announce: func(next *edition) { h.tell("announce %v", next) },
	}
}

func editionOf(text string) *edition {
	if text == "" {
		return nil
	}
	return &edition{text}
}

// has publishes texts, each after its name, and forgets what was told.
func (h *house) has(is *is.I, words ...string) {
	is.Helper()
	for pair := range slices.Chunk(words, 2) {
		is.NoErr(h.PublishAll(context.Background(), h.of(pair[0], pair[1])))
	}
	h.since()
}

func TestSeveralThingsAreCommittedThenReadThenAnnounced(t *testing.T) {
	is := is.New(t)
	h := newHouse()
	h.has(is, "a", "a1", "b", "b1")
	a, b, c, none := h.of("a", "a2"), h.of("b", ""), h.of("c", "c1"), h.of("none", "")
	is.NoErr(h.PublishAll(t.Context(), c, b, none, a))
	is.Equal(h.since(), []string{
		"commit [a b c]: a=a1 b=b1 -> a=a2 c=c1, while a=a1 b=b1 is read",
		"announce c1", "c published as c1", // it replaces nothing
		"b1 replaced by nothing, while a=a2 c=c1 is read", "announce nothing", "b published as nothing",
		"a1 replaced by a2, while a=a2 c=c1 is read", "announce a2", "a published as a2",
	}) // and nothing is said of what was not there and is not
	is.Equal(a.Previous.text+" "+a.Next.text, "a1 a2")
	is.Equal(b.Previous.text, "b1")
	is.True(b.Next == nil && c.Previous == nil && none.Previous == nil && none.Next == nil)
}

func TestWhatIsMadeTogetherIsMadeOnceWhenItIsItsTurn(t *testing.T) {
	is := is.New(t)
	h := newHouse()
	h.has(is, "a", "a1", "b", "b1", "c", "c1")
	calls := 0
	all, err := h.PublishMade(t.Context(), []string{"b", "a", "none"}, func() map[string]*edition {
		calls++
		return map[string]*edition{"a": editionOf("a2"), "c": editionOf("c2")}
	}, func(previous, next *edition) { h.tell("%v became %v", previous, next) })
	is.NoErr(err)
	is.Equal(calls, 1)
	is.Equal(h.since(), []string{
		"commit [a b]: a=a1 b=b1 c=c1 -> a=a2 c=c1, while a=a1 b=b1 c=c1 is read",
		"b1 replaced by nothing, while a=a2 c=c1 is read", "b1 became nothing", "b published as nothing",
		"a1 replaced by a2, while a=a2 c=c1 is read", "a1 became a2", "a published as a2",
	}) // and c is none of those that were asked for
	is.Equal(len(all), 3)
	is.True(all[0].Previous.text == "b1" && all[0].Next == nil)
	is.True(all[1].Previous.text == "a1" && all[1].Next.text == "a2")
	is.True(all[2].Previous == nil && all[2].Next == nil)

	h.Close(&shelf{})
	_, err = h.PublishMade(t.Context(), []string{"a"}, func() map[string]*edition { calls++; return nil }, nil)
	is.True(err != nil)
	is.Equal(calls, 1) // it never was its turn
}

func TestWhatIsNotThereIsTakenOutWithoutACommit(t *testing.T) {
	is := is.New(t)
	h := newHouse()
	before := h.Load()
	is.NoErr(h.PublishAll(t.Context(), h.of("a", "")))
	is.Equal(len(h.since()), 0)
	is.True(h.Load() == before)
}

func TestChangeGetsTheCurrentVersion(t *testing.T) {
	is := is.New(t)
	h := newHouse()
	var got []string
	for i := range 3 {
		previous, next, err := h.Publish(t.Context(), nil, "a", func(current *edition) (*edition, error) {
			got = append(got, current.String())
			return &edition{fmt.Sprint(i)}, nil
		}, func(*edition) {})
		is.NoErr(err)
		is.Equal(previous.String(), got[i])
		is.Equal(next.text, fmt.Sprint(i))
	}
	is.Equal(got, []string{"nothing", "0", "1"})
}

func TestErrorOfOneChangeKeepsAllFromBeingPublished(t *testing.T) {
	is := is.New(t)
	h := newHouse()
	h.has(is, "a", "a1")
	broken, wrong := h.of("b", "b1"), errors.New("wrong")
	broken.Change = func(*edition) (*edition, error) { return nil, wrong }
	is.Equal(h.PublishAll(t.Context(), h.of("a", "a2"), broken), wrong)
	is.Equal(len(h.since()), 0)
	is.Equal(h.Load().String(), "a=a1")

	previous, next, err := h.Publish(t.Context(), nil, "a", broken.Change, func(*edition) { t.Error("announced") })
	is.Equal(err, wrong)
	is.True(previous == nil && next == nil)
}

func TestWhatCannotBeCommittedIsNotPublished(t *testing.T) {
	is := is.New(t)
	h := newHouse()
	h.has(is, "a", "a1")
	full := h.refuse(errors.New("disk full"))
	is.Equal(h.PublishAll(t.Context(), h.of("a", "a2")), full)
	is.Equal(h.since(), []string{"commit [a]: a=a1 -> a=a2, while a=a1 is read"})
	is.Equal(h.Load().String(), "a=a1")
}

func TestWhatTakesARefusalIsPublishedAllTheSame(t *testing.T) {
	is := is.New(t)
	h := newHouse()
	h.has(is, "a", "a1")
	full := h.refuse(errors.New("disk full"))
	var refused, known error
	one := h.of("a", "a2")
	one.Refused, one.Announce = &refused, func(*edition) { known = refused }
	is.NoErr(h.PublishAll(t.Context(), one))
	is.Equal(known, full) // when it is announced
	is.Equal(h.Load().String(), "a=a2")

	refused = h.refuse(nil)
	is.NoErr(h.PublishAll(t.Context(), one))
	is.NoErr(refused)
}

func TestReservationEndsWhenItIsPublished(t *testing.T) {
	is := is.New(t)
	h := newHouse()
	a, ctx, err := h.changes.Reserve(t.Context(), "a", one, "x", nothing)
	is.NoErr(err)
	one := h.of("a", "a1")
	one.Reservation, one.Announce = a, func(*edition) {
		is.True(ctx.Err() != nil)
		is.Equal(pending(h.changes), map[string]string{})
	}
	is.NoErr(h.PublishAll(ctx, one, h.of("b", "b1")))
	is.Equal(h.Load().String(), "a=a1 b=b1")
	h.changes.End(a)
	<-h.changes.Close()
}

// pending returns what is reserved.
func pending(b *publish.Book[string]) (all map[string]string) {
	b.Inspect(func(pending iter.Seq2[string, string]) error {
		all = maps.Collect(pending)
		return nil
	})
	return all
}

func TestNewerChangeEndsOneThatIsNotPublishedYet(t *testing.T) {
	is := is.New(t)
	h := newHouse()
	older, ctx, err := h.changes.Reserve(t.Context(), "a", one, "", nothing)
	is.NoErr(err)
	newer, newerCtx, err := h.changes.Reserve(t.Context(), "a", one, "", nothing)
	is.NoErr(err)
	late, inTime := h.of("a", "a1"), h.of("a", "a2")
	late.Reservation, inTime.Reservation = older, newer
	is.Equal(h.PublishAll(ctx, late).Error(), "superseded by 2")
	is.Equal(len(h.since()), 0)
	inTime.Change = func(*edition) (*edition, error) { // it is too late to end it
		third, _, err := h.changes.Reserve(t.Context(), "a", one, "", nothing)
		is.NoErr(err)
		is.True(!third.Supersedes)
		return &edition{"a2"}, nil
	}
	is.NoErr(h.PublishAll(newerCtx, inTime))
	is.Equal(h.Load().String(), "a=a2")
}

func TestChangesTakeTurns(t *testing.T) {
	is := is.New(t)
	h := newHouse()
	h.has(is, "a", "")
	var all sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		all.Go(func() {
			_, _, errs[i] = h.Publish(t.Context(), nil, "a", func(current *edition) (*edition, error) {
				if current == nil {
					return &edition{"+"}, nil
				}
				return &edition{current.text + "+"}, nil
			}, func(next *edition) { h.tell("announce %v", next) })
		})
	}
	all.Wait()
	is.NoErr(errors.Join(errs...))
	is.Equal(h.Load().books["a"].text, strings.Repeat("+", 20)) // none is lost
	var announced []string
	for _, what := range h.since() {
		if text, ok := strings.CutPrefix(what, "announce "); ok {
			announced = append(announced, text)
		}
	}
	is.True(slices.IsSorted(announced)) // before the next has its turn
}

func TestChangeThatWaitsForItsTurnCanBeGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse()
		slow := h.of("a", "a1")
		slow.Change = func(*edition) (*edition, error) {
			time.Sleep(time.Hour) // what a commit may take
			return editionOf("a1"), nil
		}
		published := make(chan error, 1)
		go func() { published <- h.PublishAll(context.Background(), slow) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errTaken)
		defer cancel()
		began := time.Now()
		is.Equal(h.PublishAll(ctx, h.of("b", "b1")), errTaken)
		is.Equal(time.Since(began), time.Second)
		is.NoErr(<-published)
		is.Equal(h.Load().String(), "a=a1")
	})
}

func TestWhatWasThereBeforeIsPublishedFirstWithoutACommit(t *testing.T) {
	is := is.New(t)
	h := newHouse()
	first := &shelf{books: map[string]*edition{"a": {"a7"}}}
	is.True(h.PublishFirst(first, 7))
	is.True(h.Load() == first)
	is.Equal(len(h.since()), 0)
	r, _, err := h.changes.Reserve(t.Context(), "b", one, "", nothing)
	is.NoErr(err)
	is.Equal(r.Number, uint64(8))
	is.True(!h.PublishFirst(&shelf{}, 9)) // it is not the first
	is.True(h.Load() == first)
}

func TestNothingIsPublishedFirstWhereThereIsSomethingAlready(t *testing.T) {
	tests := []struct {
		name   string
		before func(*is.I, *house)
	}{
		{"a version", func(is *is.I, h *house) { h.has(is, "a", "a1") }},
		{"a reservation", func(is *is.I, h *house) {
			_, _, err := h.changes.Reserve(t.Context(), "a", one, "", nothing)
			is.NoErr(err)
		}},
		{"the end", func(is *is.I, h *house) { h.Close(&shelf{isClosed: true}) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			h := newHouse()
			tt.before(is, h)
			before := h.Load()
			is.True(!h.PublishFirst(&shelf{}, 7))
			is.True(h.Load() == before)
		})
	}
}

func TestRenewedVersionsReplaceAllWithoutACommit(t *testing.T) {
	is := is.New(t)
	h := newHouse()
	h.has(is, "a", "a1", "b", "b1")
	replaced := h.Renew(func(e *edition) *edition { return &edition{e.text + "+"} })
	is.Equal(h.Load().String(), "a=a1+ b=b1+")
	is.Equal(sorted(replaced), []string{"a1", "b1"})
	told := h.since()
	slices.Sort(told)
	is.Equal(told, []string{
		"a1 replaced by a1+, while a=a1+ b=b1+ is read",
		"b1 replaced by b1+, while a=a1+ b=b1+ is read",
	})
}

// sorted returns the texts of editions in order.
func sorted(all []*edition) (texts []string) {
	for _, e := range all {
		texts = append(texts, e.text)
	}
	slices.Sort(texts)
	return texts
}

func TestClosedPublisherHasTheLastSnapshot(t *testing.T) {
	is := is.New(t)
	h := newHouse()
	h.has(is, "a", "a1")
	last := &shelf{isClosed: true}
	is.Equal(sorted(h.Close(last)), []string{"a1"})
	is.Equal(h.since(), []string{"a1 replaced by nothing, while  is read"})
	is.Equal(h.Renew(func(*edition) *edition { return &edition{"more"} }), nil)
	is.NoErr(h.CommitAgain("a"))
	is.Equal(h.PublishAll(t.Context(), h.of("a", "a2")), errClosed)
	is.Equal(len(h.since()), 0)
	is.True(h.Load() == last)
}

func TestCurrentSnapshotIsCommittedAgain(t *testing.T) {
	is := is.New(t)
	h := newHouse()
	h.has(is, "a", "a1")
	is.NoErr(h.CommitAgain("a"))
	is.NoErr(h.CommitAgain())
	is.Equal(h.since(), []string{
		"commit [a]: a=a1 -> a=a1, while a=a1 is read",
		"commit []: a=a1 -> a=a1, while a=a1 is read",
	})
	full := h.refuse(errors.New("disk full"))
	is.Equal(h.CommitAgain("a"), full)
}

func TestWhatWasRefusedIsCommittedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse()
		h.has(is, "a", "a1")
		h.refuse(errors.New("disk full"))
		h.CommitLater(nil, "a")
		time.Sleep(6 * time.Second)
		synctest.Wait()
		is.Equal(len(h.since()), 2) // after 1 and 3 seconds
		h.refuse(nil)
		<-h.changes.Close() // waits for it
		is.Equal(h.since(), []string{"commit [a]: a=a1 -> a=a1, while a=a1 is read"})
		h.CommitLater(nil, "a") // nobody would wait for this
		time.Sleep(time.Minute)
		synctest.Wait()
		is.Equal(len(h.since()), 0)
	})
}

func TestWhatIsStillRefusedAtTheEndIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse()
		h.has(is, "a", "a1")
		h.refuse(errors.New("disk full"))
		done, began := make(chan struct{}), time.Now()
		h.CommitLater(done, "a")
		close(done)
		<-h.changes.Close()
		is.Equal(len(h.since()), 1)
		is.Equal(time.Since(began), time.Duration(0))
	})
}

func TestNothingIsCommittedAnyMoreOnceThatIsStopped(t *testing.T) {
	is := is.New(t)
	h := newHouse()
	h.StopCommitting()
	h.refuse(errors.New("disk full"))
	is.NoErr(h.PublishAll(t.Context(), h.of("a", "a1")))
	is.NoErr(h.CommitAgain("a"))
	is.Equal(h.since(), []string{"announce a1", "a published as a1"})
	is.Equal(h.Load().String(), "a=a1")
}

func TestNobodyHasToBeToldWhatIsPublished(t *testing.T) {
	is := is.New(t)
	p := publish.New(newBook(), &shelf{}, publish.Snapshots[shelf, edition]{
		Versions: func(s *shelf) map[string]*edition { return s.books },
		Next:     func(_ *shelf, changes map[string]*edition) *shelf { return &shelf{books: changes} },
	})
	_, next, err := p.Publish(t.Context(), nil, "a", func(*edition) (*edition, error) { return &edition{"a1"}, nil }, func(*edition) {})
	is.NoErr(err)
	is.True(p.Load().books["a"] == next)
}
