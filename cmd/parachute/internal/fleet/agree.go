package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// An electorate is who a change waits for: the members as of a revision, and those that
// were lost since it was proposed.
type electorate struct {
	revision int64
	members  map[string]int64 // by name, the revision in which it came
	lost     map[string]bool
	left     map[string]int64 // likewise, of those that have ended with nothing left
}

// electors returns who is below membersBelow, as of revision.
func electors(pairs map[string]kv.Pair, revision int64) electorate {
	e := electorate{revision: revision, members: make(map[string]int64), lost: make(map[string]bool), left: make(map[string]int64)}
	for key, p := range pairs {
		name, hasLeft := strings.CutSuffix(key, leftAfter)
		var bye farewell
		switch {
		case !hasLeft && p.Lease == 0: // somebody has put it there by hand
		case !hasLeft:
			e.members[name] = p.Created
		case json.Unmarshal(p.Value, &bye) == nil:
			e.left[name] = bye.Created
		}
	}
	return e
}

// update takes account of who is there now, and of who is not any more.
func (e *electorate) update(now electorate) {
	for name, created := range e.members {
		if now.members[name] != created && now.left[name] != created {
			e.lost[name] = true
		}
	}
	e.members, e.revision = now.members, now.revision
}

// Agree is the Agree of the Proxy's Options: it returns nil when every member of the fleet
// has said that it finds the targets of d healthy.
func (m *Member) Agree(ctx context.Context, d parachute.Deployment, generation uint64) error {
	b, err := m.ballotOf(ctx, d, generation)
	if err != nil {
		return err
	}
	if err := m.count(ctx, b); err != nil {
		_ = m.withdraw(ctx, b)
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.agreed[b.key] = b
	return nil
}

// ballotOf returns the ballot over d, which was proposed.
func (m *Member) ballotOf(ctx context.Context, d parachute.Deployment, generation uint64) (*ballot, error) {
	m.mu.Lock()
	b := newBallot(d, generation, false)
	for _, key := range []string{b.key, b.key + rolloutAfter} {
		if other := m.ballots[key]; other != nil && other.generation == generation {
			b = other
		}
	}
	isNew := b != m.ballots[b.key]
	m.mu.Unlock()
	if !isNew {
		select {
		case <-b.tried:
		case <-ctx.Done():
			return nil, fmt.Errorf("it cannot be proposed: %w", context.Cause(ctx))
		}
		if s, err := m.await(ctx); err != nil || b.err == nil && b.lease == s.lease {
			return b, err
		}
		// It could not be proposed then, or has gone with the lease.
	}
	return b, m.putProposal(ctx, b)
}

// count returns nil when all members have voted for all of ballots, whose electorate are
// these then.
func (m *Member) count(ctx context.Context, ballots ...*ballot) error {
	for {
		err := m.countVotes(ctx, ballots...)
		var late *overtaken
		if !errors.As(err, &late) {
			return err
		}
		if err := m.putProposal(ctx, late.ballot); err != nil {
			return err
		}
	}
}

// An overtaken error is why the proposal of a ballot has to be made again: an older one of this
// Member, which was given up while the store was told of it, has come behind it.
type overtaken struct{ *ballot }

func (*overtaken) Error() string { return "overtaken" }

func (m *Member) countVotes(ctx context.Context, ballots ...*ballot) error {
	votes, proposals := votesBelow, proposalsBelow
	if len(ballots) == 1 {
		votes, proposals = votesBelow+ballots[0].id+"/", ballots[0].key
	}
	var silent []string
	err := m.observe(ctx, []string{votes, membersBelow, proposals}, func(v *storeView) (bool, error) {
		silent = nil
		now := electors(v.below(membersBelow), v.revisions[membersBelow])
		for _, b := range ballots {
			if p := v.pairs[b.key]; p.Modified != b.proposed {
				return false, m.superseded(b, p)
			}
			b.update(now)
			missing, err := m.votesOf(b, v)
			if err != nil {
				return false, err
			}
			silent = append(silent, missing...)
		}
		if len(silent) > 0 {
			return false, nil
		}
		for _, b := range ballots {
			m.tellRecent(b, v)
		}
		return true, nil
	})
	if errors.Is(err, context.DeadlineExceeded) && len(silent) > 0 {
		within := ""
		if d := ballots[0].deployment.Timeouts.Deploy; d > 0 {
			within = " within " + d.String()
		}
		slices.Sort(silent)
		return fmt.Errorf("%s did not say%s whether the targets are healthy there", strings.Join(slices.Compact(silent), ", "), within)
	}
	return err
}

// votesOf returns who has not voted for b, and an error if somebody has against it.
func (m *Member) votesOf(b *ballot, v *storeView) (silent []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(b.members)) {
		p, has := v.pairs[votesBelow+b.id+"/"+name]
		if name == m.Name {
			continue
		}
		if !has {
			silent = append(silent, name)
			continue
		}
		var said vote
		if err := json.Unmarshal(p.Value, &said); err != nil {
			said.Refused = err.Error()
		}
		if said.Refused != "" {
			return nil, fmt.Errorf("%s refuses it: %s", name, strings.TrimPrefix(said.Refused, "parachute: "))
		}
	}
	return silent, nil
}

// superseded returns that p, another proposal, has taken the place of b, or that it is gone.
func (m *Member) superseded(b *ballot, p kv.Pair) error {
	var by proposal
	if json.Unmarshal(p.Value, &by) != nil || by.By == "" {
		return &superseded{"the proposal of it is gone"}
	}
	m.mu.Lock()
	isNewest := m.ballots[b.key] == b
	m.mu.Unlock()
	if by.By == m.Name && isNewest && by.ID != b.id {
		return &overtaken{b}
	}
	return &superseded{fmt.Sprintf("superseded by a deploy of the service through %s, which was asked for later", by.By)}
}

// A superseded error tells that another proxy has changed the service.
type superseded struct{ text string }

func (e *superseded) Error() string { return e.text }
func (e *superseded) Unwrap() error { return parachute.ErrSuperseded }

// An undecided error tells that nothing may be stopped.
type undecided struct{ text string }

func (e *undecided) Error() string { return e.text }
func (e *undecided) Unwrap() error { return parachute.ErrUndecided }

// Settle is to be called after each change of services that was asked of the Proxy, which has
// come to failed. It returns when every member of the fleet has drained what the change has
// replaced, if it was made. Tell is called with each of the services and the name of each
// member that has. If a member was lost, or cannot be asked, the error is
// parachute.ErrUndecided.
func (m *Member) Settle(ctx context.Context, services []string, failed error, tell func(service, member string)) error {
	if failed != nil && !errors.Is(failed, parachute.ErrTakenBack) {
		return nil
	}
	var unsettled []*commit
	m.mu.Lock()
	for _, name := range services {
		if c := m.committed[name]; c != nil && !c.isSettled && !slices.Contains(unsettled, c) {
			unsettled = append(unsettled, c)
		}
	}
	m.mu.Unlock()
	var first error
	for _, c := range unsettled {
		first = cmp.Or(first, m.settle(ctx, c, func(member string) {
			for _, name := range services {
				if slices.Contains(c.services, name) {
					tell(name, member)
				}
			}
		}))
	}
	return first
}

// settle is awaitDrains, and keeps what that has returned.
func (m *Member) settle(ctx context.Context, c *commit, tell func(member string)) error {
	err := m.awaitDrains(ctx, c, tell)
	if ctx.Err() == nil { // else others may wait for it
		m.mu.Lock()
		defer m.mu.Unlock()
		c.isSettled, c.unsettled = true, err
	}
	return err
}

// Settled returns when every member has drained what the newest change of a service has
// replaced, for whoever has not learnt that from Settle. Of a change that another process has
// made, it takes the record in the store for it; then each proxy that was lost, whenever that
// was, may still serve what was before. The error is as that of Settle.
func (m *Member) Settled(ctx context.Context, service string) error {
	m.mu.Lock()
	c, isSettled, unsettled := m.committed[service], false, error(nil)
	if c != nil {
		isSettled, unsettled = c.isSettled, c.unsettled
	}
	m.mu.Unlock()
	if isSettled {
		return unsettled
	}
	if c == nil {
		var err error
		if c, err = m.recorded(ctx, service); err != nil {
			return &undecided{fmt.Sprintf("whether all proxies have drained is not known (%v): do not stop the old targets", err)}
		}
	}
	return m.settle(ctx, c, func(string) {})
}

// recorded returns the change that a service was made by, as far as the store has it.
func (m *Member) recorded(ctx context.Context, service string) (*commit, error) {
	if _, err := m.await(ctx); err != nil {
		return nil, err
	}
	lost, err := m.Lost(ctx)
	if err != nil {
		return nil, err
	}
	pairs, revision, err := m.store.Read(ctx, membersBelow)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &commit{revision: m.records[service].modified, services: []string{service}, electorate: electors(byName(pairs, membersBelow), revision)}
	for _, identity := range lost {
		c.lost[identity.Name] = true
	}
	return c, nil
}

// awaitDrains returns when every member has drained what c has replaced.
func (m *Member) awaitDrains(ctx context.Context, c *commit, tell func(member string)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer m.watchSession(ctx, func() { cancel(kv.ErrUnreachable) })()
	told, gone, left := map[string]bool{m.Name: true}, maps.Clone(c.lost), []string(nil)
	err := m.observe(ctx, []string{reportsBelow, membersBelow}, func(v *storeView) (bool, error) {
		now, said := electors(v.below(membersBelow), 0), v.below(reportsBelow)
		left = nil
		for _, name := range slices.Sorted(maps.Keys(c.members)) {
			switch {
			case told[name], gone[name]:
			case hasDrained(said[name], c):
				told[name] = true
				tell(name)
			case now.members[name] == c.members[name]:
				left = append(left, name)
			case now.left[name] == c.members[name]:
				told[name] = true
			default:
				gone[name] = true
			}
		}
		return len(left) == 0, nil
	})
	lost := slices.Sorted(maps.Keys(gone))
	switch {
	case err != nil:
		return &undecided{fmt.Sprintf("it was made, but whether %s has drained is not known (%v): do not stop the old targets", strings.Join(slices.Concat(left, lost), ", "), err)}
	case len(lost) > 0:
		return &undecided{fmt.Sprintf("it was made, but the lease of %s has ended meanwhile: do not stop the old targets, for it may still serve them", strings.Join(lost, ", "))}
	}
	m.tidy(ctx, c)
	return nil
}

// hasDrained reports whether p, which a member has reported, says that nothing is left there
// of what c has replaced, or a change of one of its services before.
func hasDrained(p kv.Pair, c *commit) bool {
	var r Report
	if json.Unmarshal(p.Value, &r) != nil || r.Revision < c.revision {
		return false
	}
	return !slices.ContainsFunc(c.services, func(service string) bool {
		left, isDraining := r.Draining[service]
		return isDraining && left <= c.revision
	})
}

// watchSession calls ended when the Member may not count on its lease any more. stop has to
// be called.
func (m *Member) watchSession(ctx context.Context, ended func()) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if _, err := m.current(); err != nil {
				ended()
				return
			}
			wait(ctx, margin/4)
		}
	}()
	return func() { cancel(); <-done }
}

// tidy takes out what nobody asks for any more once c has drained everywhere.
func (m *Member) tidy(ctx context.Context, c *commit) {
	if c.isBatch || len(c.removed) == 0 { // who finishes the batch does so
		return
	}
	limited, cancel := context.WithTimeout(ctx, margin)
	defer cancel()
	var conditions []kv.Condition
	var writes []kv.Write
	for _, name := range c.removed {
		key := servicesBelow + name
		conditions, writes = append(conditions, kv.Unchanged(key, c.revision)), append(writes, kv.Delete(key))
	}
	m.store.Commit(limited, conditions, writes)
}
