package fleet_test

import (
	"context"
	"regexp"
	"slices"
	"time"

	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// A skewed store is one as a machine sees it whose wall clock is ahead of the others'. A
// bubble has one clock for all. So what this machine writes says that it was so much later,
// and what it reads, that it was so much earlier, which comes to the same: nobody can tell
// the time of another machine but by what that has written.
type skewed struct {
	kv.Store
	ahead time.Duration
}

// instant matches one in JSON.
var instant = regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]+"`)

// shifted returns value with all instants in it moved by d.
func shifted(value []byte, d time.Duration) []byte {
	if d == 0 {
		return value
	}
	return instant.ReplaceAllFunc(value, func(old []byte) []byte {
		at, err := time.Parse(`"`+time.RFC3339Nano+`"`, string(old))
		if err != nil {
			return old
		}
		return []byte(at.Add(d).Format(`"` + time.RFC3339Nano + `"`))
	})
}

// Read is that of kv.Store.
func (s skewed) Read(ctx context.Context, prefix string) ([]kv.Pair, int64, error) {
	pairs, revision, err := s.Store.Read(ctx, prefix)
	for i := range pairs {
		pairs[i].Value = shifted(pairs[i].Value, -s.ahead)
	}
	return pairs, revision, err
}

// Commit is that of kv.Store.
func (s skewed) Commit(ctx context.Context, conditions []kv.Condition, writes []kv.Write) (int64, bool, error) {
	writes = slices.Clone(writes)
	for i := range writes {
		writes[i].Value = shifted(writes[i].Value, s.ahead)
	}
	return s.Store.Commit(ctx, conditions, writes)
}

// Watch is that of kv.Store.
func (s skewed) Watch(ctx context.Context, prefix string, after int64, each func(int64, []kv.Change) error) error {
	return s.Store.Watch(ctx, prefix, after, func(revision int64, changes []kv.Change) error {
		changes = slices.Clone(changes)
		for i := range changes {
			changes[i].Value = shifted(changes[i].Value, -s.ahead)
		}
		return each(revision, changes)
	})
}
