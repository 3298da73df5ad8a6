package tcp

import (
	"errors"
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/descriptors"
)

// A Quota limits how many connections several listeners may have open together.
// While there are that many, or file descriptors are short, no connection is
// accepted: clients wait in the listen backlogs until others close theirs.
// Listeners do not wait for each other, so each may exceed the limit by one.
type Quota struct {
	// Vital says that connections may use the reserved descriptors. It must be
	// set before the first is accepted.
	Vital bool

	most       int
	onShortage func(open int, err error)

	mu    sync.Mutex // guards the fields below
	open  int
	freed chan struct{} // closed when a connection is closed; nil if nobody waits for that
}

// NewQuota returns a Quota of most connections. While clients have to wait, it
// calls short many times a second, unless short is nil, with the number of open
// connections and the reason. short must return soon, and must be safe for use
// by several goroutines.
func NewQuota(most int, short func(open int, err error)) *Quota {
	if short == nil {
		short = func(int, error) {}
	}
	return &Quota{most: most, onShortage: short}
}

// pollInterval is how often wait checks whether descriptors are still short.
const pollInterval = 50 * time.Millisecond

// errQuotaFull is the reason if the quota is used up.
var errQuotaFull = errors.New("so many clients are connected that the files that may be open are left for their targets")

// wait waits until another connection may be accepted. It reports false if done
// is closed before that. isShort reports whether descriptors are short.
func (q *Quota) wait(isShort func() bool, done <-chan struct{}) bool {
	for {
		open, freed := q.state()
		switch {
		case freed != nil:
			q.onShortage(open, errQuotaFull)
		case !q.Vital && isShort():
			q.onShortage(open, descriptors.ErrReserved)
		default:
			return true
		}
		again := time.NewTimer(pollInterval)
		select {
		case <-freed:
		case <-again.C:
		case <-done:
			again.Stop()
			return false
		}
		again.Stop()
	}
}

// state returns how many connections are open. If the quota is used up, it also
// returns a channel that is closed when a connection is released.
func (q *Quota) state() (open int, freed <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open < q.most {
		return q.open, nil
	}
	if q.freed == nil {
		q.freed = make(chan struct{})
	}
	return q.open, q.freed
}

// acquire counts a connection until release is called.
func (q *Quota) acquire() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open++
}

func (q *Quota) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open--
	if q.freed != nil {
		close(q.freed)
		q.freed = nil
	}
}

// reportShortage calls onShortage if err, which kept a connection from being
// accepted, says that descriptors are short.
func (q *Quota) reportShortage(err error) {
	if descriptors.IsShortage(err) {
		open, _ := q.state()
		q.onShortage(open, err)
	}
}
