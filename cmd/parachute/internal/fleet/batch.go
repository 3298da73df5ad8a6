package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// What is done in one transaction at most. The store counts the prefix of all keys, too,
// and more around them.
const (
	mostOperations = kv.MaxOperations * 3 / 4
	mostBytes      = kv.MaxBytes * 2 / 3
)

// fits reports whether the store takes a transaction.
func fits(conditions []kv.Condition, writes []kv.Write) bool {
	size := 0
	for _, w := range writes {
		size += sizeOf(w)
	}
	return max(len(conditions), len(writes)) <= mostOperations && (size <= mostBytes || len(writes) == 1)
}

func sizeOf(w kv.Write) int { return len(w.Key) + len(w.Value) }

// chunks yields writes in parts that fit.
func chunks(writes []kv.Write) iter.Seq[[]kv.Write] {
	return func(yield func([]kv.Write) bool) {
		for len(writes) > 0 {
			n, size := 0, 0
			for n < len(writes) && n < mostOperations-1 && (n == 0 || size+sizeOf(writes[n]) <= mostBytes) { // a condition more
				size += sizeOf(writes[n])
				n++
			}
			if !yield(writes[:n]) {
				return
			}
			writes = writes[n:]
		}
	}
}

// writeAside makes c a batch, and writes aside what it makes of the services.
func (m *Member) writeAside(ctx context.Context, s *session, c *change) error {
	c.isBatch = true
	held := []kv.Condition{kv.Held(membersBelow+m.Name, s.lease), kv.Unchanged(turnsBelow+m.Name, s.lastTurn())}
	var writes []kv.Write
	for name := range c.records {
		writes = append(writes, kv.Put(asideBelow+c.id+"/"+name, encode(m.recordOf(c, name)), 0))
	}
	for chunk := range chunks(writes) {
		_, ok, err := m.store.Commit(ctx, held, chunk)
		for errors.Is(err, kv.ErrUnreachable) && s.isValid() && ctx.Err() == nil { // it does no harm if it is done twice
			wait(ctx, margin/4)
			_, ok, err = m.store.Commit(ctx, held, chunk)
		}
		switch {
		case err != nil:
			return err
		case !ok:
			return errNoMember
		}
	}
	return nil
}

// readCopied returns the ledger, without a batch that has not been copied, and its revision.
func (m *Member) readCopied(ctx context.Context) (ledger, int64, error) {
	for {
		pairs, revision, err := m.store.Read(ctx, ledgerPrefix)
		if err != nil {
			return ledger{}, 0, err
		}
		l := newLedger(pairs)
		if l.made == nil {
			return l, revision, nil
		}
		if err := m.copyBatch(ctx, pairs, l); err != nil {
			return ledger{}, 0, err
		}
	}
}

// copyBatch copies the records of the batch that l has to where those of the services are, and
// then takes out what was written aside for it. pairs are what l was made of. It returns nil
// as well where another member was faster.
func (m *Member) copyBatch(ctx context.Context, pairs []kv.Pair, l ledger) error {
	counts := kv.Unchanged(batchKey, l.made.modified)
	below := asideBelow + l.made.ID + "/"
	if !l.isWhole() {
		err := cmp.Or(l.made.broken, fmt.Errorf("%d of %d services are there", len(l.aside[l.made.ID]), l.made.Services))
		m.Logger.Error("what the store has of a change of many services cannot be read, and is taken out: make it again", "error", err)
		if l.made.ID == "" {
			_, _, err := m.store.Commit(ctx, []kv.Condition{counts}, []kv.Write{kv.Delete(batchKey)})
			return err
		}
		pairs = nil
	}
	has, writes := byName(pairs, servicesBelow), []kv.Write(nil)
	for _, p := range pairs {
		name, isOf := strings.CutPrefix(p.Key, below)
		old, is := has[name]
		switch {
		case !isOf || is && string(old.Value) == string(p.Value):
		case !l.aside[l.made.ID][name].Removed:
			writes = append(writes, kv.Put(servicesBelow+name, p.Value, 0))
		case is:
			writes = append(writes, kv.Delete(servicesBelow+name))
		}
	}
	for chunk := range chunks(writes) {
		conditions := []kv.Condition{counts}
		for _, w := range chunk {
			conditions = append(conditions, kv.Unchanged(w.Key, has[strings.TrimPrefix(w.Key, servicesBelow)].Modified))
		}
		if _, ok, err := m.store.Commit(ctx, conditions, chunk); err != nil || !ok {
			return err
		}
	}
	_, _, err := m.store.Commit(ctx, []kv.Condition{counts}, []kv.Write{kv.Delete(batchKey), kv.DeleteAll(below)})
	return err
}
