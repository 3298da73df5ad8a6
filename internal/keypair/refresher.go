package keypair

import (
	"maps"
	"sync"
	"time"
)

// refreshInterval is the pause between two looks at the files.
const refreshInterval = 5 * time.Second

// A Refresher refreshes pairs every five seconds, as long as they are in use.
// Its methods may be called from any goroutine, but not from within the func
// that it was made with.
type Refresher struct {
	notify  func(host string, err error)
	closing chan struct{}  // closed by Close
	running sync.WaitGroup // grows only with mu held and closed false

	mu      sync.Mutex // guards what follows
	pairs   map[*Pair][]string
	started bool // the goroutine that refreshes them
	closed  bool
}

// NewRefresher returns a Refresher without pairs. Nothing runs before the first
// is added; then whoever has made it must call Close. It calls notify for each
// host of a pair when that has been replaced, with nil, or cannot be, with what
// Refresh says, from one goroutine.
func NewRefresher(notify func(host string, err error)) *Refresher {
	return &Refresher{notify: notify, closing: make(chan struct{}), pairs: make(map[*Pair][]string)}
}

// Add has p refreshed, which has to cover hosts, until Remove or Close. After
// Close it does nothing.
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

// Remove has p not refreshed any more. If it is being refreshed, that ends as it
// would have.
func (r *Refresher) Remove(p *Pair) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pairs, p)
}

// Close returns when nothing is refreshed any more, and no call of notify is
// left. It may be called more than once.
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
	ticker := time.NewTicker(refreshInterval)
	defer ticker.Stop()
	for {
		select {
		case <-r.closing:
			return
		case <-ticker.C:
		}
		for p, hosts := range r.all() {
			r.refresh(p, hosts)
		}
	}
}

// all returns a copy of what there is to be refreshed.
func (r *Refresher) all() map[*Pair][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.pairs)
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
