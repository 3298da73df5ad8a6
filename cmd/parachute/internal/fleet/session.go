package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// errNoMember is why a change is refused by a proxy that is in no fleet at the moment.
var errNoMember = errors.New("this proxy is no member of its fleet")

// errLapsed ends a session.
var errLapsed = errors.New("the lease has ended")

// A session is what a Member has for as long as one lease lasts.
type session struct {
	lease kv.Lease

	mu    sync.Mutex // guards what follows
	until time.Time  // by this machine's monotonic clock, the Member may take itself for one
	turn  int64      // the revision of the Member's key below turnsBelow
	joined,
	isCurrent bool // it has its key below membersBelow; and its Proxy is what the records say
}

// isValid reports whether the others still count on the Member.
func (s *session) isValid() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.joined && time.Now().Before(s.until)
}

// Ready returns nil while the Proxy serves what the fleet does, as far as it can know, or
// else why it does not.
func (m *Member) Ready() error {
	s, err := m.current()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isCurrent {
		return errors.New("it has not become what the fleet is yet")
	}
	return nil
}

// current returns the session, if the Member may count on it.
func (m *Member) current() (*session, error) {
	m.mu.Lock()
	s, why := m.session, m.why
	m.mu.Unlock()
	switch {
	case s == nil:
		return nil, why
	case !s.isValid():
		return nil, fmt.Errorf("%w: %w since its lease ended", errNoMember, kv.ErrUnreachable)
	}
	return s, nil
}

// Run has p, whose Options have Agree and Commit, be a proxy of the fleet until ctx ends.
// It must be called once. When it returns, nothing of it is left but what p does itself,
// and the others count it as gone.
func (m *Member) Run(ctx context.Context, p Proxy) {
	m.proxy = p
	var saving sync.WaitGroup
	saving.Go(func() { m.saver.run(ctx) })
	defer saving.Wait()
	defer m.drains.Wait()
	told := ""
	for ctx.Err() == nil {
		err := m.runSession(ctx)
		if ctx.Err() != nil {
			return
		}
		m.mu.Lock()
		m.session, m.why = nil, fmt.Errorf("%w: %w", errNoMember, err)
		m.mu.Unlock()
		if told != err.Error() {
			told = err.Error()
			m.Logger.Warn("the proxy is no member of its fleet, serves what it has, and tries again", "error", err)
		}
		wait(ctx, time.Second)
	}
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// runSession is one session, from its lease to its end. It returns why it has ended.
func (m *Member) runSession(ctx context.Context) error {
	sent := time.Now()
	lease, err := m.store.Grant(ctx, m.Lease)
	if err != nil {
		return err
	}
	s := &session{lease: lease, until: sent.Add(m.Lease - margin)}
	ctx, end := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	running.Go(func() { end(m.renew(ctx, s)) })
	err = m.join(ctx, s)
	if err == nil {
		running.Go(func() { end(m.followServices(ctx)) })
		running.Go(func() { end(m.followProposals(ctx, s)) })
		running.Go(func() { end(m.followMembers(ctx)) })
		m.Logger.Info("the proxy is a member of its fleet", "name", m.Name, "services", len(m.proxy.Services()))
		<-ctx.Done()
	}
	end(err)
	running.Wait()
	m.mu.Lock()
	m.session, m.why = nil, errNoMember
	m.mu.Unlock()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), margin)
	defer cancel()
	m.store.Revoke(limited, s.lease) // else the others count on the Member until it ends by itself
	return context.Cause(ctx)
}

// renew renews the lease of s, and returns when that has ended, or ctx.
func (m *Member) renew(ctx context.Context, s *session) error {
	pause := m.Lease / 3
	for {
		wait(ctx, pause)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		sent := time.Now()
		_, err := m.store.Renew(ctx, s.lease)
		switch {
		case err == nil:
			s.mu.Lock()
			s.until = sent.Add(m.Lease - margin)
			s.mu.Unlock()
			pause = m.Lease / 3
		case errors.Is(err, kv.ErrLeaseEnded):
			return errLapsed
		default:
			pause = margin / 2
		}
	}
}

// join has the Proxy become what the fleet is, and then the Member be one of it.
func (m *Member) join(ctx context.Context, s *session) error {
	if err := m.checkFormat(ctx); err != nil {
		return err
	}
	if err := m.catchUp(ctx); err != nil {
		return err
	}
	if err := m.enter(ctx, s); err != nil {
		return err
	}
	m.mu.Lock()
	m.session = s
	m.mu.Unlock()
	// From here on each change that is committed waits for this Member. It does not know
	// those that were committed since it looked.
	if err := m.catchUp(ctx); err != nil {
		return err
	}
	m.endBakes(ctx, func(service string, r record) bool { // which it judged before it was started again
		return r.By == m.Name && m.committed[service] == nil
	})
	s.mu.Lock()
	s.isCurrent = true
	s.mu.Unlock()
	return nil
}

// checkFormat returns nil if the store has what this version understands. In a store that
// has nothing, it begins a fleet with what the Proxy serves.
func (m *Member) checkFormat(ctx context.Context) error {
	pairs, _, err := m.store.Read(ctx, formatKey)
	switch {
	case err != nil:
		return err
	case len(pairs) == 0:
		return m.found(ctx)
	case string(pairs[0].Value) != format:
		return fmt.Errorf("the fleet's data are of format %q, and this version of parachute knows format %q: run versions that know the same, or another --etcd-prefix", pairs[0].Value, format)
	}
	return nil
}

// found begins a fleet. What the first proxy serves is what all are to serve.
func (m *Member) found(ctx context.Context) error {
	var writes []kv.Write
	for _, s := range m.proxy.Services() {
		if s.State == parachute.StateFailed {
			continue
		}
		r := record{ID: "found", By: m.Name, Status: stripped(s)}
		writes = append(writes, kv.Put(servicesBelow+s.Service, encode(r), 0))
	}
	missing := []kv.Condition{kv.Missing(formatKey)}
	for chunk := range slices.Chunk(writes, 32) { // they count for nothing until there is a format
		if _, ok, err := m.store.Commit(ctx, missing, chunk); err != nil || !ok {
			return err
		}
	}
	_, _, err := m.store.Commit(ctx, missing, []kv.Write{kv.Put(formatKey, []byte(format), 0), kv.Put(claimsKey, nil, 0)})
	return err
}

// enter puts the Member's key, unless another has its name.
func (m *Member) enter(ctx context.Context, s *session) error {
	key := membersBelow + m.Name
	identity := Identity{Name: m.Name, Address: m.Address, Version: m.Version, Since: time.Now().Round(0)}
	revision, ok, err := m.store.Commit(ctx, []kv.Condition{kv.Missing(key)}, []kv.Write{
		kv.Put(key, encode(identity), s.lease), kv.Put(turnsBelow+m.Name, nil, s.lease),
	})
	if err != nil {
		return err
	}
	if !ok {
		return m.taken(ctx, key)
	}
	s.mu.Lock()
	s.joined, s.turn = true, revision
	s.mu.Unlock()
	return nil
}

// taken returns that another member has the name. It may be the one that this Member was
// before, until its lease ends.
func (m *Member) taken(ctx context.Context, key string) error {
	pairs, _, err := m.store.Read(ctx, key)
	if err != nil {
		return err
	}
	var other Identity
	if len(pairs) > 0 && json.Unmarshal(pairs[0].Value, &other) == nil {
		return fmt.Errorf("there is a proxy %s in the fleet, at %s: give one of them another --fleet-name, or wait for its lease to end if it is the one that ran here before", m.Name, other.Address)
	}
	return fmt.Errorf("there was a proxy %s in the fleet a moment ago", m.Name)
}
