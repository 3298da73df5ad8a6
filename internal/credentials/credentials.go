// Package credentials checks the names and passwords of Basic authentication (RFC 7617)
// against a file of users.
package credentials

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"hash/maphash"
	"net/http"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/bcrypt"
)

// Users are the users in a file, as it was when Load read it. They are safe for
// concurrent use.
//
// A check by bcrypt occupies a core for long, so Users remember its outcome: for each
// user the pair of name and password that was accepted last, and some of the pairs that
// were refused last. They remember a pair as a hash with a key of their own.
type Users struct {
	byName  map[string]*user
	all     []*user
	checks  chan struct{}
	key     [sha256.Size]byte
	seed    maphash.Seed
	refused [1024]atomic.Pointer[digest] // indexed by a part of the digest
}

type user struct {
	hash     []byte                 // by bcrypt
	accepted atomic.Pointer[digest] // of the pair that was accepted last; nil: none was yet
}

// A digest is the SHA-256 of a key followed by a pair. That is safe as a keyed hash here:
// nobody sees a digest, so nobody can extend it.
type digest [sha256.Size]byte

// maxPair is how many bytes a name, a colon and a password may have. htpasswd allows 255
// for each of the two. It is divisible by 3, so that it is an exact base64 length.
const maxPair = 768

// Allows reports whether a request's header h has the name and the password of a user.
// If the outcome is remembered, it takes no lock and does not wait. Otherwise it waits
// until it may check the password. If ctx ends before, it returns false and the cause.
// The time that a check takes does not reveal whether there is a user of that name.
//
// bcrypt uses only the first 72 bytes of a password. A pair of more than 768 bytes is
// refused, and so are two Authorization fields.
func (u *Users) Allows(ctx context.Context, h http.Header) (bool, error) {
	var keyed [sha256.Size + maxPair]byte
	n := copy(keyed[:], u.key[:])
	pair, ok := appendPair(keyed[:n], h["Authorization"])
	if !ok {
		return false, nil
	}
	name, password, ok := bytes.Cut(pair[n:], []byte(":"))
	if !ok {
		return false, nil
	}
	sum := digest(sha256.Sum256(pair))
	who := u.byName[string(name)]
	if right, known := u.remembered(who, &sum); known {
		return right, nil
	}
	return u.check(ctx, who, string(name), string(password), sum)
}

// remembered returns the remembered outcome for a pair, and whether there is one.
func (u *Users) remembered(who *user, sum *digest) (right, known bool) {
	if who != nil && who.accepted.Load().equal(sum) {
		return true, true
	}
	return false, u.refusedSlot(sum).Load().equal(sum)
}

// check waits until it may check the password, checks it, and remembers the outcome. who
// is nil if there is no user of that name.
func (u *Users) check(ctx context.Context, who *user, name, password string, sum digest) (bool, error) {
	select {
	case u.checks <- struct{}{}:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	defer func() { <-u.checks }()
	// Browsers send several requests at once: another may have been checked by now.
	if right, known := u.remembered(who, &sum); known {
		return right, nil
	}
	hash := u.decoy(name).hash
	if who != nil {
		hash = who.hash
	}
	right := bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil && who != nil
	if right {
		who.accepted.Store(&sum)
	} else {
		u.refusedSlot(&sum).Store(&sum)
	}
	return right, nil
}

// decoy returns the user whose hash the password for an unknown name is checked against.
// It is always the same one for a name, for hashes of different costs take different
// times.
func (u *Users) decoy(name string) *user {
	return u.all[maphash.String(u.seed, name)%uint64(len(u.all))]
}

// refusedSlot returns where a refused pair is remembered. Users do not change, so that stays
// true until another pair replaces it.
func (u *Users) refusedSlot(sum *digest) *atomic.Pointer[digest] {
	return &u.refused[binary.NativeEndian.Uint64(sum[:])%uint64(len(u.refused))]
}

// equal compares in constant time. It reports false if d is nil.
func (d *digest) equal(other *digest) bool {
	return d != nil && subtle.ConstantTimeCompare(d[:], other[:]) == 1
}

// appendPair appends the decoded pair in a request's Authorization field to b. It reports
// false if there is none, more than one, or one of more than maxPair bytes.
func appendPair(b []byte, fields []string) ([]byte, bool) {
	const scheme = "Basic "
	if len(fields) != 1 || len(fields[0]) < len(scheme) || !strings.EqualFold(fields[0][:len(scheme)], scheme) {
		return nil, false
	}
	encoded := fields[0][len(scheme):]
	if base64.StdEncoding.DecodedLen(len(encoded)) > maxPair {
		return nil, false
	}
	b, err := base64.StdEncoding.AppendDecode(b, []byte(encoded))
	return b, err == nil
}

// newUsers returns Users with hashes by name. There must be at least one.
func newUsers(hashes map[string]string, checks chan struct{}) *Users {
	u := &Users{byName: make(map[string]*user, len(hashes)), checks: checks, seed: maphash.MakeSeed()}
	rand.Read(u.key[:])
	for name, hash := range hashes {
		who := &user{hash: []byte(hash)}
		u.byName[name] = who
		u.all = append(u.all, who)
	}
	return u
}
