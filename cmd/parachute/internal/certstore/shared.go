package certstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
	"github.com/shahnk19/parachute/internal/acmecache"
)

// Where a Shared has what it keeps.
const (
	certificatesPrefix = "certificates/" // with the keys of accounts
	answersPrefix      = "answers/"      // to challenges
	locksPrefix        = "locks/"        // of names
)

const (
	// defaultTTL is how long a lock outlives the proxy that has it.
	defaultTTL = 10 * time.Second

	// answerTTL is how long an answer to a challenge is there at most: longer than an
	// order takes.
	answerTTL = 15 * time.Minute

	// putPause is how long to wait until a certificate is put again that the store has
	// not taken.
	putPause = 5 * time.Second
)

// SharedOptions are what a Shared is made of.
type SharedOptions struct {
	// Store is where it keeps everything.
	Store kv.Store

	// Copy has the certificates as they were seen last, for the time that the Store
	// cannot be reached. What it has from before is taken into the Store.
	Copy *Folder

	// Seal encrypts what goes into the Store; nil: nothing does.
	Seal *Seal

	// Name is who has a lock, for those who look into the Store.
	Name string

	// TTL is how long a lock outlives the proxy that has it. If 0, 10 s.
	TTL time.Duration

	// Warn is told what costs no certificate, and should not be.
	Warn func(error)
}

// A Shared is an autocert.Cache in a store that several proxies share, with locks for
// names: a certificate that one of them orders is there for all, and each answers the
// challenges of all. A certificate is put in one transaction with a look at the lock: who
// has lost it, because the process was frozen, puts nothing over what another has ordered
// since.
//
// Errors have a method ForbidsOrder, as parachute.ACME knows it, where an order would be
// made in vain, or put over what cannot be read. A Shared is safe for use by several
// goroutines. Make one with NewShared.
type Shared struct {
	o       SharedOptions
	answers answers
	spawn   func(f func(ctx context.Context)) // calls f in a goroutine, with a context that ends with Close
	cancel  context.CancelFunc                // ends it
	running sync.WaitGroup                    // grows only with mu held and closed false

	mu       sync.Mutex // guards what follows
	closed   bool
	locks    map[string]*lock
	leases   map[string]kv.Lease // of answers that were put here, by key
	accounts map[string]int64    // revisions of keys of accounts when they were last read
}

// NewShared returns a Shared. The caller must call Close.
func NewShared(o SharedOptions) *Shared {
	o.TTL = cmp.Or(o.TTL, defaultTTL)
	s := &Shared{o: o, locks: make(map[string]*lock), leases: make(map[string]kv.Lease), accounts: make(map[string]int64)}
	ctx, cancel := context.WithCancel(context.Background())
	s.spawn = func(f func(ctx context.Context)) { s.running.Go(func() { f(ctx) }) }
	s.cancel = cancel
	return s
}

// Close gives up what goes on, and returns when nothing does. Locks that are held end with
// their leases.
func (s *Shared) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.running.Wait()
}

// begin calls f in a goroutine, with a context that ends with Close. After Close it does
// nothing.
func (s *Shared) begin(f func(ctx context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.spawn(f)
	}
}

// A forbidding error is a reason to order nothing.
type forbidding struct{ error }

func (e forbidding) Unwrap() error { return e.error }

// ForbidsOrder reports true.
func (forbidding) ForbidsOrder() bool { return true }

// Get returns what is kept under key. Where the store cannot be reached, that is what it
// had when it was last seen, if key is that of a certificate.
func (s *Shared) Get(ctx context.Context, key string) ([]byte, error) {
	if acmecache.IsAnswer(key) {
		return s.answer(ctx, key)
	}
	pair, err := s.read(ctx, key)
	if err == nil && pair == nil {
		return s.bringAlong(ctx, key)
	}
	var data []byte
	if err == nil {
		data, err = s.o.Seal.open(key, pair.Value)
	}
	if err != nil {
		err = fmt.Errorf("%s in the store: %w", key, err)
		if own, ownErr := s.o.Copy.Get(ctx, key); ownErr == nil && !acmecache.IsAccount(key) {
			s.o.Warn(fmt.Errorf("the certificate that this machine has is served on: %w", err))
			return own, nil
		}
		return nil, forbidding{err}
	}
	s.keepCopy(ctx, key, data)
	return data, nil
}

// read returns the pair of a certificate or an account, or nil if there is none.
func (s *Shared) read(ctx context.Context, key string) (*kv.Pair, error) {
	pair, err := readPair(ctx, s.o.Store, certificatesPrefix+key)
	if err == nil && acmecache.IsAccount(key) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.accounts[key] = revisionOf(pair)
	}
	return pair, err
}

// readPair returns the pair of key, or nil if there is none.
func readPair(ctx context.Context, store kv.Store, key string) (*kv.Pair, error) {
	pairs, _, err := store.Read(ctx, key)
	return find(pairs, key), err
}

// find returns the pair of key among those that begin with it, or nil.
func find(pairs []kv.Pair, key string) *kv.Pair {
	for i := range pairs {
		if pairs[i].Key == key {
			return &pairs[i]
		}
	}
	return nil
}

// revisionOf returns when pair was put; 0: there is none.
func revisionOf(pair *kv.Pair) int64 {
	if pair == nil {
		return 0
	}
	return pair.Modified
}

// bringAlong puts what this machine has from before it shared anything into the store,
// which has nothing there.
func (s *Shared) bringAlong(ctx context.Context, key string) ([]byte, error) {
	data, err := s.o.Copy.Get(ctx, key)
	if err == autocert.ErrCacheMiss {
		return nil, err
	}
	if err != nil {
		return nil, forbidding{err} // it may be there
	}
	place := certificatesPrefix + key
	_, ok, err := s.o.Store.Commit(ctx, []kv.Condition{kv.Missing(place)}, []kv.Write{kv.Put(place, s.o.Seal.seal(key, data), 0)})
	if err == nil && !ok {
		return s.Get(ctx, key) // another machine was faster
	}
	if err != nil {
		s.o.Warn(fmt.Errorf("%s is not in the store yet: %w", key, err))
	}
	return data, nil
}

// keepCopy has the copy as the store is.
func (s *Shared) keepCopy(ctx context.Context, key string, data []byte) {
	if was, err := s.o.Copy.Get(ctx, key); err == nil && bytes.Equal(was, data) {
		return
	}
	if err := s.o.Copy.Put(ctx, key, data); err != nil {
		s.o.Warn(fmt.Errorf("%s is not kept on this machine, for when the store cannot be reached: %w", key, err))
	}
}

// errOvertaken means that a proxy was frozen, or could not reach the store, for so long
// that another one has its lock.
var errOvertaken = errors.New("this proxy has lost its lock meanwhile, and another one may have ordered a certificate: what the store has stays")

// Put keeps data under key. A certificate that the store does not take now is kept on this
// machine, and put again until it does.
func (s *Shared) Put(ctx context.Context, key string, data []byte) error {
	switch {
	case acmecache.IsAnswer(key):
		return s.putAnswer(ctx, key, data)
	case acmecache.IsAccount(key):
		return s.putAccount(ctx, key, data)
	}
	p := s.newPut(key, data)
	err := p.commit(ctx)
	if errors.Is(err, kv.ErrUnreachable) || errors.Is(err, kv.ErrUnknown) {
		if ownErr := s.o.Copy.Put(ctx, key, data); ownErr != nil {
			return errors.Join(err, ownErr)
		}
		s.o.Warn(fmt.Errorf("the certificate of %s is kept on this machine alone, until the store takes it: %w", key, err))
		s.begin(p.repeat)
		return nil
	}
	if err == nil {
		s.keepCopy(ctx, key, data)
	}
	return err
}

// A put is a certificate on its way into the store.
type put struct {
	store kv.Store
	key   string // in the store, as the next ones
	value []byte
	lock  string
	lease kv.Lease // of the lock; 0: this proxy does not have it
	seen  int64    // the revision of the certificate when the lock was taken
}

func (s *Shared) newPut(key string, data []byte) *put {
	order := acmecache.OrderOf(key)
	p := &put{store: s.o.Store, key: certificatesPrefix + key, value: s.o.Seal.seal(key, data), lock: locksPrefix + order}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.locks[order]; l != nil {
		p.lease, p.seen = l.lease, l.seen[key]
	}
	return p
}

// commit puts the certificate, while the lock is held. If this proxy does not have it,
// nobody else must.
func (p *put) commit(ctx context.Context) error {
	if p.lease == 0 {
		return p.commitIf(ctx, kv.Missing(p.lock))
	}
	return p.commitIf(ctx, kv.Held(p.lock, p.lease))
}

// commitIf puts the certificate if the conditions hold. If the outcome is not known, it
// reads back.
func (p *put) commitIf(ctx context.Context, conditions ...kv.Condition) error {
	_, ok, err := p.store.Commit(ctx, conditions, []kv.Write{kv.Put(p.key, p.value, 0)})
	if errors.Is(err, kv.ErrUnknown) {
		if pair, readErr := readPair(ctx, p.store, p.key); readErr == nil && p.is(pair) {
			return nil
		}
	}
	if err == nil && !ok {
		return errOvertaken
	}
	return err
}

// is reports whether pair is what was to be put.
func (p *put) is(pair *kv.Pair) bool { return pair != nil && bytes.Equal(pair.Value, p.value) }

// repeat puts the certificate again and again, until the store has it, or another one that
// was put since the lock was taken. The order is over by then, so that nobody else must be
// at one.
func (p *put) repeat(ctx context.Context) {
	again := time.NewTicker(putPause)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
		pair, err := readPair(ctx, p.store, p.key)
		if err != nil {
			continue
		}
		if p.is(pair) || revisionOf(pair) != p.seen {
			return
		}
		if p.commitIf(ctx, kv.Missing(p.lock), kv.Unchanged(p.key, p.seen)) == nil {
			return
		}
	}
}

var errOtherAccount = errors.New("another proxy has made an account meanwhile")

// putAccount keeps the key of an account, unless there is another one than was last read
// here: all proxies are to have the same.
func (s *Shared) putAccount(ctx context.Context, key string, data []byte) error {
	s.mu.Lock()
	seen := s.accounts[key]
	s.mu.Unlock()
	place := certificatesPrefix + key
	_, ok, err := s.o.Store.Commit(ctx, []kv.Condition{kv.Unchanged(place, seen)}, []kv.Write{kv.Put(place, s.o.Seal.seal(key, data), 0)})
	switch {
	case err != nil:
		return forbidding{fmt.Errorf("%s in the store: %w", key, err)} // an account that is lost is made again and again
	case !ok:
		return errOtherAccount
	}
	return nil
}

// Delete deletes what is kept under key.
func (s *Shared) Delete(ctx context.Context, key string) error {
	if acmecache.IsAnswer(key) {
		return s.deleteAnswer(ctx, key)
	}
	_, _, err := s.o.Store.Commit(ctx, nil, []kv.Write{kv.Delete(certificatesPrefix + key)})
	return errors.Join(err, s.o.Copy.Delete(ctx, key))
}
