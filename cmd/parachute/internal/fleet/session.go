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
	over  chan struct{} // closed when it has ended

	mu        sync.Mutex // guards what follows
	until     time.Time  // by this machine's monotonic clock, the Member may take itself for one
	turn      int64      // the revision of the Member's key below turnsBelow
	since     int64      // the revision in which the Member came; 0: it has not
	entered   int64      // the revision in which this process did, which may have adopted the lease
	isCurrent bool       // its Proxy is what the records say
}

// isValid reports whether the others still count on the Member.
func (s *session) isValid() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since != 0 && time.Now().Before(s.until)
}

func (s *session) isOver() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

func (s *session) created() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since
}

func (s *session) lastEntry() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entered
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
// It must be called once, and p must be closed by the time that Run is to return. How it has
// ended is the cause of ctx's end: after ErrHandedOver another Member adopts the lease, and
// the others notice nothing; otherwise they count this one as gone, with nothing left.
func (m *Member) Run(ctx context.Context, p Proxy) {
	m.proxy = p
	var saving sync.WaitGroup
	saving.Go(func() { m.saver.run(ctx) })
	defer saving.Wait()
	defer m.drains.Wait()
	defer m.voting.Wait()
	told := ""
	for ctx.Err() == nil {
		err := m.runSession(ctx)
		if ctx.Err() != nil {
			return
		}
		m.setSession(nil, fmt.Errorf("%w: %w", errNoMember, err))
		m.trying.Do(func() { close(m.tried) })
		if told != err.Error() {
			told = err.Error()
			m.Logger.Warn("the proxy is no member of its fleet, serves what it has, and tries again", "error", err)
		}
		wait(ctx, time.Second)
	}
}

// ErrHandedOver is the cause of the end of Run's context if another Member takes the place of
// this one.
var ErrHandedOver = errors.New("handed over")

func (m *Member) setSession(s *session, why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session, m.why = s, why
}

// Begin is to be called before each change that is asked of the Proxy. It returns when the
// Member has had the time to become one, with why the change cannot be made now, or nil.
func (m *Member) Begin(ctx context.Context) error {
	if _, err := m.await(ctx); err != nil {
		return fmt.Errorf("nothing can be changed now: %w", err)
	}
	return nil
}

// await is current, once the Member has had the time to become one.
func (m *Member) await(ctx context.Context) (*session, error) {
	select {
	case <-m.tried:
	case <-ctx.Done():
	}
	return m.current()
}

// Lease returns the lease that another Member can adopt, or 0.
func (m *Member) Lease() kv.Lease {
	s, err := m.current()
	if err != nil {
		return 0
	}
	return s.lease
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
func (m *Member) runSession(outer context.Context) error {
	s, err := m.newSession(outer)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(outer)
	var running sync.WaitGroup
	running.Go(func() { end(m.renew(ctx, s)) })
	err = m.join(ctx, s)
	if err == nil {
		running.Go(func() { end(m.followServices(ctx)) })
		running.Go(func() { end(m.followProposals(ctx, s)) })
		running.Go(func() { end(m.followMembers(ctx, s)) })
		running.Go(func() { end(m.followQuestions(ctx, s)) })
		running.Go(func() { end(m.finishAll(ctx)) })
		running.Go(func() { end(m.keepReporting(ctx, s)) })
		running.Go(func() { end(m.keepCounting(ctx, s)) })
		m.Logger.Info("the proxy is a member of its fleet", "name", m.Name, "services", len(m.proxy.Services()))
		<-ctx.Done()
	}
	end(err)
	running.Wait()
	m.setSession(nil, errNoMember)
	close(s.over)
	if !errors.Is(context.Cause(outer), ErrHandedOver) {
		m.leave(outer, s)
	}
	return context.Cause(ctx)
}

// newSession returns a session with a lease, that of the Member before if it is to be
// adopted.
func (m *Member) newSession(ctx context.Context) (*session, error) {
	if adopted := m.Adopted; adopted != 0 {
		m.Adopted = 0
		sent := time.Now()
		if _, err := m.store.Renew(ctx, adopted); err == nil {
			return &session{lease: adopted, over: make(chan struct{}), until: sent.Add(m.LeaseTime - margin)}, nil
		}
	}
	sent := time.Now()
	lease, err := m.store.Grant(ctx, m.LeaseTime)
	if err != nil {
		return nil, err
	}
	return &session{lease: lease, over: make(chan struct{}), until: sent.Add(m.LeaseTime - margin)}, nil
}

// leave has the others count the Member as gone, at once if the store can be reached. If
// outer has ended, nothing is left of it.
func (m *Member) leave(outer context.Context, s *session) {
	hasNothing := outer.Err() != nil && s.created() != 0
	if hasNothing {
		m.drains.Wait()
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(outer), margin)
	defer cancel()
	if hasNothing {
		m.store.Commit(limited, []kv.Condition{kv.Held(membersBelow+m.Name, s.lease)}, []kv.Write{
			kv.Delete(membersBelow + m.Name), kv.Delete(knownBelow + m.Name), kv.Put(membersBelow+m.Name+leftAfter, encode(farewell{s.created()}), 0),
		})
	}
	m.store.Revoke(limited, s.lease)
}

// renew renews the lease of s, and returns when that has ended, or ctx.
func (m *Member) renew(ctx context.Context, s *session) error {
	pause := m.LeaseTime / 3
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
			s.until = sent.Add(m.LeaseTime - margin)
			s.mu.Unlock()
			pause = m.LeaseTime / 3
		case errors.Is(err, kv.ErrLeaseEnded):
			return errLapsed
		default:
			pause = margin / 2
		}
	}
}

// join has the Proxy serve what the fleet serves, and then makes the Member one of the
// fleet.
func (m *Member) join(ctx context.Context, s *session) error {
	if err := m.checkFormat(ctx); err != nil {
		return err
	}
	judged := make(map[string]bool)
	for _, s := range m.proxy.Services() {
		judged[s.Service] = s.Bake != nil
	}
	if _, err := m.catchUp(ctx); err != nil {
		return err
	}
	if err := m.enter(ctx, s); err != nil {
		return err
	}
	m.setSession(s, nil)
	// From here on each change that is committed waits for this Member. It does not know
	// those that were committed since it looked.
	if _, err := m.catchUp(ctx); err != nil {
		return err
	}
	m.endBakes(ctx, s, func(service string, r record) bool { return r.By == m.Name && !judged[service] })
	s.mu.Lock()
	s.isCurrent = true
	s.mu.Unlock()
	m.trying.Do(func() { close(m.tried) })
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

// found begins a fleet. What the first proxy serves is what all are to serve. Where there are
// members, there is a fleet, and only the format was lost.
func (m *Member) found(ctx context.Context) error {
	pairs, revision, err := m.store.Read(ctx, membersBelow)
	if err != nil {
		return err
	}
	isThere := len(electors(byName(pairs, membersBelow), revision).members) > 0
	var writes []kv.Write
	for _, s := range m.proxy.Services() {
		if isThere || s.State == parachute.StateFailed {
			continue
		}
		writes = append(writes, kv.Put(servicesBelow+s.Service, encode(newRecord("found", m.Name, stripped(s))), 0))
	}
	missing := []kv.Condition{kv.Missing(formatKey)}
	for chunk := range slices.Chunk(writes, 32) { // they count for nothing until there is a format
		if _, ok, err := m.store.Commit(ctx, missing, chunk); err != nil || !ok {
			return err
		}
	}
	_, _, err = m.store.Commit(ctx, missing, []kv.Write{kv.Put(formatKey, []byte(format), 0), kv.Put(claimsKey, nil, 0)})
	return err
}

// enter puts the Member's key, unless another has its name.
func (m *Member) enter(ctx context.Context, s *session) error {
	key := membersBelow + m.Name
	identity := Identity{Name: m.Name, Address: m.Address, Version: m.Version, Since: time.Now().Round(0)}
	var revision int64
	var ok bool
	for _, free := range []kv.Condition{kv.Missing(key), kv.Held(key, s.lease), kv.Held(key, 0)} { // without a lease, it is nobody's
		var err error
		revision, ok, err = m.store.Commit(ctx, []kv.Condition{free}, []kv.Write{
			kv.Put(key, encode(identity), s.lease), kv.Put(knownBelow+m.Name, encode(identity), 0), kv.Put(turnsBelow+m.Name, nil, s.lease),
		})
		if err != nil {
			return err
		}
		if ok {
			break
		}
	}
	pairs, _, err := m.store.Read(ctx, key)
	if err != nil {
		return err
	}
	p := byName(pairs, membersBelow)[m.Name]
	if !ok {
		var other Identity
		if json.Unmarshal(p.Value, &other) != nil {
			return fmt.Errorf("there was a proxy %s in the fleet a moment ago", m.Name)
		}
		return fmt.Errorf("there is a proxy %s in the fleet, at %s: give one of them another --fleet-name, or wait for its lease to end if it is the one that ran here before", m.Name, other.Address)
	}
	s.mu.Lock()
	s.turn, s.since, s.entered = revision, p.Created, revision
	s.mu.Unlock()
	return nil
}
