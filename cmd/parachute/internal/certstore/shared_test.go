package certstore_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute/cmd/parachute/internal/certstore"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv/kvtest"
)

const name = "app.example.com"

// A machine is one that shares certificates.
type machine struct {
	*certstore.Shared
	store *kvtest.Client // its way to the store
	own   *certstore.Folder

	mu     sync.Mutex // guards warned
	warned []string
}

func (m *machine) warn(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.warned = append(m.warned, err.Error())
}

func (m *machine) hasWarned(part string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.warned, func(w string) bool { return strings.Contains(w, part) })
}

func newMemory(t *testing.T) *kvtest.Memory {
	m := kvtest.NewMemory()
	t.Cleanup(m.Close)
	return m
}

// newMachine returns one that shares what memory has, until the test ends.
func newMachine(t *testing.T, memory *kvtest.Memory, seal *certstore.Seal) *machine {
	m := &machine{store: memory.Client(), own: certstore.At(t.TempDir())}
	m.Shared = certstore.NewShared(certstore.SharedOptions{Store: m.store, Copy: m.own, Seal: seal, Name: "here", Warn: m.warn})
	t.Cleanup(m.Close)
	return m
}

// lock locks name, and fails the test if that is not possible.
func (m *machine) lock(t *testing.T, name string) (unlock func()) {
	t.Helper()
	unlock, err := m.Lock(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return unlock
}

func forbidsOrder(err error) bool {
	var told interface{ ForbidsOrder() bool }
	return errors.As(err, &told) && told.ForbidsOrder()
}

func TestWhatOneMachinePutsIsThereForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := newMemory(t)
		one, two := newMachine(t, memory, nil), newMachine(t, memory, nil)
		var cache autocert.Cache = one
		for _, key := range []string{name, "acme_account+key", "token+http-01", name + "+token"} {
			_, err := two.Get(t.Context(), key)
			is.Equal(err, autocert.ErrCacheMiss)
			is.NoErr(cache.Put(t.Context(), key, []byte("of "+key)))
			got, err := two.Get(t.Context(), key)
			is.NoErr(err)
			is.Equal(string(got), "of "+key)
			is.NoErr(cache.Delete(t.Context(), key))
			_, err = one.Get(t.Context(), key)
			is.Equal(err, autocert.ErrCacheMiss)
		}
	})
}

func TestAnswersGoWithTheMachineThatHasPutThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := newMemory(t)
		one, two := newMachine(t, memory, nil), newMachine(t, memory, nil)
		is.NoErr(one.Put(t.Context(), "token+http-01", []byte("answer")))
		one.store.Cut()
		time.Sleep(10 * time.Minute) // which an order may take
		_, err := two.Get(t.Context(), "token+http-01")
		is.NoErr(err)
		time.Sleep(10 * time.Minute)
		_, err = two.Get(t.Context(), "token+http-01")
		is.Equal(err, autocert.ErrCacheMiss)
	})
}

func TestLockIsHeldByOneMachineAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := newMemory(t)
		one, two := newMachine(t, memory, nil), newMachine(t, memory, nil)
		unlock := one.lock(t, name)
		two.lock(t, "other.example.com")() // which is another name
		locked := make(chan func())
		go func() {
			unlock, _ := two.Lock(context.Background(), name)
			locked <- unlock
		}()
		time.Sleep(5 * time.Minute) // it is renewed
		synctest.Wait()
		select {
		case <-locked:
			t.Error("two machines have the lock")
		default:
		}
		released := time.Now()
		unlock()
		(<-locked)()
		is.True(time.Since(released) < time.Second)

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		unlock = one.lock(t, name)
		defer unlock()
		_, err := two.Lock(ctx, name)
		is.True(errors.Is(err, context.DeadlineExceeded))
		is.True(forbidsOrder(err))
	})
}

// The process may go on after it was frozen, with the answer of the authority in hand.
func TestMachineThatHasLostItsLockPutsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := newMemory(t)
		frozen, other := newMachine(t, memory, nil), newMachine(t, memory, nil)
		unlock := frozen.lock(t, name)
		frozen.store.Cut()
		begun := time.Now()
		next := other.lock(t, name)
		is.True(time.Since(begun) <= 10*time.Second)
		frozen.store.Mend()
		for _, key := range []string{name, "*." + name, name + "+rsa", name + "+token"} { // of the order itself
			err := frozen.Put(t.Context(), key, []byte("old"))
			is.True(err != nil && strings.Contains(err.Error(), "lost its lock"))
		}
		is.NoErr(other.Put(t.Context(), name, []byte("new")))
		next()
		err := frozen.Put(t.Context(), name, []byte("old"))
		is.True(err != nil) // nor when nobody has it any more
		unlock()
		got, err := frozen.Get(t.Context(), name)
		is.NoErr(err)
		is.Equal(string(got), "new")
	})
}

func TestCertificatesAreServedWhileTheStoreCannotBeReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := newMemory(t)
		one, two := newMachine(t, memory, nil), newMachine(t, memory, nil)
		is.NoErr(one.Put(t.Context(), name, []byte("certificate")))
		is.NoErr(one.Put(t.Context(), "acme_account+key", []byte("account")))
		_, err := two.Get(t.Context(), name) // it has seen it once
		is.NoErr(err)
		for _, m := range []*machine{one, two} {
			m.store.Cut()
			got, err := m.Get(t.Context(), name)
			is.NoErr(err)
			is.Equal(string(got), "certificate")
			is.True(m.hasWarned("the store cannot be reached"))
			for _, key := range []string{"new.example.com", "acme_account+key"} {
				_, err = m.Get(t.Context(), key)
				is.True(errors.Is(err, kv.ErrUnreachable))
				is.True(forbidsOrder(err)) // it may be there
			}
			_, err = m.Lock(t.Context(), name)
			is.True(errors.Is(err, kv.ErrUnreachable))
			is.True(forbidsOrder(err))
			err = m.Put(t.Context(), "acme_account+key", []byte("another"))
			is.True(forbidsOrder(err))
		}
	})
}

func TestCertificateThatTheStoreDoesNotTakeIsPutWhenItDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := newMemory(t)
		one, two := newMachine(t, memory, nil), newMachine(t, memory, nil)
		unlock := one.lock(t, name)
		is.NoErr(one.Put(t.Context(), name, []byte("first")))
		unlock()
		unlock = one.lock(t, name)
		one.store.Cut()
		is.NoErr(one.Put(t.Context(), name, []byte("second")))
		unlock()
		is.True(one.hasWarned("on this machine alone"))
		got, err := one.Get(t.Context(), name)
		is.NoErr(err)
		is.Equal(string(got), "second") // it outlives the process
		time.Sleep(time.Hour)
		one.store.Mend()
		time.Sleep(time.Minute)
		got, err = two.Get(t.Context(), name)
		is.NoErr(err)
		is.Equal(string(got), "second")

		// What another has ordered meanwhile is newer.
		unlock = one.lock(t, name)
		one.store.Cut()
		is.NoErr(one.Put(t.Context(), name, []byte("third")))
		unlock()
		next := two.lock(t, name)
		is.NoErr(two.Put(t.Context(), name, []byte("fourth")))
		one.store.Mend()
		time.Sleep(time.Minute)
		next()
		time.Sleep(time.Minute)
		got, err = one.Get(t.Context(), name)
		is.NoErr(err)
		is.Equal(string(got), "fourth")
	})
}

func TestOutcomeThatIsNotKnownIsReadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := newMemory(t)
		one, two := newMachine(t, memory, nil), newMachine(t, memory, nil)
		lose := true
		one.store.Fail(func(call kvtest.Call) kvtest.Fault {
			lost := lose && call == "commit"
			lose = lose && !lost
			return kvtest.Fault{LoseAnswer: lost}
		})
		_, err := one.Lock(t.Context(), name)
		is.True(errors.Is(err, kv.ErrUnknown))
		begun := time.Now()
		unlock := one.lock(t, name)
		defer unlock()
		is.Equal(time.Since(begun), time.Duration(0)) // whatever was done of it was undone
		lose = true
		is.NoErr(one.Put(t.Context(), name, []byte("certificate")))
		is.Equal(len(one.warned), 0)
		got, err := two.Get(t.Context(), name)
		is.NoErr(err)
		is.Equal(string(got), "certificate")
	})
}

func TestMachineBringsAlongWhatItHad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := newMemory(t)
		one, two := newMachine(t, memory, nil), newMachine(t, memory, nil)
		for i, m := range []*machine{one, two} {
			is.NoErr(m.own.Put(t.Context(), name, []byte{byte('1' + i)}))
			is.NoErr(m.own.Put(t.Context(), "acme_account+key", []byte{byte('1' + i)}))
		}
		for _, m := range []*machine{one, two} {
			for _, key := range []string{name, "acme_account+key"} {
				got, err := m.Get(t.Context(), key)
				is.NoErr(err)
				is.Equal(string(got), "1") // of who came first
			}
		}
		own, err := two.own.Get(t.Context(), name)
		is.NoErr(err)
		is.Equal(string(own), "1") // and for when the store is away

		// One looks before the other has put it, and comes to put it later.
		slow := newMachine(t, memory, nil)
		is.NoErr(slow.own.Put(t.Context(), "late.example.com", []byte("3")))
		is.NoErr(one.own.Put(t.Context(), "late.example.com", []byte("1")))
		slow.store.Fail(func(call kvtest.Call) kvtest.Fault {
			if call == "commit" {
				return kvtest.Fault{Before: time.Second}
			}
			return kvtest.Fault{}
		})
		found := make(chan []byte)
		go func() {
			data, _ := slow.Get(context.Background(), "late.example.com")
			found <- data
		}()
		synctest.Wait()
		_, err = one.Get(t.Context(), "late.example.com")
		is.NoErr(err)
		is.Equal(string(<-found), "1")
	})
}

func TestWhoHasNoLockPutsNothingWhileAnotherHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := newMemory(t)
		one, two := newMachine(t, memory, nil), newMachine(t, memory, nil)
		unlock := one.lock(t, name)
		is.True(two.Put(t.Context(), name, []byte("certificate")) != nil)
		unlock()
		is.NoErr(two.Put(t.Context(), name, []byte("certificate")))
	})
}

func TestMachinesHaveOneAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := newMemory(t)
		one, two := newMachine(t, memory, nil), newMachine(t, memory, nil)
		const key = "ca.test+acme_account+key"
		for _, m := range []*machine{one, two} {
			_, err := m.Get(t.Context(), key)
			is.Equal(err, autocert.ErrCacheMiss)
		}
		is.NoErr(one.Put(t.Context(), key, []byte("first")))
		is.True(two.Put(t.Context(), key, []byte("second")) != nil)
		got, err := two.Get(t.Context(), key)
		is.NoErr(err)
		is.Equal(string(got), "first")
		is.NoErr(two.Put(t.Context(), key, []byte("in place of that"))) // once it has seen it
	})
}

// Anybody can ask for an answer, with a token of their own making.
func TestOneReadAnswersAllWhoAskForAChallenge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		m := newMachine(t, newMemory(t), nil)
		is.NoErr(m.Put(t.Context(), "token+http-01", []byte("answer")))
		var mu sync.Mutex
		reads := 0
		m.store.Fail(func(call kvtest.Call) kvtest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if call == "read" {
				reads++
			}
			return kvtest.Fault{Before: time.Second}
		})
		var asking sync.WaitGroup
		found := make([]string, 1000)
		for i := range found {
			asking.Go(func() {
				key := "token+http-01"
				if i%2 == 1 {
					key = "made-up+http-01"
				}
				data, err := m.Get(t.Context(), key)
				if found[i] = string(data); err == autocert.ErrCacheMiss {
					found[i] = "missing"
				}
			})
		}
		asking.Wait()
		for i := range found {
			is.Equal(found[i], []string{"answer", "missing"}[i%2])
		}
		is.True(reads <= 2)
	})
}

func TestSealedValuesAreOfUseToWhoHasTheKeyAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := newMemory(t)
		seal, otherSeal := newSeal(t, 1), newSeal(t, 2)
		one, two := newMachine(t, memory, seal), newMachine(t, memory, seal)
		keys := []string{name, "acme_account+key", "token+http-01"}
		for _, key := range keys {
			is.NoErr(one.Put(t.Context(), key, []byte("PRIVATE KEY")))
			got, err := two.Get(t.Context(), key)
			is.NoErr(err)
			is.Equal(string(got), "PRIVATE KEY")
		}
		pairs, _, err := one.store.Read(t.Context(), "")
		is.NoErr(err)
		is.Equal(len(pairs), len(keys))
		for _, pair := range pairs {
			is.True(!bytes.Contains(pair.Value, []byte("PRIVATE")))
		}

		for what, m := range map[string]*machine{
			"no --etcd-encryption-key-file is given": newMachine(t, memory, nil),
			"it cannot be decrypted":                 newMachine(t, memory, otherSeal),
		} {
			for _, key := range keys {
				_, err := m.Get(t.Context(), key)
				is.True(err != nil && strings.Contains(err.Error(), what))
			}
			_, err := m.Lock(t.Context(), name)
			is.True(err != nil && strings.Contains(err.Error(), what))
			is.True(forbidsOrder(err)) // for it would be put over what the others have
			_, err = m.Lock(t.Context(), "new.example.com")
			is.True(forbidsOrder(err)) // nor with another account
		}
		after, _, err := one.store.Read(t.Context(), "")
		is.NoErr(err)
		is.Equal(after, pairs)
	})
}

func TestSealedValueCannotBeMovedOrReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := newMemory(t)
		m := newMachine(t, memory, newSeal(t, 1))
		is.NoErr(m.Put(t.Context(), "a.example.com", []byte("of a")))
		pairs, _, err := m.store.Read(t.Context(), "certificates/a.example.com")
		is.NoErr(err)
		_, _, err = m.store.Commit(t.Context(), nil, []kv.Write{
			kv.Put("certificates/b.example.com", pairs[0].Value, 0),
			kv.Put("certificates/c.example.com", []byte("plain"), 0),
		})
		is.NoErr(err)
		_, err = m.Get(t.Context(), "b.example.com")
		is.True(err != nil && strings.Contains(err.Error(), "somebody has changed it"))
		_, err = m.Get(t.Context(), "c.example.com")
		is.True(err != nil && strings.Contains(err.Error(), "it is not encrypted"))

		// What the machine has itself is served all the same.
		is.NoErr(m.own.Put(t.Context(), "b.example.com", []byte("of b")))
		got, err := m.Get(t.Context(), "b.example.com")
		is.NoErr(err)
		is.Equal(string(got), "of b")
		is.True(m.hasWarned("somebody has changed it"))
	})
}

// newSeal returns one with a key of its own.
func newSeal(t *testing.T, of byte) *certstore.Seal {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(hex.EncodeToString(bytes.Repeat([]byte{of}, 32))), 0o600); err != nil {
		t.Fatal(err)
	}
	seal, err := certstore.ReadSeal(file)
	if err != nil {
		t.Fatal(err)
	}
	return seal
}

func TestKeyFileHasThirtyTwoBytes(t *testing.T) {
	key := bytes.Repeat([]byte{0xfb}, 32)
	for _, tt := range []struct {
		name, text string
		ok         bool
	}{
		{"hexadecimal", hex.EncodeToString(key) + "\n", true},
		{"base64", base64.StdEncoding.EncodeToString(key) + "\n", true},
		{"base64 without padding", base64.RawStdEncoding.EncodeToString(key), true},
		{"short", hex.EncodeToString(key[:16]), false},
		{"long", hex.EncodeToString(append(key, 0)), false},
		{"raw", string(key), false},
		{"empty", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			file := filepath.Join(t.TempDir(), "key")
			is.NoErr(os.WriteFile(file, []byte(tt.text), 0o600))
			_, err := certstore.ReadSeal(file)
			if tt.ok {
				is.NoErr(err)
				return
			}
			is.True(err != nil && strings.HasPrefix(err.Error(), file+" has no key in it: want 32 bytes"))
		})
	}
}
