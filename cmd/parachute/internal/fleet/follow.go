package fleet

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// watch calls first with all pairs below prefix, and then each with what changes of them. If
// changes were forgotten, it begins again. It returns the error of one of these, or why
// the store refuses.
func (m *Member) watch(ctx context.Context, prefix string, first func(pairs []kv.Pair, revision int64), each func(revision int64, changes []kv.Change)) error {
	for {
		pairs, revision, err := m.store.Read(ctx, prefix)
		if errors.Is(err, kv.ErrUnreachable) && ctx.Err() == nil {
			wait(ctx, margin)
			continue
		}
		if err != nil {
			return err
		}
		first(pairs, revision)
		err = m.store.Watch(ctx, prefix, revision, func(revision int64, changes []kv.Change) error {
			each(revision, changes)
			return nil
		})
		if !errors.Is(err, kv.ErrCompacted) {
			return err
		}
	}
}

// catchUp has the Proxy serve what the ledger says, and returns the revision of that.
func (m *Member) catchUp(ctx context.Context) (revision int64, err error) {
	names, revision, err := m.readLedger(ctx)
	if err == nil {
		m.mirror(names, revision)
	}
	return revision, err
}

// readLedger reads the ledger, and returns the services that the Proxy has to change.
func (m *Member) readLedger(ctx context.Context) (names []string, revision int64, err error) {
	m.turn <- struct{}{} // what is committed here in between would be missing
	defer func() { <-m.turn }()
	pairs, revision, err := m.store.Read(ctx, ledgerPrefix)
	if err != nil {
		return nil, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.records
	m.ledger = newLedger(pairs)
	for name, r := range m.records {
		if old, is := before[name]; is && old.modified == r.modified {
			m.records[name] = old
		}
	}
	wake(m.unfinished)
	return m.allStaleLocked(), revision, nil
}

// followServices has the Proxy serve what each new record says, until ctx ends.
func (m *Member) followServices(ctx context.Context) error {
	for {
		revision, err := m.catchUp(ctx)
		if errors.Is(err, kv.ErrUnreachable) && ctx.Err() == nil {
			wait(ctx, margin)
			continue
		}
		if err != nil {
			return err
		}
		err = m.store.Watch(ctx, ledgerPrefix, revision, func(revision int64, changes []kv.Change) error {
			if names := m.stale(changes); slices.ContainsFunc(changes, isOfServices) {
				m.mirror(names, revision)
			}
			return nil
		})
		if !errors.Is(err, kv.ErrCompacted) {
			return err
		}
	}
}

// isOfServices reports whether c may change what a service is, and not only what was written
// aside.
func isOfServices(c kv.Change) bool { return !strings.HasPrefix(c.Key, asideBelow) }

// stale takes account of the changes of a revision, and returns the services that the
// Proxy has to change.
func (m *Member) stale(changes []kv.Change) (names []string) {
	m.turn <- struct{}{} // what is being committed here is no news
	defer func() { <-m.turn }()
	m.mu.Lock()
	defer m.mu.Unlock()
	made := m.ledger.made
	for _, c := range changes {
		name, isRecord := strings.CutPrefix(c.Key, servicesBelow)
		switch {
		case !isRecord && c.Deleted:
			m.deleteAside(c.Key)
		case !isRecord:
			m.putAside(c.Pair)
		case c.Modified < m.records[name].modified: // what was made here since
		case c.Deleted:
			if r := m.records[name]; r.Status != nil || r.broken != nil { // by hand: who removes it leaves a record of that for a while
				names = append(names, name)
			}
			delete(m.records, name)
			delete(m.applied, name)
		case m.isStaleLocked(name, decode(name, c.Pair)):
			names = append(names, name)
		}
	}
	if m.ledger.made == made {
		return names
	}
	wake(m.unfinished)
	for name, r := range m.pending() { // a batch was made
		if m.isStaleLocked(name, r) {
			names = append(names, name)
		}
	}
	return names
}

// isStaleLocked makes r the record of a service, and reports whether the Proxy has to
// change the service.
func (m *Member) isStaleLocked(name string, r record) bool {
	old := m.records[name]
	m.records[name] = r
	if r.isCopyOf(&old) && m.applied[name] == old.modified {
		m.applied[name] = r.modified
	}
	return m.isUnserved(name, r)
}

// isUnserved reports whether r says what the Proxy does not serve. m.mu must be held.
func (m *Member) isUnserved(name string, r record) bool {
	if m.applied[name] == r.modified {
		return false
	}
	if r.broken != nil {
		m.Logger.Error("what the store has of a service cannot be read, and the service stays as it is; deploy it anew", "service", name, "error", r.broken)
		m.applied[name] = r.modified
		r.setStatus(m.serves(name))
		m.records[name] = r
		return false
	}
	return true
}

// serves returns what the Proxy serves of a service, or nil.
func (m *Member) serves(name string) *parachute.Status {
	for _, s := range m.proxy.Services() {
		if s.Service == name && s.State != parachute.StateFailed {
			return stripped(s)
		}
	}
	return nil
}

// allStaleLocked is as stale for all records.
func (m *Member) allStaleLocked() (names []string) {
	served := make(map[string]*parachute.Status)
	for _, s := range m.proxy.Services() {
		served[s.Service] = &s
		if _, is := m.records[s.Service]; !is {
			m.Logger.Warn("a service that its fleet does not have is removed from this proxy; a rollback brings it back, to all", "service", s.Service)
			names = append(names, s.Service)
		}
	}
	maps.DeleteFunc(m.applied, func(name string, _ int64) bool { _, is := m.records[name]; return !is })
	for name, r := range m.records {
		switch {
		case !m.isUnserved(name, r):
		case r.isServed(served[name]):
			m.applied[name] = r.modified
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// isServed reports whether a service with that status, which may be nil, is what r says.
func (r *record) isServed(s *parachute.Status) bool {
	if s == nil || r.Status == nil {
		return s == nil && r.Status == nil
	}
	return s.State != parachute.StateFailed && (bytes.Equal(encode(stripped(*s)), r.Status) || isSame(*s, *r.status()))
}

// isSame reports whether two statuses say the same of what a service is.
func isSame(a, b parachute.Status) bool {
	comparable := func(s parachute.Status) string {
		s = *stripped(s)
		if s.Bake != nil {
			s.Bake = &parachute.Baking{Generation: s.Bake.Generation}
		}
		return string(encode(s))
	}
	return comparable(a) == comparable(b)
}

// mirror has the Proxy serve what the records of these services say, and drain what
// that replaces in the background. All other records up to revision are mirrored.
func (m *Member) mirror(names []string, revision int64) {
	var finish func()
	revisions := make(map[string]int64)
	if len(names) > 0 {
		finish = m.mirrorNames(names, revisions)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = max(m.seen, revision)
	wake(m.unreported)
	if finish != nil {
		m.drains.Go(func() { m.awaitDrain(finish, revisions) })
	}
}

// mirrorNames has the Proxy serve what the records of these services say, and puts
// their revisions into revisions. Finish waits for what was replaced; it is nil if
// nothing was.
func (m *Member) mirrorNames(names []string, revisions map[string]int64) (finish func()) {
	finish, err := m.proxy.Mirror(names, func(service string, current *parachute.Status) *parachute.Status {
		m.mu.Lock()
		defer m.mu.Unlock()
		r := m.records[service] // the newest
		revisions[service] = r.modified
		m.draining[service] = append(m.draining[service], r.modified)
		if current != nil || r.Status != nil { // else there is nothing to commit
			m.mirroring = revisions
		}
		if r.broken != nil {
			return current
		}
		return r.status()
	})
	if err != nil && !errors.Is(err, parachute.ErrClosed) {
		m.Logger.Error("the proxy cannot be what its fleet is", "services", names, "error", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, revision := range revisions {
		switch {
		case finish == nil:
			m.endDrainLocked(name, revision)
		case m.applied[name] < revision: // of services that neither were nor are, Commit was not told
			m.applied[name] = revision
		}
	}
	return finish
}

// awaitDrain waits for what was replaced by the records of these revisions.
func (m *Member) awaitDrain(finish func(), revisions map[string]int64) {
	finish()
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, revision := range revisions {
		m.endDrainLocked(name, revision)
	}
	wake(m.unreported)
}

func (m *Member) endDrainLocked(name string, revision int64) {
	left := m.draining[name]
	if i := slices.Index(left, revision); i >= 0 {
		left = slices.Delete(left, i, i+1)
	}
	if m.draining[name] = left; len(left) == 0 {
		delete(m.draining, name)
	}
}

// insist commits what does no harm if it is done twice, until that is done, refused, or s
// over.
func (m *Member) insist(ctx context.Context, s *session, conditions []kv.Condition, writes []kv.Write) {
	for ctx.Err() == nil && !s.isOver() {
		if _, _, err := m.store.Commit(ctx, conditions, writes); !errors.Is(err, kv.ErrUnreachable) {
			return
		}
		wait(ctx, margin/4)
	}
}

// followProposals has the targets of each proposal of another member probed, and votes.
func (m *Member) followProposals(ctx context.Context, s *session) error {
	probing := make(map[string]context.CancelFunc) // by service
	var running sync.WaitGroup
	defer running.Wait()
	end := func(name string) {
		if cancel := probing[name]; cancel != nil {
			cancel()
			delete(probing, name)
		}
	}
	begin := func(p kv.Pair) {
		name := strings.TrimPrefix(p.Key, proposalsBelow)
		end(name)
		var asked proposal
		refused := json.Unmarshal(p.Value, &asked)
		if asked.By == m.Name {
			return
		}
		var limited context.Context
		limited, probing[name] = context.WithCancel(ctx)
		running.Go(func() { m.vote(limited, s, p, asked, refused) })
	}
	return m.watch(ctx, proposalsBelow, func(pairs []kv.Pair, _ int64) {
		for name := range probing {
			end(name)
		}
		for _, p := range pairs {
			begin(p)
		}
	}, func(_ int64, changes []kv.Change) {
		for _, c := range changes {
			if c.Deleted {
				end(strings.TrimPrefix(c.Key, proposalsBelow))
			} else {
				begin(c.Pair)
			}
		}
	})
}

// vote probes the targets of a proposal, which is p in the store, and says how that ended.
func (m *Member) vote(ctx context.Context, s *session, p kv.Pair, asked proposal, err error) {
	if err != nil {
		err = fmt.Errorf("version %s of parachute does not understand it: %w", m.Version, err)
		asked.ID = idOf(p.Value)
	} else {
		err = m.proxy.Probe(ctx, asked.Deployment)
	}
	if ctx.Err() != nil || asked.ID == "" {
		return
	}
	v := vote{}
	if err != nil && !errors.Is(err, parachute.ErrClosed) { // it will not serve it
		v.Refused = err.Error()
	}
	if isJudged(&asked.Deployment) {
		recent := m.proxy.Counted(asked.Deployment.Service).Recent
		v.Recent = &recent
	}
	m.insist(ctx, s, []kv.Condition{kv.Unchanged(p.Key, p.Modified)}, []kv.Write{
		kv.Put(votesBelow+asked.ID+"/"+m.Name, encode(v), s.lease),
	})
}

// idOf returns the ID of a proposal that may have what cannot be read.
func idOf(value []byte) string {
	var p struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(value, &p) != nil {
		return ""
	}
	return p.ID
}

// errOusted ends a session whose key is not that of the Member any more.
var errOusted = errors.New("its lease has ended, or somebody has changed its key in the store")

// followMembers ends what a member has left behind when it is lost, until ctx ends, or until
// the Member itself counts as lost.
func (m *Member) followMembers(ctx context.Context, s *session) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	err := m.watch(ctx, membersBelow, func(pairs []kv.Pair, _ int64) {
		there := byName(pairs, membersBelow)
		if there[m.Name].Lease != s.lease {
			end(errOusted)
			return
		}
		m.noteLoss()
		m.endBakes(ctx, s, func(_ string, r record) bool { _, is := there[r.By]; return !is })
	}, func(_ int64, changes []kv.Change) {
		for _, c := range changes {
			if c.Key == membersBelow+m.Name && c.Lease != s.lease {
				end(errOusted)
				return
			}
			if c.Deleted {
				m.noteLoss()
				m.endBakes(ctx, s, func(_ string, r record) bool { return membersBelow+r.By == c.Key })
			}
		}
	})
	return cmp.Or(context.Cause(ctx), err)
}

// endBakes makes the versions stay whose bakes nobody judges any more, because the
// members that did are lost.
func (m *Member) endBakes(ctx context.Context, s *session, isLost func(service string, r record) bool) {
	m.mu.Lock()
	orphans := make(map[string]record)
	for name, r := range m.records {
		if r.broken == nil && r.isBaking && isLost(name, r) {
			orphans[name] = r
		}
	}
	m.mu.Unlock()
	for name, r := range orphans {
		status := r.status()
		status.Bake = nil
		key := servicesBelow + name
		next := newRecord(m.newID(s), m.Name, status)
		_, ok, err := m.store.Commit(ctx, []kv.Condition{kv.Unchanged(key, r.modified)}, []kv.Write{kv.Put(key, encode(next), 0)})
		if err == nil && ok {
			m.Logger.Warn("a version bakes no more, and stays, for the proxy that judged it is lost", "service", name, "proxy", r.By)
		}
	}
}
