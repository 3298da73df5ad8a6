package kvtest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// A Requirement is what every kv.Store has to keep. Check is given one that is empty, and
// compact, which has the store forget its changes so far.
type Requirement struct {
	Name  string
	Check func(t *testing.T, s kv.Store, compact func())
}

// Requirements are all of them. Each ends soon by itself, except that one waits for a
// lease of a few seconds to end.
var Requirements = []Requirement{
	{"ReadsInOrderWhatBeginsWithThePrefix", readsInOrder},
	{"CommitsAllOrNothing", commitsAllOrNothing},
	{"TellsConditionsApart", tellsConditionsApart},
	{"FindsNothingNewerUntilThereIs", findsNothingNewer},
	{"RefusesAnEndedLease", refusesAnEndedLease},
	{"RefusesTwoWritesOfOneKey", refusesTwoWrites},
	{"RefusesWhatIsTooLarge", refusesTooLarge},
	{"WatchesEachRevisionAsAWhole", watchesWholeRevisions},
	{"WatchesFromThePast", watchesFromThePast},
	{"ForgetsWhatWasCompacted", forgetsCompacted},
	{"EndsAWatchWithTheErrorOfItsReader", endsAWatch},
	{"TakesOutWhatALeaseHeld", takesOutWhatALeaseHeld},
	{"EndsALeaseByItself", endsALease},
}

func put(t *testing.T, s kv.Store, writes ...kv.Write) int64 {
	t.Helper()
	revision, ok, err := s.Commit(t.Context(), nil, writes)
	if err != nil || !ok {
		t.Fatalf("commit: %v %v", ok, err)
	}
	return revision
}

func read(t *testing.T, s kv.Store, prefix string) (pairs []string, revision int64) {
	t.Helper()
	found, revision, err := s.Read(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		pairs = append(pairs, p.Key+"="+string(p.Value))
	}
	return pairs, revision
}

func readsInOrder(t *testing.T, s kv.Store, _ func()) {
	is := is.New(t)
	first := put(t, s, kv.Put("a/2", []byte("two"), 0), kv.Put("b/1", nil, 0))
	second := put(t, s, kv.Put("a/1", []byte("one"), 0))
	pairs, revision := read(t, s, "a/")
	is.Equal(pairs, []string{"a/1=one", "a/2=two"})
	is.Equal(revision, second)
	is.True(second > first)
	put(t, s, kv.Put("a/2", []byte("zwei"), 0))
	found, _, err := s.Read(t.Context(), "a/2")
	is.NoErr(err)
	is.Equal(found[0].Created, first)
	is.True(found[0].Modified > second)
	all, _ := read(t, s, "")
	is.Equal(all, []string{"a/1=one", "a/2=zwei", "b/1="})
	put(t, s, kv.DeleteAll("a/"), kv.Delete("b/none"))
	left, _ := read(t, s, "")
	is.Equal(left, []string{"b/1="})
}

func commitsAllOrNothing(t *testing.T, s kv.Store, _ func()) {
	is := is.New(t)
	put(t, s, kv.Put("a", []byte("1"), 0))
	_, ok, err := s.Commit(t.Context(), []kv.Condition{kv.Exists("a"), kv.Exists("b")}, []kv.Write{kv.Put("a", []byte("2"), 0), kv.Put("c", nil, 0)})
	is.NoErr(err)
	is.True(!ok)
	pairs, before := read(t, s, "")
	is.Equal(pairs, []string{"a=1"})
	revision, ok, err := s.Commit(t.Context(), []kv.Condition{kv.Exists("a"), kv.Missing("b")}, []kv.Write{kv.Put("a", []byte("2"), 0), kv.Put("c", nil, 0)})
	is.NoErr(err)
	is.True(ok)
	pairs, after := read(t, s, "")
	is.Equal(pairs, []string{"a=2", "c="})
	is.Equal(revision, after)
	is.Equal(after, before+1) // one revision for both
}

func tellsConditionsApart(t *testing.T, s kv.Store, _ func()) {
	is := is.New(t)
	lease, err := s.Grant(t.Context(), 30*time.Second)
	is.NoErr(err)
	first := put(t, s, kv.Put("a", nil, lease))
	second := put(t, s, kv.Put("a", nil, lease))
	for _, tt := range []struct {
		condition kv.Condition
		holds     bool
	}{
		{kv.Missing("a"), false},
		{kv.Missing("b"), true},
		{kv.Exists("a"), true},
		{kv.Exists("b"), false},
		{kv.Unchanged("a", second), true},
		{kv.Unchanged("a", first), false},
		{kv.Unchanged("a", 0), false},
		{kv.Unchanged("b", 0), true},
		{kv.Unchanged("b", second), false},
		{kv.Held("a", lease), true},
		{kv.Held("a", lease+1), false},
		{kv.Held("b", lease), false},
	} {
		_, ok, err := s.Commit(t.Context(), []kv.Condition{tt.condition}, nil)
		is.NoErr(err)
		if ok != tt.holds {
			t.Errorf("%+v: %v", tt.condition, ok)
		}
	}
}

func findsNothingNewer(t *testing.T, s kv.Store, _ func()) {
	is := is.New(t)
	holds := func(prefix string, revision int64) bool {
		_, ok, err := s.Commit(t.Context(), []kv.Condition{kv.NothingNewer(prefix, revision)}, nil)
		is.NoErr(err)
		return ok
	}
	_, empty := read(t, s, "")
	is.True(holds("a/", empty)) // nothing is there
	first := put(t, s, kv.Put("a/1", nil, 0), kv.Put("a/2", nil, 0))
	is.True(!holds("a/", empty))
	is.True(holds("a/", first))
	later := put(t, s, kv.Put("b", nil, 0))
	is.True(holds("a/", first)) // it is not below a/
	second := put(t, s, kv.Put("a/1", nil, 0))
	is.True(!holds("a/", later))
	is.True(holds("a/", second))
	put(t, s, kv.Delete("a/2"))
	is.True(holds("a/", second)) // what goes is not newer
}

func refusesAnEndedLease(t *testing.T, s kv.Store, _ func()) {
	is := is.New(t)
	lease, err := s.Grant(t.Context(), 30*time.Second)
	is.NoErr(err)
	is.NoErr(s.Revoke(t.Context(), lease))
	_, _, err = s.Commit(t.Context(), nil, []kv.Write{kv.Put("a", nil, lease), kv.Put("b", nil, 0)})
	is.True(errors.Is(err, kv.ErrLeaseEnded))
	is.True(!errors.Is(err, kv.ErrUnknown)) // it is known: nothing was done
	_, err = s.Renew(t.Context(), lease)
	is.True(errors.Is(err, kv.ErrLeaseEnded))
	is.True(errors.Is(s.Revoke(t.Context(), lease), kv.ErrLeaseEnded))
	pairs, _ := read(t, s, "")
	is.Equal(len(pairs), 0)
}

func refusesTwoWrites(t *testing.T, s kv.Store, _ func()) {
	is := is.New(t)
	for _, writes := range [][]kv.Write{
		{kv.Put("a", nil, 0), kv.Put("a", nil, 0)},
		{kv.DeleteAll("a"), kv.Put("a/1", nil, 0)},
	} {
		_, _, err := s.Commit(t.Context(), nil, writes)
		is.True(err != nil)
		is.True(!errors.Is(err, kv.ErrUnknown))
	}
	pairs, _ := read(t, s, "")
	is.Equal(len(pairs), 0)
}

func refusesTooLarge(t *testing.T, s kv.Store, _ func()) {
	is := is.New(t)
	var many []kv.Write
	for i := range kv.MaxOperations + 1 {
		many = append(many, kv.Put("a/"+string(rune('a'+i)), nil, 0))
	}
	_, _, err := s.Commit(t.Context(), nil, many)
	is.True(errors.Is(err, kv.ErrTooLarge))
	put(t, s, many[1:]...)
	_, _, err = s.Commit(t.Context(), nil, []kv.Write{kv.Put("b", []byte(strings.Repeat("x", kv.MaxBytes)), 0)})
	is.True(errors.Is(err, kv.ErrTooLarge))
	pairs, _ := read(t, s, "b")
	is.Equal(len(pairs), 0)
}

// errEnough ends a watch.
var errEnough = errors.New("enough")

// watch returns the first n revisions that a watch sees, as one text each.
func watch(t *testing.T, s kv.Store, prefix string, after int64, n int) []string {
	t.Helper()
	var seen []string
	last := after
	err := s.Watch(t.Context(), prefix, after, func(revision int64, changes []kv.Change) error {
		var texts []string
		for _, c := range changes {
			if c.Modified != revision {
				t.Errorf("a change of revision %d comes with %d", c.Modified, revision)
			}
			text := c.Key + "=" + string(c.Value)
			if c.Deleted {
				text = "-" + c.Key
			}
			texts = append(texts, text)
		}
		if revision <= last {
			t.Errorf("revision %d comes after %d", revision, last)
		}
		last = revision
		slices.Sort(texts)
		seen = append(seen, strings.Join(texts, " "))
		if len(seen) == n {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("the watch ended with %v", err)
	}
	return seen
}

func watchesWholeRevisions(t *testing.T, s kv.Store, _ func()) {
	is := is.New(t)
	_, begin := read(t, s, "")
	put(t, s, kv.Put("a/1", []byte("x"), 0))
	seen := make(chan []string, 1)
	go func() { seen <- watch(t, s, "a/", begin, 4) }()
	put(t, s, kv.Put("a/1", []byte("y"), 0), kv.Put("a/2", []byte("z"), 0), kv.Put("b", nil, 0))
	put(t, s, kv.Put("b", nil, 0))
	put(t, s, kv.Put("a/3", nil, 0), kv.Delete("a/2"))
	put(t, s, kv.DeleteAll("a/"))
	is.Equal(<-seen, []string{"a/1=x", "a/1=y a/2=z", "-a/2 a/3=", "-a/1 -a/3"})
}

func watchesFromThePast(t *testing.T, s kv.Store, _ func()) {
	is := is.New(t)
	put(t, s, kv.Put("a/1", []byte("x"), 0))
	second := put(t, s, kv.Put("a/1", []byte("y"), 0))
	put(t, s, kv.Put("a/1", []byte("z"), 0))
	put(t, s, kv.Delete("a/1"))
	is.Equal(watch(t, s, "a/", second, 2), []string{"a/1=z", "-a/1"}) // not second itself
}

func forgetsCompacted(t *testing.T, s kv.Store, compact func()) {
	is := is.New(t)
	first := put(t, s, kv.Put("a", []byte("x"), 0))
	put(t, s, kv.Put("a", []byte("y"), 0))
	last := put(t, s, kv.Put("a", []byte("z"), 0))
	compact()
	err := s.Watch(t.Context(), "a", first, func(int64, []kv.Change) error { return errEnough })
	is.True(errors.Is(err, kv.ErrCompacted))
	pairs, revision := read(t, s, "")
	is.Equal(pairs, []string{"a=z"})
	is.Equal(revision, last)
	put(t, s, kv.Delete("a"))
	is.Equal(watch(t, s, "a", last, 1), []string{"-a"})
}

func endsAWatch(t *testing.T, s kv.Store, _ func()) {
	is := is.New(t)
	_, begin := read(t, s, "")
	put(t, s, kv.Put("a", nil, 0))
	err := s.Watch(t.Context(), "a", begin, func(int64, []kv.Change) error { return errEnough })
	is.True(errors.Is(err, errEnough))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Watch(ctx, "b", begin, func(int64, []kv.Change) error { return nil })
	}()
	cancel()
	is.True(errors.Is(<-ended, context.Canceled))
}

func takesOutWhatALeaseHeld(t *testing.T, s kv.Store, _ func()) {
	is := is.New(t)
	lease, err := s.Grant(t.Context(), 30*time.Second)
	is.NoErr(err)
	other, err := s.Grant(t.Context(), 30*time.Second)
	is.NoErr(err)
	put(t, s, kv.Put("a/1", nil, lease), kv.Put("a/2", nil, lease), kv.Put("a/3", nil, other))
	begin := put(t, s, kv.Put("a/2", []byte("stays"), 0)) // it is of no lease any more
	ttl, err := s.Renew(t.Context(), lease)
	is.NoErr(err)
	is.Equal(ttl, 30*time.Second)
	is.NoErr(s.Revoke(t.Context(), lease))
	pairs, _ := read(t, s, "")
	is.Equal(pairs, []string{"a/2=stays", "a/3="})
	is.Equal(watch(t, s, "a/", begin, 1), []string{"-a/1"})
	is.NoErr(s.Revoke(t.Context(), other))
}

func endsALease(t *testing.T, s kv.Store, _ func()) {
	is := is.New(t)
	var lease kv.Lease
	var begin int64
	err := kv.ErrLeaseEnded
	for ttl := 2 * time.Second; errors.Is(err, kv.ErrLeaseEnded) && ttl < time.Minute; ttl *= 2 { // until it lasts as long as the commit takes
		lease, err = s.Grant(t.Context(), ttl)
		is.NoErr(err)
		begin, _, err = s.Commit(t.Context(), nil, []kv.Write{kv.Put("a", nil, lease)})
	}
	is.NoErr(err)
	is.Equal(watch(t, s, "a", begin, 1), []string{"-a"}) // nobody renews it
	_, err = s.Renew(t.Context(), lease)
	is.True(errors.Is(err, kv.ErrLeaseEnded))
}
