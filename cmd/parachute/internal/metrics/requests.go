package metrics

import (
	"maps"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/shahnk19/parachute"
)

// A requestKey has what requests are told apart by.
type requestKey struct {
	method uint8
	role   uint8
	code   uint16 // the status; 0: none
}

// labels returns the values of the labels method, code, status and role.
func (k requestKey) labels() (method, code, status, role string) {
	return methodNames()[k.method], strconv.Itoa(int(k.code)), classNames()[min(k.code/100, classes-1)], roleNames()[k.role]
}

// requestCounters count requests. Keys are added when they are first needed, for
// there could be thousands, and are few. The zero value is ready for use.
type requestCounters struct {
	counts atomic.Pointer[map[requestKey]*atomic.Uint64] // never changed, but replaced
	mu     sync.Mutex                                    // held while counts is replaced
}

// of returns the counter for k. It allocates only the first time.
func (c *requestCounters) of(k requestKey) *atomic.Uint64 {
	if counts := c.counts.Load(); counts != nil {
		if n := (*counts)[k]; n != nil {
			return n
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := make(map[requestKey]*atomic.Uint64)
	if counts := c.counts.Load(); counts != nil {
		if n := (*counts)[k]; n != nil {
			return n // somebody was faster
		}
		maps.Copy(next, *counts)
	}
	next[k] = new(atomic.Uint64)
	c.counts.Store(&next)
	return next[k]
}

// all returns the counters that there are.
func (c *requestCounters) all() map[requestKey]*atomic.Uint64 {
	if counts := c.counts.Load(); counts != nil {
		return *counts
	}
	return nil
}

// The values of the label role. The first is for requests that no target had.
const (
	roleNone = iota
	roleWrite
	roleRead
	roleRolloutWrite
	roleRolloutRead
	roles
)

func roleNames() [roles]string {
	return [roles]string{"", "write", "read", "rollout_write", "rollout_read"}
}

func roleOfOutcome(o *parachute.Outcome) uint8 {
	if o.Target == "" {
		return roleNone
	}
	return roleIndex(o.Reads, o.Rollout)
}

func roleIndex(reads, rollout bool) uint8 {
	role := uint8(roleWrite)
	if reads {
		role = roleRead
	}
	if rollout {
		role += roleRolloutWrite - roleWrite
	}
	return role
}
