package fleet

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// countInterval is how often a member says what it has counted of a service that another
// judges, and that one looks.
const countInterval = time.Second

// A count is what a member has counted of a service, in the store.
type count struct {
	Version uint64            `json:"version"` // the generation that the record has
	Counted parachute.Counted `json:"counted"` // without Recent
}

// isJudged reports whether d, once it serves, is compared with what served before.
func isJudged(d *parachute.Deployment) bool { return d.Bake.For > 0 || len(d.Canary.Steps) > 0 }

// countKey returns the key of what a member has counted. The name of a service may have
// slashes, but no tabs.
func countKey(service, member string) string { return countsBelow + service + "\t" + member }

// tellRecent tells the Proxy what the others have counted of what serves when b was put to the
// vote. v has all votes.
func (m *Member) tellRecent(b *ballot, v *storeView) {
	if !isJudged(&b.deployment) {
		return
	}
	var all parachute.Counts
	for name := range b.members {
		var said vote
		if json.Unmarshal(v.pairs[votesBelow+b.id+"/"+name].Value, &said) == nil && said.Recent != nil {
			all = all.Plus(*said.Recent)
		}
	}
	m.proxy.CountedElsewhere(b.service, parachute.Counted{Recent: all})
}

// keepCounting shares the counts of all members until ctx ends, so that each service
// which bakes, or of which visitors try a version, is judged by all of them.
func (m *Member) keepCounting(ctx context.Context, s *session) error {
	told := make(map[string]count)             // by key, what is in the store of this Member
	heard := make(map[string]map[string]count) // by service and by key, what the Proxy was told of others
	for {
		wait(ctx, countInterval)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		here, elsewhere := m.judged()
		maps.DeleteFunc(heard, func(service string, _ map[string]count) bool { _, is := here[service]; return !is })
		for service, r := range here {
			if heard[service] == nil {
				heard[service] = make(map[string]count)
			}
			m.hearCounts(ctx, service, r, heard[service])
		}
		m.tellCounts(ctx, s, elsewhere, told)
	}
}

// judged returns the records of the services that are judged here, and of those that are
// elsewhere.
func (m *Member) judged() (here, elsewhere map[string]record) {
	here, elsewhere = make(map[string]record), make(map[string]record)
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, r := range m.records {
		switch {
		case r.broken != nil || !r.isJudged:
		case r.By == m.Name:
			here[name] = r
		default:
			elsewhere[name] = r
		}
	}
	return here, elsewhere
}

// hearCounts tells the Proxy what others have counted of a service since heard, and brings
// heard up to date. What a lost member has counted still counts.
func (m *Member) hearCounts(ctx context.Context, service string, r record, heard map[string]count) {
	pairs, _, err := m.store.Read(ctx, countsBelow+service+"\t")
	if err != nil {
		return // the next look finds it
	}
	var fresh parachute.Counted
	for _, p := range pairs {
		var now count
		if p.Key == countKey(service, m.Name) || json.Unmarshal(p.Value, &now) != nil || now.Version != r.generation {
			continue
		}
		before, isKnown := heard[p.Key]
		if !isKnown && !r.isBaking { // what serves beside a canary has served before it
			before.Counted.Main = now.Counted.Main
		}
		fresh.Main = fresh.Main.Plus(now.Counted.Main.Since(before.Counted.Main))
		fresh.Rollout = fresh.Rollout.Plus(now.Counted.Rollout.Since(before.Counted.Rollout))
		heard[p.Key] = now
	}
	m.proxy.CountedElsewhere(service, fresh)
}

// tellCounts puts into the store what the Proxy has counted of services, unless that is
// what was told last, and takes out the counts of other services.
func (m *Member) tellCounts(ctx context.Context, s *session, services map[string]record, told map[string]count) {
	var writes []kv.Write
	current := make(map[string]count)
	for service, r := range services {
		c := count{r.generation, m.proxy.Counted(service)}
		c.Counted.Recent = parachute.Counts{}
		key := countKey(service, m.Name)
		before, isTold := told[key]
		if !isTold && c.Counted == (parachute.Counted{}) {
			continue
		}
		if current[key] = c; c != before {
			writes = append(writes, kv.Put(key, encode(c), s.lease))
		}
	}
	for key := range told {
		if _, is := current[key]; !is {
			writes = append(writes, kv.Delete(key))
		}
	}
	for chunk := range slices.Chunk(writes, mostCounts) {
		if _, ok, err := m.store.Commit(ctx, []kv.Condition{kv.Held(membersBelow+m.Name, s.lease)}, chunk); err != nil || !ok {
			for key := range current { // it may be there, and is told again, or taken out
				if _, is := told[key]; !is {
					told[key] = count{}
				}
			}
			return
		}
	}
	clear(told)
	maps.Copy(told, current)
}

// mostCounts is how many counts are written at once.
const mostCounts = 50
