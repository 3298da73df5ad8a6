// Package tickets keeps the keys of TLS session tickets, so that the sessions of one
// server are resumed by another, in this process or in the next.
package tickets

import (
	"crypto/rand"
	"crypto/tls"
	"sync"
	"time"
)

const (
	// keySize is the size of a key.
	keySize = 32

	// rotation is how long a key makes tickets. It opens them for lifetime, which is
	// that of a ticket (RFC 8446, section 4.6.1).
	rotation = 24 * time.Hour
	lifetime = 7 * 24 * time.Hour
)

// Keys are the keys of several configurations. Make them with New. Its methods may be
// called from any goroutine.
type Keys struct {
	config tls.Config // makes and opens the tickets

	mu   sync.Mutex // guards keys
	keys []key      // the newest first; it makes tickets
}

type key struct {
	secret [keySize]byte
	made   time.Time
}

// New returns Keys that go on with those that another process has given, the newest
// first: there may be none. What is no key is passed over.
func New(given [][]byte) *Keys {
	k := new(Keys)
	now := time.Now()
	for i, secret := range given {
		if len(secret) == keySize {
			// When they were made is not known. The newest is used for a while, and the
			// others for no longer than their tickets may last.
			k.keys = append(k.keys, key{[keySize]byte(secret), now.Add(-time.Duration(i) * rotation)})
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.keys) == 0 {
		k.rotateLocked(now)
	}
	k.applyLocked()
	return k
}

// Keys returns the keys for New, the newest first.
func (k *Keys) Keys() [][]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all [][]byte
	for _, key := range k.keys {
		all = append(all, key.secret[:])
	}
	return all
}

// Use has config, and what is cloned of it, make and open tickets with k.
func (k *Keys) Use(config *tls.Config) {
	config.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		k.renew(time.Now())
		return k.config.EncryptTicket(state, session)
	}
	config.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
		return k.config.DecryptTicket(ticket, state)
	}
}

// renew makes a new key if the newest is old.
func (k *Keys) renew(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now.Sub(k.keys[0].made) < rotation {
		return
	}
	k.rotateLocked(now)
	k.applyLocked()
}

// rotateLocked puts a new key in front, and drops those that open no ticket any more.
func (k *Keys) rotateLocked(now time.Time) {
	made := key{made: now}
	rand.Read(made.secret[:])
	keys := []key{made}
	for _, old := range k.keys {
		if now.Sub(old.made) < rotation+lifetime {
			keys = append(keys, old)
		}
	}
	k.keys = keys
}

func (k *Keys) applyLocked() {
	secrets := make([][keySize]byte, len(k.keys))
	for i, key := range k.keys {
		secrets[i] = key.secret
	}
	k.config.SetSessionTicketKeys(secrets)
}
