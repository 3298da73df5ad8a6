package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// reportInterval is how often a member looks whether its services are healthy.
const reportInterval = 10 * time.Second

// A Report is how far a member has come.
type Report struct {
	Revision  int64            `json:"revision"`            // of the store, up to which it has made all changes
	Draining  map[string]int64 `json:"draining,omitempty"`  // by service, the first of those revisions for which it has not drained
	Services  int              `json:"services"`            // that it serves
	Unhealthy []string         `json:"unhealthy,omitempty"` // those that fail, or have no healthy target
}

// A Standing is what is known of a member.
type Standing struct {
	Identity
	Report
	Self    bool
	Behind  int   // how many services have changed that it has not
	Reached int64 // the revision of the newest record that it has taken account of
}

// errLost is why nothing is known of a proxy that was a member.
var errLost = errors.New("its lease has ended, and whether it still serves is not known")

// Lost returns who was a member, and has not left with nothing left: it may still serve what
// was then.
func (m *Member) Lost(ctx context.Context) ([]Identity, error) {
	known, _, err := m.store.Read(ctx, knownBelow)
	if err != nil {
		return nil, err
	}
	pairs, _, err := m.store.Read(ctx, membersBelow)
	if err != nil {
		return nil, err
	}
	there := electors(byName(pairs, membersBelow), 0).members
	known = slices.DeleteFunc(known, func(p kv.Pair) bool { _, is := there[strings.TrimPrefix(p.Key, knownBelow)]; return is })
	if len(known) == 0 {
		return nil, nil
	}
	if pairs, _, err = m.store.Read(ctx, knownBelow); err != nil {
		return nil, err
	}
	still := byName(pairs, knownBelow) // without who has left between the first look and the second
	var all []Identity
	for _, p := range known {
		name := strings.TrimPrefix(p.Key, knownBelow)
		if _, is := still[name]; is {
			identity := Identity{}
			_ = json.Unmarshal(p.Value, &identity) // the name is in the key
			identity.Name = name
			all = append(all, identity)
		}
	}
	return all, nil
}

// Forget has nobody miss a proxy that was lost. It returns ErrNotLost for one that was not.
func (m *Member) Forget(ctx context.Context, name string) error {
	_, ok, err := m.store.Commit(ctx, []kv.Condition{kv.Missing(membersBelow + name), kv.Exists(knownBelow + name)}, []kv.Write{kv.Delete(knownBelow + name)})
	if err == nil && !ok {
		return ErrNotLost
	}
	return err
}

// ErrNotLost is why a proxy cannot be forgotten.
var ErrNotLost = errors.New("no proxy of that name is lost")

// Members returns the members of the fleet, by name.
func (m *Member) Members(ctx context.Context) ([]Standing, error) {
	reports, _, err := m.store.Read(ctx, reportsBelow)
	if err != nil {
		return nil, err
	}
	services, _, err := m.store.Read(ctx, ledgerPrefix)
	if err != nil {
		return nil, err
	}
	pairs, _, err := m.store.Read(ctx, membersBelow)
	if err != nil {
		return nil, err
	}
	told, now := byName(reports, reportsBelow), newLedger(services)
	all := []Standing{}
	for _, p := range pairs {
		var s Standing
		if strings.HasSuffix(p.Key, leftAfter) || p.Lease == 0 || json.Unmarshal(p.Value, &s.Identity) != nil {
			continue
		}
		s.Self = s.Name == m.Name
		if s.Report = m.report(m.health()); !s.Self {
			s.Report = Report{}
			_ = json.Unmarshal(told[s.Name].Value, &s.Report) // it has said nothing yet
		}
		for _, r := range now.records {
			if r.modified > s.Revision {
				s.Behind++
			} else {
				s.Reached = max(s.Reached, r.modified)
			}
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Standing) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// report returns how far this member has come, with what last says of its services.
func (m *Member) report(last Report) Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	last.Revision, last.Draining = m.seen, make(map[string]int64)
	for name, left := range m.draining {
		last.Draining[name] = slices.Min(left)
	}
	return last
}

// health returns what a report says of the services.
func (m *Member) health() (r Report) {
	for _, s := range m.proxy.Services() {
		r.Services++
		if !isHealthy(s) {
			r.Unhealthy = append(r.Unhealthy, s.Service)
		}
	}
	return r
}

// isHealthy reports whether a service has a target that is healthy, or needs none.
func isHealthy(s parachute.Status) bool {
	switch s.State {
	case parachute.StateFailed:
		return false
	case parachute.StateServing:
		return slices.ContainsFunc(s.Live.Targets, func(t parachute.TargetStatus) bool {
			return !t.Reads && !t.Rollout && t.Health == parachute.HealthHealthy
		})
	}
	return true
}

// keepReporting has the others know how far the member has come, until ctx ends. No report
// that comes late takes the place of a newer one.
func (m *Member) keepReporting(ctx context.Context, s *session) error {
	key := reportsBelow + m.Name
	look := time.NewTicker(reportInterval)
	defer look.Stop()
	health, looked, last, modified := m.health(), time.Now(), "", int64(-1)
	for ctx.Err() == nil {
		if now := string(encode(m.report(health))); now != last {
			if modified < 0 {
				pairs, _, err := m.store.Read(ctx, key)
				if err != nil {
					wait(ctx, margin/4)
					continue
				}
				modified = byName(pairs, reportsBelow)[m.Name].Modified
			}
			revision, ok, err := m.store.Commit(ctx, []kv.Condition{kv.Unchanged(key, modified)}, []kv.Write{kv.Put(key, []byte(now), s.lease)})
			if err != nil || !ok {
				modified = -1
				wait(ctx, margin/4)
				continue
			}
			last, modified = now, revision
		}
		select {
		case <-ctx.Done():
		case <-m.unreported:
		case <-look.C:
			if pairs, _, err := m.store.Read(ctx, key); err == nil && byName(pairs, reportsBelow)[m.Name].Modified != modified {
				last, modified = "", -1 // by hand; somebody may wait for what it said
			}
		}
		if time.Since(looked) < time.Second { // it costs the more the more services there are
			look.Reset(time.Second)
			continue
		}
		health, looked = m.health(), time.Now()
		look.Reset(reportInterval)
	}
	return ctx.Err()
}
