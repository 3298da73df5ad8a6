// Package kvtest has a kv.Store in memory that can be made to fail in all the ways in
// which one on a network does, and what every kv.Store has to keep. It is for tests, and
// counts time by the clock of the test's bubble.
package kvtest

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// A Memory is the server of a store: what all of its Clients see.
type Memory struct {
	mu        sync.Mutex // guards what follows
	revision  int64
	compacted int64 // changes up to this revision are forgotten
	pairs     map[string]kv.Pair
	log       []event
	started   chan struct{} // closed, and replaced, when it is no more down
	waiting   map[*waiter]struct{}
	lastLease kv.Lease
	leases    map[kv.Lease]*lease
	down      bool
	room      int // for how many more commits that put something, if isBounded
	isBounded bool
}

// An event is what one revision changed.
type event struct {
	revision int64
	at       time.Time
	changes  []kv.Change
}

// A waiter has seen all changes of what begins with prefix so far.
type waiter struct {
	prefix string
	woken  chan int64 // gets the last revision that was of no concern when there is one that is, or 0 to look again
}

// A lease ends when its timer does.
type lease struct {
	ttl   time.Duration
	timer *time.Timer
}

// NewMemory returns an empty store. Close has to be called in the end.
func NewMemory() *Memory {
	return &Memory{
		revision: 1,
		pairs:    make(map[string]kv.Pair),
		started:  make(chan struct{}),
		waiting:  make(map[*waiter]struct{}),
		leases:   make(map[kv.Lease]*lease),
	}
}

// Close stops the clocks of the leases.
func (m *Memory) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.leases {
		l.timer.Stop()
	}
}

// Compact forgets the changes so far, but not what they left.
func (m *Memory) Compact() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.compacted = m.revision
	m.log = nil
}

// Stop has every call of every Client fail as in a partition, and no lease end, as when
// etcd is down.
func (m *Memory) Stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = true
	for _, l := range m.leases {
		l.timer.Stop()
	}
}

// Start ends what Stop began. Every lease lasts for its whole time again.
func (m *Memory) Start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = false
	for _, l := range m.leases {
		l.timer.Reset(l.ttl)
	}
	close(m.started)
	m.started = make(chan struct{})
	for w := range m.waiting {
		m.wakeLocked(w, 0)
	}
}

// Fill leaves room for n commits that put something. The last of them is done, and none
// after that, and of all of these etcd says that it has no space left.
func (m *Memory) Fill(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.room, m.isBounded = n, true
}

// Empty ends what Fill began.
func (m *Memory) Empty() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.isBounded = false
}

// errFull is what is said where there is no room.
var errFull = fmt.Errorf("%w: there is no space left", kv.ErrUnknown)

// takeRoomLocked reports whether writes are done, and what is said of that.
func (m *Memory) takeRoomLocked(writes []kv.Write) (isDone bool, err error) {
	if !m.isBounded || !slices.ContainsFunc(writes, func(w kv.Write) bool { return w.Action == kv.ActionPut }) {
		return true, nil
	}
	m.room--
	if m.room <= 0 {
		err = errFull
	}
	return m.room >= 0, err
}

// wakeLocked ends the waiting of w, with what woken is to get.
func (m *Memory) wakeLocked(w *waiter, seen int64) {
	delete(m.waiting, w)
	w.woken <- seen
}

// read returns the pairs below prefix, in order. All who read a value share it.
func (m *Memory) read(prefix string) ([]kv.Pair, int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []kv.Pair
	for key, p := range m.pairs {
		if strings.HasPrefix(key, prefix) {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b kv.Pair) int { return cmp.Compare(a.Key, b.Key) })
	return found, m.revision
}

// commit is the Commit of a Client that reaches the store.
func (m *Memory) commit(conditions []kv.Condition, writes []kv.Write) (int64, bool, error) {
	if err := checkSize(conditions, writes); err != nil {
		return 0, false, err
	}
	if err := checkKeys(writes); err != nil {
		return 0, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range conditions {
		if !m.holdsLocked(c) {
			return m.revision, false, nil
		}
	}
	for _, w := range writes {
		if _, is := m.leases[w.Lease]; w.Lease != 0 && !is {
			return 0, false, kv.ErrLeaseEnded
		}
	}
	isDone, err := m.takeRoomLocked(writes)
	if isDone {
		m.applyLocked(writes)
	}
	if err != nil {
		return 0, false, err
	}
	return m.revision, true, nil
}

// checkSize returns ErrTooLarge for what is above a limit.
func checkSize(conditions []kv.Condition, writes []kv.Write) error {
	size := 0
	for _, w := range writes {
		size += len(w.Key) + len(w.Value)
	}
	if len(conditions) > kv.MaxOperations || len(writes) > kv.MaxOperations || size > kv.MaxBytes {
		return kv.ErrTooLarge
	}
	return nil
}

// checkKeys returns an error for writes two of which touch the same key.
func checkKeys(writes []kv.Write) error {
	for i, w := range writes {
		for _, other := range writes[:i] {
			if w.Key == other.Key ||
				w.Action == kv.ActionDeleteAll && strings.HasPrefix(other.Key, w.Key) ||
				other.Action == kv.ActionDeleteAll && strings.HasPrefix(w.Key, other.Key) {
				return fmt.Errorf("two writes of %s", w.Key)
			}
		}
	}
	return nil
}

func (m *Memory) holdsLocked(c kv.Condition) bool {
	p, is := m.pairs[c.Key]
	switch c.Test {
	case kv.TestMissing:
		return !is
	case kv.TestExists:
		return is
	case kv.TestUnchanged:
		return is && p.Modified == c.Revision
	case kv.TestHeld:
		return is && p.Lease == c.Lease
	case kv.TestNothingNewer:
		for key, p := range m.pairs {
			if strings.HasPrefix(key, c.Key) && p.Modified > c.Revision {
				return false
			}
		}
		return true
	}
	panic("kvtest: a condition that is none")
}

// applyLocked does writes as one revision, which is none if they change nothing.
func (m *Memory) applyLocked(writes []kv.Write) {
	next := m.revision + 1
	var changes []kv.Change
	remove := func(key string) {
		delete(m.pairs, key)
		changes = append(changes, kv.Change{Pair: kv.Pair{Key: key, Modified: next}, Deleted: true})
	}
	for _, w := range writes {
		old, is := m.pairs[w.Key]
		switch w.Action {
		case kv.ActionPut:
			p := kv.Pair{Key: w.Key, Value: bytes.Clone(w.Value), Created: cmp.Or(old.Created, next), Modified: next, Lease: w.Lease}
			m.pairs[w.Key] = p
			changes = append(changes, kv.Change{Pair: p})
		case kv.ActionDelete:
			if is {
				remove(w.Key)
			}
		case kv.ActionDeleteAll:
			for _, key := range slices.Sorted(maps.Keys(m.pairs)) {
				if strings.HasPrefix(key, w.Key) {
					remove(key)
				}
			}
		}
	}
	if len(changes) == 0 {
		return
	}
	m.revision = next
	e := event{next, time.Now(), changes}
	m.log = append(m.log, e)
	for w := range m.waiting {
		if e.concerns(w.prefix) {
			m.wakeLocked(w, next-1)
		}
	}
}

// concerns reports whether e changes something that begins with prefix.
func (e event) concerns(prefix string) bool {
	return slices.ContainsFunc(e.changes, func(c kv.Change) bool { return strings.HasPrefix(c.Key, prefix) })
}

// after returns the first event after revision that concerns prefix. If there is none yet, it
// returns a waiter for it, which must be given to leave when nobody waits any more.
func (m *Memory) after(prefix string, revision int64) (event, *waiter, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if revision < m.compacted {
		return event{}, nil, kv.ErrCompacted
	}
	i, _ := slices.BinarySearchFunc(m.log, revision+1, func(e event, r int64) int { return cmp.Compare(e.revision, r) })
	for _, e := range m.log[i:] {
		if !m.down && e.concerns(prefix) {
			return e, nil, nil
		}
	}
	w := &waiter{prefix, make(chan int64, 1)}
	m.waiting[w] = struct{}{}
	return event{}, w, nil
}

func (m *Memory) leave(w *waiter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.waiting, w)
}

func (m *Memory) grant(ttl time.Duration) kv.Lease {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastLease++
	id := m.lastLease
	m.leases[id] = &lease{ttl, time.AfterFunc(ttl, func() { m.revoke(id) })}
	return id
}

func (m *Memory) renew(id kv.Lease) (time.Duration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, is := m.leases[id]
	if !is {
		return 0, kv.ErrLeaseEnded
	}
	l.timer.Reset(l.ttl)
	return l.ttl, nil
}

// revoke ends a lease, whose time may have passed.
func (m *Memory) revoke(id kv.Lease) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, is := m.leases[id]
	if !is {
		return kv.ErrLeaseEnded
	}
	l.timer.Stop()
	delete(m.leases, id)
	var writes []kv.Write
	for _, key := range slices.Sorted(maps.Keys(m.pairs)) {
		if m.pairs[key].Lease == id {
			writes = append(writes, kv.Delete(key))
		}
	}
	m.applyLocked(writes)
	return nil
}
