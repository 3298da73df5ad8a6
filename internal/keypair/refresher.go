package keypair

import (
	"sync"
	"time"
)

const (
	// missingInterval is the time between two refreshes of a pair that has no certificate
	// yet, for which handshakes wait.
	missingInterval = time.Second

	// refreshEvery is how many of these are between two refreshes of one that has some.
	refreshEvery = 5
)

// A Refresher refreshes pairs every five seconds, from Add to Remove, and every second
// until they have a certificate. Its methods may be called from any goroutine, but not by
// the notify func of NewRefresher.
type Refresher struct {
	notify  func(host string, err error)
	closing chan struct{}  // closed by Close
	running sync.WaitGroup // grows only with mu held and closed false

	mu      sync.Mutex // guards what follows
	pairs   map[*Pair][]string
	started bool // the goroutine of run
	closed  bool
}

// NewRefresher returns a Refresher without pairs. Add starts its goroutine, which Close
// ends. That goroutine calls notify for each host of a pair: with nil when the pair was
// replaced, or with the error that Refresh has returned.
func NewRefresher(notify func(host string, err error)) *Refresher {
	return &Refresher{notify: notify, closing: make(chan struct{}), pairs: make(map[*Pair][]string)}
}

// Add makes r refresh p, which has to cover hosts, until Remove or Close. After Close it
// does nothing.
func (r *Refresher) Add(p *Pair, hosts []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.pairs[p] = hosts
	if !r.started {
		r.started = true
		r.running.Go(r.run)
	}
}

// Remove undoes Add. It does not wait for a refresh of p that is running.
func (r *Refresher) Remove(p *Pair) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pairs, p)
}

// Close ends the refreshes, and returns when no Refresh and no call of notify is
// running. It may be called more than once.
func (r *Refresher) Close() {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.closing)
	}
	r.mu.Unlock()
	r.running.Wait()
}

func (r *Refresher) run() {
	ticker := time.NewTicker(missingInterval)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-r.closing:
			return
		case <-ticker.C:
		}
		for p, hosts := range r.due(n%refreshEvery == 0) {
			r.refresh(p, hosts)
		}
	}
}

// due returns the pairs that have no certificate yet or, with all, every one.
func (r *Refresher) due(all bool) map[*Pair][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := make(map[*Pair][]string)
	for p, hosts := range r.pairs {
		if all || p.Certificate() == nil {
			due[p] = hosts
		}
	}
	return due
}

func (r *Refresher) refresh(p *Pair, hosts []string) {
	changed, err := p.Refresh(hosts)
	if !changed && err == nil {
		return
	}
	for _, host := range hosts {
		r.notify(host, err)
	}
}
