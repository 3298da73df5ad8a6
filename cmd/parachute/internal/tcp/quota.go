package tcp

import (
	"errors"
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/descriptors"
)

// A Quota is how many connections several listeners may have open at once. While
// there are that many, or the descriptors of the process are short, nobody is
// accepted: clients wait in the backlogs of the system until others leave. As
// listeners do not wait for each other, each may be one ahead.
type Quota struct {
	// Vital says that connections may take the descriptors that are kept in
	// reserve. It is set before the first is accepted.
	Vital bool

	most       int
	onShortage func(open int, err error)

	mu    sync.Mutex // guards what follows
	open  int
	freed chan struct{} // closed when fewer are; nil: nobody waits for that
}

// NewQuota returns a Quota of most connections. While it has clients wait it calls
// short, unless that is nil, many times a second, with the number of connections
// and why nobody is accepted; short returns soon, and may be called from any
// goroutine.
func NewQuota(most int, short func(open int, err error)) *Quota {
	if short == nil {
		short = func(int, error) {}
	}
	return &Quota{most: most, onShortage: short}
}

// pollInterval is the pause between two looks at whether descriptors are short.
const pollInterval = 50 * time.Millisecond

// errQuotaFull is why nobody is accepted before descriptors are short.
var errQuotaFull = errors.New("so many clients are connected that the files that may be open are left for their targets")

// wait returns when one more connection may be accepted, and reports false if
// done was closed before. isShort reports whether descriptors are.
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

// state returns how many connections are open, and if that is as many as may be,
// what is closed when there are fewer; else nil.
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

// acquire counts a connection until leave is called.
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

// reportShortage says so if a connection could not be accepted because descriptors are
// short.
func (q *Quota) reportShortage(err error) {
	if descriptors.IsShortage(err) {
		open, _ := q.state()
		q.onShortage(open, err)
	}
}
