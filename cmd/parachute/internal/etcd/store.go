package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// ask calls f with the client, within the time limit.
func (s *Store) ask(ctx context.Context, f func(ctx context.Context, client *clientv3.Client) error) error {
	limited, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	client, err := s.client(limited)
	if err == nil {
		err = f(limited, client)
	}
	if err != nil {
		return s.explain(ctx, err)
	}
	return nil
}

// Read does as kv.Store says.
func (s *Store) Read(ctx context.Context, prefix string) (pairs []kv.Pair, revision int64, err error) {
	err = s.ask(ctx, func(ctx context.Context, client *clientv3.Client) error {
		found, err := client.Get(ctx, s.prefix+prefix, clientv3.WithPrefix())
		if err != nil {
			return err
		}
		revision = found.Header.Revision
		for _, pair := range found.Kvs {
			pairs = append(pairs, kv.Pair{
				Key:      strings.TrimPrefix(string(pair.Key), s.prefix),
				Value:    pair.Value,
				Created:  pair.CreateRevision,
				Modified: pair.ModRevision,
				Lease:    kv.Lease(pair.Lease),
			})
		}
		return nil
	})
	return pairs, revision, err
}

// Commit does as kv.Store says.
func (s *Store) Commit(ctx context.Context, conditions []kv.Condition, writes []kv.Write) (revision int64, ok bool, err error) {
	if err := s.checkSize(conditions, writes); err != nil {
		return 0, false, err
	}
	isUnknown := false
	err = s.ask(ctx, func(ctx context.Context, client *clientv3.Client) error {
		done, err := client.Txn(ctx).If(s.compares(conditions)...).Then(s.operations(writes)...).Commit()
		if err != nil {
			isUnknown = len(writes) > 0 && !isRefusal(err)
			return err
		}
		revision, ok = done.Header.Revision, done.Succeeded
		return nil
	})
	if isUnknown {
		err = fmt.Errorf("%w: %w", kv.ErrUnknown, err)
	}
	return revision, ok, err
}

// checkSize returns an error for a transaction that etcd refuses, unless it was told
// otherwise.
func (s *Store) checkSize(conditions []kv.Condition, writes []kv.Write) error {
	if n := max(len(conditions), len(writes)); n > kv.MaxOperations {
		return fmt.Errorf("%w: %d operations; it takes %d", kv.ErrTooLarge, n, kv.MaxOperations)
	}
	size := 0
	for _, c := range conditions {
		size += len(s.prefix) + len(c.Key)
	}
	for _, w := range writes {
		size += len(s.prefix) + len(w.Key) + len(w.Value)
	}
	if size > kv.MaxBytes {
		return fmt.Errorf("%w: %d bytes; it takes %d", kv.ErrTooLarge, size, kv.MaxBytes)
	}
	return nil
}

func (s *Store) compares(conditions []kv.Condition) []clientv3.Cmp {
	compares := make([]clientv3.Cmp, len(conditions))
	for i, c := range conditions {
		key := s.prefix + c.Key
		switch c.Test {
		case kv.TestMissing:
			compares[i] = clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
		case kv.TestExists:
			compares[i] = clientv3.Compare(clientv3.CreateRevision(key), ">", 0)
		case kv.TestUnchanged:
			compares[i] = clientv3.Compare(clientv3.ModRevision(key), "=", c.Revision)
		case kv.TestHeld:
			compares[i] = clientv3.Compare(clientv3.LeaseValue(key), "=", clientv3.LeaseID(c.Lease))
		case kv.TestNothingNewer: // a key that is not there counts as one of revision 0
			compares[i] = clientv3.Compare(clientv3.ModRevision(key).WithPrefix(), "<", c.Revision+1)
		}
	}
	return compares
}

func (s *Store) operations(writes []kv.Write) []clientv3.Op {
	if len(writes) == 0 {
		// A transaction of conditions alone would be answered by one server from what it
		// happens to know. One that reads is not.
		return []clientv3.Op{clientv3.OpGet(s.prefix, clientv3.WithCountOnly())}
	}
	operations := make([]clientv3.Op, len(writes))
	for i, w := range writes {
		key := s.prefix + w.Key
		switch w.Action {
		case kv.ActionPut:
			operations[i] = clientv3.OpPut(key, string(w.Value), clientv3.WithLease(clientv3.LeaseID(w.Lease)))
		case kv.ActionDelete:
			operations[i] = clientv3.OpDelete(key)
		case kv.ActionDeleteAll:
			operations[i] = clientv3.OpDelete(key, clientv3.WithPrefix())
		}
	}
	return operations
}

// Grant does as kv.Store says.
func (s *Store) Grant(ctx context.Context, ttl time.Duration) (lease kv.Lease, err error) {
	err = s.ask(ctx, func(ctx context.Context, client *clientv3.Client) error {
		granted, err := client.Grant(ctx, int64((ttl+time.Second-1)/time.Second))
		if err == nil {
			lease = kv.Lease(granted.ID)
		}
		return err
	})
	return lease, err
}

// Renew does as kv.Store says.
func (s *Store) Renew(ctx context.Context, lease kv.Lease) (ttl time.Duration, err error) {
	err = s.ask(ctx, func(ctx context.Context, client *clientv3.Client) error {
		renewed, err := client.KeepAliveOnce(ctx, clientv3.LeaseID(lease))
		if err == nil {
			ttl = time.Duration(renewed.TTL) * time.Second
		}
		return err
	})
	return ttl, err
}

// Revoke does as kv.Store says.
func (s *Store) Revoke(ctx context.Context, lease kv.Lease) error {
	return s.ask(ctx, func(ctx context.Context, client *clientv3.Client) error {
		_, err := client.Revoke(ctx, clientv3.LeaseID(lease))
		return err
	})
}

// watchPause is how long Watch waits before it tries again where etcd did not let it.
const watchPause = time.Second

// Watch does as kv.Store says.
func (s *Store) Watch(ctx context.Context, prefix string, after int64, each func(revision int64, changes []kv.Change) error) error {
	w := watch{prefix: prefix, after: after, each: each}
	for {
		err := s.follow(ctx, &w)
		switch {
		case w.stopped != nil:
			return w.stopped
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && !errors.Is(err, kv.ErrUnreachable):
			return err
		}
		pause := time.NewTimer(watchPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		}
	}
}

// A watch is one call of Watch.
type watch struct {
	prefix  string
	after   int64 // what was of this revision has been passed on
	each    func(revision int64, changes []kv.Change) error
	stopped error // that each has returned
}

// follow passes on what changes. It returns when w has to stop, or when etcd has ended the
// watch, as a server does that has lost the others: the next one may be with another.
func (s *Store) follow(ctx context.Context, w *watch) error {
	limited, cancel := context.WithTimeout(ctx, s.o.Timeout)
	client, err := s.client(limited)
	cancel()
	if err != nil {
		return s.explain(ctx, err)
	}
	watching, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	for r := range client.Watch(watching, s.prefix+w.prefix, clientv3.WithPrefix(), clientv3.WithRev(w.after+1),
		clientv3.WithCreatedNotify(), clientv3.WithProgressNotify()) {
		if err := r.Err(); err != nil {
			return s.explain(ctx, refusalOfWatch(err))
		}
		// The revision is that of one server, which may be behind the others for a while.
		if r.Header.Revision < w.after {
			latest, err := s.revision(ctx)
			switch {
			case err != nil:
				return err
			case latest < w.after:
				return kv.ErrCompacted // etcd was restored from what it was before
			}
		}
		if r.IsProgressNotify() {
			w.after = max(w.after, r.Header.Revision)
		}
		if w.stopped = w.pass(s.prefix, r.Events); w.stopped != nil {
			return w.stopped
		}
	}
	if s.closed.Load() {
		return errClosed
	}
	return nil
}

// revision returns the latest revision that most servers have.
func (s *Store) revision(ctx context.Context) (latest int64, err error) {
	err = s.ask(ctx, func(ctx context.Context, client *clientv3.Client) error {
		found, err := client.Get(ctx, s.prefix, clientv3.WithCountOnly())
		if err == nil {
			latest = found.Header.Revision
		}
		return err
	})
	return latest, err
}

// pass passes on events, each revision by itself. Etcd never divides one.
func (w *watch) pass(prefix string, events []*clientv3.Event) error {
	for len(events) > 0 {
		revision := events[0].Kv.ModRevision
		var changes []kv.Change
		for len(events) > 0 && events[0].Kv.ModRevision == revision {
			pair := events[0].Kv
			change := kv.Change{Deleted: events[0].Type == clientv3.EventTypeDelete}
			change.Key, change.Modified = strings.TrimPrefix(string(pair.Key), prefix), pair.ModRevision
			if !change.Deleted {
				change.Value, change.Created, change.Lease = pair.Value, pair.CreateRevision, kv.Lease(pair.Lease)
			}
			changes, events = append(changes, change), events[1:]
		}
		if err := w.each(revision, changes); err != nil {
			return err
		}
		w.after = revision
	}
	return nil
}
