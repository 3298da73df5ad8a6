package issuer_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/issuer"
)

func TestCachedCertificateIsNotOrderedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, cache := newScene(t), new(memory)
		first := s.openAnswering(cache, nil)
		n := first.Want("app.test")
		cert, err := n.Await(within(t, time.Minute))
		is.NoErr(err)
		n.Release()
		first.Close()

		s.ca.Down(true)
		second := s.open(cache, nil)
		is.True(second.Has(t.Context(), "app.test"))
		is.True(!second.Has(t.Context(), "other.test"))
		n = second.Want("app.test")
		defer n.Release()
		again, err := n.Await(within(t, time.Second))
		is.NoErr(err)
		is.Equal(again.Certificate, cert.Certificate)
		is.Equal(s.ca.TotalOrders(), 1)
	})
}

// What was issued by one authority must not be taken for another's.
func TestAuthoritiesThatShareACacheDoNotShareKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, cache := newScene(t), new(memory)
		i := s.openAnswering(cache, nil)
		n := i.Want("app.test")
		defer n.Release()
		_, err := n.Await(within(t, time.Minute))
		is.NoErr(err)
		synctest.Wait()
		for key := range cache.data {
			is.True(strings.HasPrefix(key, "ca.test:443+")) // Let's Encrypt's alone have nothing in front
		}
		other := issuer.New(issuer.Options{Directory: "https://other.test/directory", Cache: cache})
		defer other.Close()
		is.True(!other.Has(t.Context(), "app.test"))
	})
}

func TestGarbageInTheCacheIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, told := newScene(t), new(diary)
		cache := &memory{data: map[string][]byte{
			"ca.test:443+app.test":         []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
			"ca.test:443+acme_account+key": []byte("garbage"),
		}}
		i := s.openAnswering(cache, told.note)
		n := i.Want("app.test")
		defer n.Release()
		_, err := n.Await(within(t, time.Minute))
		is.NoErr(err)
		is.True(told.has("app.test: what the cache has for it is passed over"))
		is.True(told.has(": the account's key in the cache is not one"))
	})
}

func TestFailingCacheCostsNoCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, told, cache := newScene(t), new(diary), new(memory)
		cache.fail(errors.New("disk gone"), errors.New("disk full"))
		i := s.open(cache, told.note)
		s.answer(i, "http-01")
		n := i.Want("app.test")
		defer n.Release()
		_, err := n.Await(within(t, time.Minute))
		is.NoErr(err)
		is.True(told.has("app.test: disk gone"))
		is.True(told.has("app.test: it could not be kept, and is lost at the next restart: disk full"))
		is.True(n.Status().Err != nil)
		time.Sleep(48 * time.Hour)
		is.Equal(s.ca.Orders("app.test"), 2) // one for each type of challenge: TLS-ALPN-01 did not work
	})
}

// A certificate, or the account, that cannot be read just now is there all the
// same.
func TestCacheThatCannotBeReadForTooManyOpenFilesCostsNoOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, cache, told := newScene(t), new(memory), new(diary)
		first := s.openAnswering(cache, nil)
		n := first.Want("app.test")
		cert, err := n.Await(within(t, time.Minute))
		is.NoErr(err)
		n.Release()
		first.Close()

		cache.fail(&os.PathError{Op: "open", Path: "app.test", Err: syscall.EMFILE}, nil)
		second := s.open(cache, told.note)
		n = second.Want("app.test")
		defer n.Release()
		time.Sleep(30 * time.Second)
		is.True(told.has("too many open files"))
		cache.fail(nil, nil)
		again, err := n.Await(within(t, 2*time.Minute))
		is.NoErr(err)
		is.Equal(again.Certificate, cert.Certificate)
		is.Equal(s.ca.TotalOrders(), 1)
	})
}

func TestThoseWhoShareACacheOrderAndRenewOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene(t)
		s.ca.Lifetime = 90 * time.Second
		s.ca.Challenges = []string{"http-01"}
		cache := &lockable{turn: make(chan struct{}, 1)}
		var names []*issuer.Name
		for k := range 3 {
			i := s.open(cache, nil)
			if k == 0 {
				s.answer(i, "http-01") // for the others too, out of the cache
			}
			names = append(names, i.Want("app.test"))
		}
		for _, n := range names {
			defer n.Release()
			_, err := n.Await(within(t, time.Minute))
			is.NoErr(err)
		}
		is.Equal(s.ca.Orders("app.test"), 1)

		s.ca.Slow(10 * time.Second) // which is longer than the renewals are apart
		time.Sleep(85 * time.Second)
		is.Equal(s.ca.Orders("app.test"), 2)
		is.Equal(names[0].Certificate().Certificate, names[1].Certificate().Certificate)
		is.Equal(names[0].Certificate().Certificate, names[2].Certificate().Certificate)
	})
}

// A forbidding error is one of a cache that cannot tell whether it has something.
type forbidding struct{ error }

func (forbidding) ForbidsOrder() bool { return true }

// A closable is a cache that cannot be reached at times.
type closable struct {
	lockable
	away error // nil: it can be reached
}

func (c *closable) Lock(ctx context.Context, name string) (func(), error) {
	c.mu.Lock()
	away := c.away
	c.mu.Unlock()
	if away != nil {
		return nil, away
	}
	return c.lockable.Lock(ctx, name)
}

func (c *closable) leave(err error) {
	c.fail(err, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = err
}

func TestCacheThatForbidsOrdersHasNothingOrderedForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, told := newScene(t), new(diary)
		cache := &closable{lockable: lockable{turn: make(chan struct{}, 1)}}
		cache.leave(forbidding{errors.New("the store is away")})
		i := s.openAnswering(cache, told.note)
		n := i.Want("app.test")
		defer n.Release()
		time.Sleep(5 * time.Hour)
		is.Equal(s.ca.TotalOrders(), 0)
		is.True(told.has("app.test: the store is away; the next attempt is in"))
		cache.leave(nil)
		time.Sleep(2 * time.Minute) // the pauses have not grown, for nobody was troubled
		is.True(n.Certificate() != nil)
		is.Equal(s.ca.TotalOrders(), 1)
	})
}

// What serves does so on, and is renewed when the cache is back.
func TestCacheThatForbidsOrdersCostsNoCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene(t)
		s.ca.Lifetime = 3 * time.Hour
		cache := &closable{lockable: lockable{turn: make(chan struct{}, 1)}}
		i := s.openAnswering(cache, nil)
		n := i.Want("app.test")
		defer n.Release()
		cert, err := n.Await(within(t, time.Minute))
		is.NoErr(err)
		cache.leave(forbidding{errors.New("the store is away")})
		time.Sleep(170 * time.Minute) // it is due after two hours
		is.Equal(n.Certificate(), cert)
		is.Equal(s.ca.TotalOrders(), 1)
		cache.leave(nil)
		time.Sleep(2 * time.Minute)
		is.True(n.Certificate() != cert)
		is.Equal(s.ca.TotalOrders(), 2)
	})
}

// A taken is a cache in which another machine has just put the key of an account.
type taken struct {
	memory
	key []byte // of the other; nil once it is there
}

func (c *taken) Put(ctx context.Context, key string, data []byte) error {
	c.mu.Lock()
	other := c.key
	if strings.HasSuffix(key, "acme_account+key") {
		c.key = nil
	} else {
		other = nil
	}
	c.mu.Unlock()
	if other == nil {
		return c.memory.Put(ctx, key, data)
	}
	if err := c.memory.Put(ctx, key, other); err != nil {
		return err
	}
	return errors.New("another machine was faster")
}

func TestAccountOfTheFasterMachineIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, before, told := newScene(t), new(memory), new(diary)
		first := s.openAnswering(before, nil)
		n := first.Want("app.test")
		_, err := n.Await(within(t, time.Minute))
		is.NoErr(err)
		n.Release()
		first.Close()

		i := s.open(&taken{key: before.data["ca.test:443+acme_account+key"]}, told.note)
		s.answer(i, "http-01")
		n = i.Want("other.test")
		defer n.Release()
		_, err = n.Await(within(t, time.Minute))
		is.NoErr(err)
		is.True(!told.has("another machine was faster")) // it is of no consequence
		is.Equal(s.ca.Accounts(), 1)
	})
}
