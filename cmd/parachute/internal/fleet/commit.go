package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// A commit is a change that was made here.
type commit struct {
	revision int64
	services []string
	removed  []string // those of them that are no more
	isBatch  bool
	electorate

	isSettled bool  // it is known whether all have drained; guarded by Member.mu
	unsettled error // why they have not, if it is known; likewise
}

// A change is what one call of Commit is about.
type change struct {
	id      string
	records map[string]*parachute.Status // by service; nil: it is removed
	claims  int64                        // the revision up to which nobody else has what it wants; -1: it wants nothing new
	ballots []*ballot                    // over the deploys that it is of
	isBatch bool                         // its records are written aside
	asOf    int64                        // of a batch: the revision up to which records and proposals are as it was decided by
	electorate
}

// mostTries bounds how often a change is tried again because the store has changed
// meanwhile in what does not speak against it.
const mostTries = 10

// Commit is the CommitDelta of the Proxy's Options. For a change that is made here, it
// returns nil once the store has it. For one that is mirrored, there is nothing to decide.
func (m *Member) Commit(d parachute.Delta) error {
	m.mu.Lock()
	mirroring := m.mirroring
	m.mirroring = nil
	for name, revision := range mirroring {
		m.applied[name] = revision
	}
	m.mu.Unlock()
	if mirroring != nil {
		m.saver.keep(m.judgedHere(d))
		return nil
	}
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	c, err := m.newChange(d)
	if err == nil && len(c.records) == 0 { // something was only counted, or fails here alone
		m.saver.keep(m.judgedHere(d))
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*m.LeaseTime)
	defer cancel()
	defer m.cancelWhenGivenUp(cancel)()
	var revision int64
	if err == nil {
		revision, err = m.decide(ctx, c)
	}
	if errors.Is(ctx.Err(), context.Canceled) && !errors.Is(err, parachute.ErrUndecided) && err != nil {
		err = parachute.ErrClosed
	}
	if err != nil {
		m.discard(c.ballots)
		return err
	}
	m.rememberMade(c, revision)
	m.saver.keep(m.judgedHere(d))
	return nil
}

// rememberMade keeps what is to be known of c, which was made in that revision.
func (m *Member) rememberMade(c *change, revision int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	done := &commit{revision: revision, isBatch: c.isBatch, electorate: c.electorate}
	for name, status := range c.records {
		m.applied[name] = revision
		m.committed[name] = done
		done.services = append(done.services, name)
		if status == nil {
			done.removed = append(done.removed, name)
		}
		if m.records[name].modified < revision {
			r := m.recordOf(c, name)
			r.modified = revision
			m.records[name] = r
		}
	}
	if c.isBatch {
		m.spent = append(m.spent, c.ballots...)
		wake(m.unfinished)
	}
}

// discard has the proposals of ballots taken out of the store, for they are of no use
// any more.
func (m *Member) discard(ballots []*ballot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range ballots {
		if m.agreed[b.key] == b {
			delete(m.agreed, b.key)
		}
		m.spent = append(m.spent, b)
	}
	wake(m.unfinished)
}

// recordOf returns the record that c makes of a service.
func (m *Member) recordOf(c *change, service string) record {
	return newRecord(c.id, m.Name, c.records[service])
}

// GiveUp is to be called before the Proxy is shut down, which waits for what it commits: that
// waits for the store for a second at most then. If the store has not said by then whether
// it has made a change, the change ends with parachute.ErrUndecided. It must be called once.
func (m *Member) GiveUp() { close(m.givenUp) }

// cancelWhenGivenUp calls cancel when the Member has been given up, and a moment has passed.
// stop has to be called.
func (m *Member) cancelWhenGivenUp(cancel context.CancelFunc) (stop func()) {
	ctx, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-m.givenUp:
			wait(ctx, margin)
			cancel()
		case <-ctx.Done():
		}
	}()
	return func() { end(); <-done }
}

// judgedHere returns d without the bakes that other members judge: after a restart this one
// is not to.
func (m *Member) judgedHere(d parachute.Delta) parachute.Delta {
	strip := func(s parachute.Status) parachute.Status {
		m.mu.Lock()
		defer m.mu.Unlock()
		if r, is := m.records[s.Service]; is && r.By != m.Name {
			s.Bake = nil
		}
		return s
	}
	all := d.All
	d.Changed = slices.Clone(d.Changed)
	for i, s := range d.Changed {
		d.Changed[i] = strip(s)
	}
	d.All = func(yield func(parachute.Status) bool) {
		for s := range all {
			if !yield(strip(s)) {
				return
			}
		}
	}
	return d
}

// newChange returns the part of d that concerns the fleet. A record that nobody can read
// is replaced by a deploy alone: this Proxy may have missed what was there before, and
// any other change would take all members back to what it has. The ballots of the change
// belong to the caller, also after an error.
func (m *Member) newChange(d parachute.Delta) (*change, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &change{records: make(map[string]*parachute.Status), claims: -1}
	for _, name := range d.Removed {
		if r := m.records[name]; r.modified != 0 && !r.Removed {
			c.records[name] = nil
		}
	}
	for _, s := range d.Changed {
		r := m.records[s.Service]
		before := r.status()
		switch {
		case s.State == parachute.StateRemoved, s.State == parachute.StateFailed:
			continue
		case r.modified == m.applied[s.Service] && before != nil && isSame(*before, s):
			continue
		case r.broken != nil && before != nil && before.Generation == s.Generation:
			return c, fmt.Errorf("what the store has of %s cannot be read: deploy it anew: %w", s.Service, r.broken)
		}
		c.records[s.Service] = stripped(s)
		if before == nil || wants(&before.Deployment) != wants(&s.Deployment) {
			c.claims = m.seen
		}
		for _, key := range []string{proposalsBelow + s.Service, proposalsBelow + s.Service + rolloutAfter} {
			if b := m.agreed[key]; b != nil && b.isOf(&s, before) {
				b.isCommitting = true
				delete(m.agreed, key)
				c.ballots = append(c.ballots, b)
			}
		}
	}
	return c, nil
}

// wants returns what d says of its hosts.
func wants(d *parachute.Deployment) string {
	return string(encode([]any{d.Hosts, d.PathPrefixes, d.CanonicalHost, d.TLS}))
}

// isOf reports whether b was about the change that makes a service s, which was before
// until now.
func (b *ballot) isOf(s, before *parachute.Status) bool {
	if before == nil || before.Generation != s.Generation {
		return !b.isRollout && slices.Equal(encode(s.Deployment), encode(b.deployment))
	}
	r := s.Rollout
	if r == nil || b.isRollout == (r.Deployment != nil && len(r.Deployment.Canary.Steps) > 0) { // a canary is a deploy
		return false
	}
	return slices.Equal(r.Targets, b.deployment.Targets) && slices.Equal(r.ReadTargets, b.deployment.ReadTargets)
}

// decide has the store make c, and returns the revision in which it has. After an error it
// is not made, unless that is parachute.ErrUndecided.
func (m *Member) decide(ctx context.Context, c *change) (int64, error) {
	s, err := m.await(ctx)
	if err != nil {
		return 0, err
	}
	c.id = m.newID(s)
	if err := m.gather(ctx, c); err != nil {
		return 0, err
	}
	if !fits(m.transaction(s, c)) {
		if err := m.writeAside(ctx, s, c); err != nil {
			return 0, err
		}
		if err := m.reconsider(ctx, s, c); err != nil {
			return 0, err
		}
	}
	for range mostTries {
		conditions, writes := m.transaction(s, c)
		revision, ok, err := m.store.Commit(ctx, conditions, writes)
		switch {
		case errors.Is(err, kv.ErrUnknown):
			return m.resolve(ctx, s, c, err)
		case errors.Is(err, kv.ErrTooLarge):
			return 0, fmt.Errorf("%w: change fewer services at once", err)
		case errors.Is(err, kv.ErrLeaseEnded):
			return 0, errNoMember
		case err != nil:
			return 0, err
		case ok:
			s.setTurn(revision)
			return revision, nil
		}
		if err := m.reconsider(ctx, s, c); err != nil {
			return 0, err
		}
	}
	return 0, &superseded{"other proxies change too much at the same time: try again"}
}

// gather finds out whom c waits for.
func (m *Member) gather(ctx context.Context, c *change) error {
	if len(c.ballots) > 0 {
		c.lost = make(map[string]bool)
		for _, b := range c.ballots {
			for name := range b.lost {
				c.lost[name] = true
			}
			if c.members == nil || b.revision < c.revision { // who has come since then has not voted for all
				c.members, c.revision = b.members, b.revision
			}
		}
		return nil
	}
	pairs, revision, err := m.store.Read(ctx, membersBelow)
	if err != nil {
		return err
	}
	c.electorate = electors(byName(pairs, membersBelow), revision)
	return nil
}

// byName returns pairs by what their keys have after prefix.
func byName(pairs []kv.Pair, prefix string) map[string]kv.Pair {
	all := make(map[string]kv.Pair, len(pairs))
	for _, p := range pairs {
		all[strings.TrimPrefix(p.Key, prefix)] = p
	}
	return all
}

// transaction returns what makes c, if all that it was decided by is as it was.
func (m *Member) transaction(s *session, c *change) ([]kv.Condition, []kv.Write) {
	m.mu.Lock()
	defer m.mu.Unlock()
	turn := turnsBelow + m.Name
	conditions := []kv.Condition{
		kv.Held(membersBelow+m.Name, s.lease),
		kv.NothingNewer(membersBelow, c.revision), // they would serve what was before
		kv.Unchanged(turn, s.lastTurn()),
		kv.Missing(batchKey), // it may be about the same services
	}
	writes := []kv.Write{kv.Put(turn, []byte(c.id), s.lease)}
	if c.isBatch {
		conditions = append(conditions, kv.NothingNewer(servicesBelow, c.asOf))
		if len(c.ballots) > 0 {
			conditions = append(conditions, kv.NothingNewer(proposalsBelow, c.asOf))
		}
		writes = append(writes, kv.Put(batchKey, encode(batch{ID: c.id, By: m.Name, Services: len(c.records)}), 0))
	} else {
		for _, b := range c.ballots {
			conditions = append(conditions, kv.Unchanged(b.key, b.proposed))
			writes = append(writes, kv.Delete(b.key), kv.DeleteAll(votesBelow+b.id+"/"))
		}
		for name := range c.records {
			conditions = append(conditions, kv.Unchanged(servicesBelow+name, m.applied[name]))
			writes = append(writes, kv.Put(servicesBelow+name, encode(m.recordOf(c, name)), 0))
		}
	}
	if c.claims >= 0 {
		conditions = append(conditions, kv.NothingNewer(claimsKey, c.claims))
		writes = append(writes, kv.Put(claimsKey, nil, 0))
	}
	return conditions, writes
}

// reconsider finds out what has kept the store from making c, and whether that speaks
// against it. If not, c is such that it can be tried again.
func (m *Member) reconsider(ctx context.Context, s *session, c *change) error {
	pairs, revision, err := m.store.Read(ctx, membersBelow)
	if err != nil {
		return err
	}
	now := byName(pairs, membersBelow)
	if now[m.Name].Lease != s.lease {
		return errNoMember
	}
	turn, _, err := m.store.Read(ctx, turnsBelow+m.Name)
	if err != nil {
		return err
	}
	s.setTurn(byName(turn, turnsBelow)[m.Name].Modified) // 0, if somebody has deleted it
	if err := m.reconsiderRecords(ctx, c); err != nil {
		return err
	}
	if len(c.ballots) == 0 {
		c.update(electors(now, revision))
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, m.LeaseTime)
	defer cancel()
	if err := m.count(limited, c.ballots...); err != nil { // who has come meanwhile has to vote
		return err
	}
	c.members = nil
	return m.gather(ctx, c)
}

// reconsiderRecords returns why c cannot be made beside what the records are by now.
func (m *Member) reconsiderRecords(ctx context.Context, c *change) error {
	now, revision, err := m.readCopied(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c.asOf = revision
	for name := range c.records {
		r, is := now.records[name]
		known := m.records[name]
		switch {
		case r.modified == m.applied[name]:
		case !is && known.Status == nil: // it was removed, which is forgotten by now
			m.applied[name] = 0
		case r.isCopyOf(&known) && known.modified == m.applied[name]:
			known.modified = r.modified
			m.records[name], m.applied[name] = known, r.modified
		default:
			return &superseded{fmt.Sprintf("superseded by a change of %s through %s", name, cmp.Or(r.By, "another proxy"))}
		}
	}
	if c.claims < 0 {
		return nil
	}
	for name, r := range now.records {
		if _, is := c.records[name]; is || r.modified <= c.claims || r.modified == m.applied[name] || r.broken != nil {
			continue
		}
		other := r.status()
		for own, status := range c.records {
			if status != nil && other != nil && share(&status.Deployment, &other.Deployment) {
				return fmt.Errorf("%w: %s and %s, which was changed through %s at the same time", parachute.ErrConflict, own, name, r.By)
			}
		}
	}
	c.claims = revision
	return nil
}

// share reports whether two deployments have a host in common.
func share(a, b *parachute.Deployment) bool {
	if len(a.Hosts) == 0 || len(b.Hosts) == 0 {
		return len(a.Hosts) == len(b.Hosts)
	}
	return slices.ContainsFunc(a.Hosts, func(host string) bool { return slices.Contains(b.Hosts, host) })
}

// resolve finds out whether the store has made c, which it did not say, and sees to it that
// it is not made later if it was not. It returns as decide does. unknown is what the store
// said instead.
func (m *Member) resolve(ctx context.Context, s *session, c *change, unknown error) (int64, error) {
	turn := turnsBelow + m.Name
	hasAnswered := !errors.Is(unknown, kv.ErrUnreachable)
	for s.isValid() && ctx.Err() == nil {
		pairs, _, err := m.store.Read(ctx, turn)
		if err == nil {
			p, is := byName(pairs, turnsBelow)[m.Name]
			if !is {
				break // with the lease; a change without it is not made any more, but perhaps it was
			}
			if string(p.Value) == c.id {
				s.setTurn(p.Modified)
				return p.Modified, nil
			}
			if p.Modified != s.lastTurn() {
				break // somebody has changed it by hand
			}
			if hasAnswered {
				return 0, fmt.Errorf("the store did not make the change: %w", unknown)
			}
			var revision int64
			var ok bool
			revision, ok, err = m.store.Commit(ctx, []kv.Condition{kv.Unchanged(turn, p.Modified)}, []kv.Write{kv.Put(turn, nil, s.lease)})
			if err == nil && ok {
				s.setTurn(revision)
				return 0, fmt.Errorf("%w: it did not answer in time", kv.ErrUnreachable)
			}
		}
		if err != nil {
			wait(ctx, margin/4)
		}
	}
	return 0, &undecided{"the store did not say whether it has made the change, and cannot be reached: stop neither what served nor what was to serve; when it is back, this proxy becomes what the others are"}
}

func (s *session) setTurn(revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn = revision
}

func (s *session) lastTurn() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.turn
}
