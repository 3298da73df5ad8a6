package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// A ballot is the vote over a deploy that this Member coordinates.
type ballot struct {
	service    string
	key        string // of its proposal
	isRollout  bool   // it is about a rollout, beside which another deploy may go on
	generation uint64
	deployment parachute.Deployment

	tried chan struct{} // closed when it was proposed, or cannot be
	err   error         // why it cannot be; not known before

	// These are as of the last proposal of it. Who proposes it may look at them, and who holds
	// Member.mu.
	id       string
	lease    kv.Lease
	proposed int64 // the revision of the proposal; 0: there was none
	electorate

	isCommitting bool // it is the matter of a commit, or was; guarded by Member.mu
}

// rolloutAfter stands behind the name of a service in the key of a proposal of its rollout.
const rolloutAfter = "/rollout"

func newBallot(d parachute.Deployment, generation uint64, isRollout bool) *ballot {
	key := proposalsBelow + d.Service
	if isRollout {
		key += rolloutAfter
	}
	return &ballot{service: d.Service, key: key, isRollout: isRollout, generation: generation, deployment: d, tried: make(chan struct{})}
}

// Propose is the Propose of the Proxy's Options: it has every member of the fleet probe the
// targets of d, and vote.
func (m *Member) Propose(ctx context.Context, d parachute.Deployment, generation uint64, isRollout bool) {
	b := newBallot(d, generation, isRollout)
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil { // a newer one has taken its place, and may have been here
		return
	}
	before := m.ballots[b.key]
	m.ballots[b.key] = b
	m.voting.Go(func() { m.keepProposed(ctx, b, before) })
}

// keepProposed proposes b, after before, which may be nil. When ctx ends, it sees to it
// that nobody probes for b any more.
func (m *Member) keepProposed(ctx context.Context, b, before *ballot) {
	if before != nil {
		<-before.tried // for the later one counts
	}
	b.err = m.putProposal(ctx, b)
	close(b.tried)
	<-ctx.Done()
	m.mu.Lock()
	if m.ballots[b.key] == b {
		delete(m.ballots, b.key)
	}
	isCommitting := b.isCommitting
	m.mu.Unlock()
	if !isCommitting {
		m.discard([]*ballot{b})
	}
}

// putProposal has the store have the proposal of b.
func (m *Member) putProposal(ctx context.Context, b *ballot) error {
	s, err := m.await(ctx)
	if err != nil {
		return err
	}
	pairs, revision, err := m.store.Read(ctx, membersBelow)
	if err != nil {
		return fmt.Errorf("it cannot be proposed: %w", err)
	}
	id := m.newID(s)
	proposed, ok, err := m.store.Commit(ctx, []kv.Condition{kv.Held(membersBelow+m.Name, s.lease)}, []kv.Write{
		kv.Put(b.key, encode(proposal{id, m.Name, hurried(ctx, b.deployment)}), s.lease),
	})
	switch {
	case err != nil:
		return fmt.Errorf("it cannot be proposed: %w", err)
	case !ok:
		return errNoMember
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b.id, b.lease, b.proposed, b.electorate = id, s.lease, proposed, electors(byName(pairs, membersBelow), revision)
	return nil
}

// hurried returns d with a shorter time limit, so that the others vote before the deploy
// ends, or ctx.
func hurried(ctx context.Context, d parachute.Deployment) parachute.Deployment {
	left := d.Timeouts.Deploy
	if end, has := ctx.Deadline(); has && (left <= 0 || time.Until(end) < left) {
		left = time.Until(end)
	}
	if left != d.Timeouts.Deploy || left > 0 {
		d.Timeouts.Deploy = max(left-min(margin, left/5), time.Millisecond)
	}
	return d
}

// withdraw has nobody probe for ballots any more. What does not come through goes with the
// lease, as the proposals and votes do.
func (m *Member) withdraw(ctx context.Context, ballots ...*ballot) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), margin)
	defer cancel()
	var conditions []kv.Condition
	var proposals, votes []kv.Write
	m.mu.Lock()
	for _, b := range ballots {
		if b.proposed != 0 {
			conditions = append(conditions, kv.Unchanged(b.key, b.proposed))
			proposals = append(proposals, kv.Delete(b.key))
			votes = append(votes, kv.DeleteAll(votesBelow+b.id+"/"))
		}
	}
	m.mu.Unlock()
	if len(votes) == 0 {
		return nil
	}
	_, ok, err := m.store.Commit(limited, conditions, slices.Concat(proposals, votes))
	if err != nil || ok {
		return err
	}
	if len(ballots) == 1 { // another one has taken its place
		_, _, err = m.store.Commit(limited, nil, votes)
		return err
	}
	for _, b := range ballots {
		if err := m.withdraw(ctx, b); err != nil {
			return err
		}
	}
	return nil
}
