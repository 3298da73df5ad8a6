package fleet

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// finishAll finishes batches that were made, and takes out of the store what is of no use to
// anybody any more, until ctx ends. Where several members could, one does: whose it is, or
// else the first by name.
func (m *Member) finishAll(ctx context.Context) error {
	again := time.NewTicker(m.LeaseTime / 2)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.unfinished:
		case <-again.C:
		}
		if err := m.finish(ctx); errors.Is(err, kv.ErrUnreachable) {
			wait(ctx, margin/4)
			wake(m.unfinished)
		}
	}
}

// finish does once what finishAll does. Without anything to be done, it asks the store
// nothing.
func (m *Member) finish(ctx context.Context) error {
	m.mu.Lock()
	spent, hasLost, made, owners := slices.Clone(m.spent), m.hasLost, m.ledger.made, make(map[string]string)
	for id, records := range m.aside {
		owners[id] = ownerOf(records)
	}
	m.mu.Unlock()
	if made == nil && len(owners) == 0 && !hasLost {
		return m.forget(ctx, spent)
	}
	pairs, _, err := m.store.Read(ctx, membersBelow)
	if err != nil {
		return err
	}
	members := byName(pairs, membersBelow)
	if made != nil && isFor(m.Name, made.By, members) {
		_, _, err = m.readCopied(ctx)
	}
	for id, by := range owners {
		if made == nil && err == nil {
			err = m.clearAside(ctx, id, by, members)
		}
	}
	if err == nil && hasLost {
		err = m.clearVotes(ctx, members)
	}
	return errors.Join(err, m.forget(ctx, spent))
}

// isFor reports whether the member called name has to finish what by has begun.
func isFor(name, by string, members map[string]kv.Pair) bool {
	if members[by].Lease != 0 {
		return name == by
	}
	for other, p := range members {
		if p.Lease != 0 && other < name {
			return false
		}
	}
	return true
}

// ownerOf returns which member has written records aside, or "" if that cannot be read.
func ownerOf(records map[string]record) (by string) {
	for _, r := range records {
		by = r.By
	}
	return by
}

// clearAside takes out what by has written aside, unless it may be made yet.
func (m *Member) clearAside(ctx context.Context, id, by string, members map[string]kv.Pair) error {
	owner, is := members[by]
	switch {
	case by == m.Name:
		m.turn <- struct{}{} // nothing is being written aside here now
		defer func() { <-m.turn }()
	case is || !isFor(m.Name, by, members):
		return nil
	}
	_, _, err := m.store.Commit(ctx, []kv.Condition{kv.Unchanged(membersBelow+by, owner.Modified), kv.Missing(batchKey)}, []kv.Write{kv.DeleteAll(asideBelow + id + "/")})
	return err
}

// noteLoss has finishAll look for what a member has left behind.
func (m *Member) noteLoss() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hasLost = true
	wake(m.unfinished)
}

// clearVotes takes out the votes over proposals that are gone, with those who made them.
func (m *Member) clearVotes(ctx context.Context, members map[string]kv.Pair) error {
	if isFor(m.Name, "", members) {
		votes, _, err := m.store.Read(ctx, votesBelow)
		if err != nil {
			return err
		}
		proposals, _, err := m.store.Read(ctx, proposalsBelow) // there is no vote before its proposal
		if err != nil {
			return err
		}
		dead := make(map[string]bool)
		for _, p := range votes {
			id, _, _ := strings.Cut(strings.TrimPrefix(p.Key, votesBelow), "/")
			dead[id] = true
		}
		for _, p := range proposals {
			delete(dead, idOf(p.Value))
		}
		var writes []kv.Write
		for id := range dead {
			writes = append(writes, kv.DeleteAll(votesBelow+id+"/"))
		}
		for chunk := range chunks(writes) {
			if _, _, err := m.store.Commit(ctx, nil, chunk); err != nil {
				return err
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hasLost = false
	return nil
}

// forget takes out the proposals of ballots that are spent.
func (m *Member) forget(ctx context.Context, spent []*ballot) error {
	for some := range slices.Chunk(spent, mostOperations/2) {
		if err := m.withdraw(ctx, some...); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spent = slices.DeleteFunc(m.spent, func(b *ballot) bool { return slices.Contains(spent, b) })
	return nil
}
