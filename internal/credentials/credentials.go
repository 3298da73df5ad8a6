// Package credentials lets in those who give a name and a password from a file
// (RFC 7617).
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

// Users are those who may come in. They do not change when their file does.
// Any number of goroutines may use them.
//
// Checking a password takes a core for as long as bcrypt is meant to take, so
// the outcome is remembered: for each user the pair that was let in last, and
// of those that were not, some of the last. What is kept of a pair is a hash
// with a key that no other Users have.
type Users struct {
	byName  map[string]*user
	all     []*user
	checks  chan struct{}
	key     [sha256.Size]byte
	seed    maphash.Seed
	refused [1024]atomic.Pointer[digest] // each pair has one place
}

type user struct {
	hash     []byte                 // by bcrypt
	accepted atomic.Pointer[digest] // of the pair that was let in last; nil: none was yet
}

// A digest is the SHA-256 of a key and a pair behind it. That will do for a
// keyed hash, since nobody gets to see one to go on from.
type digest [sha256.Size]byte

// maxPair bounds a name and a password with a colon between. htpasswd takes
// 255 bytes of each. Divisible by 3, it is what base64 decodes to at most.
const maxPair = 768

// Allows reports whether a request's header h has the name and the password of
// a user. A pair that is remembered costs neither a check nor a lock. Any other
// one waits until it may be checked, at most as long as ctx lasts; the error is
// why that ended, and nothing is known then. How long a check takes does not
// tell whether there is a user of the name.
//
// Of a password bcrypt looks at the first 72 bytes alone. A pair of more than
// 768 bytes is nobody's, and so are two Authorization fields.
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

// remembered returns what is remembered of a pair.
func (u *Users) remembered(who *user, sum *digest) (right, known bool) {
	if who != nil && who.accepted.Load().equal(sum) {
		return true, true
	}
	return false, u.refusedSlot(sum).Load().equal(sum)
}

// check waits for its turn, looks whether the password is right, and remembers
// that. The user is nil if there is none of the name.
func (u *Users) check(ctx context.Context, who *user, name, password string, sum digest) (bool, error) {
	select {
	case u.checks <- struct{}{}:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	defer func() { <-u.checks }()
	// Browsers send several requests at once, and the first may be through.
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

// decoy returns whose hash an unknown name is checked against. It is always
// the same for a name, as hashes of different costs take different times.
func (u *Users) decoy(name string) *user {
	return u.all[maphash.String(u.seed, name)%uint64(len(u.all))]
}

// refusedSlot returns where the pair is remembered if it is wrong. It stays wrong for
// as long as there are these Users, so nothing but another pair ends that.
func (u *Users) refusedSlot(sum *digest) *atomic.Pointer[digest] {
	return &u.refused[binary.NativeEndian.Uint64(sum[:])%uint64(len(u.refused))]
}

// equal reports false if d is nil.
func (d *digest) equal(other *digest) bool {
	return d != nil && subtle.ConstantTimeCompare(d[:], other[:]) == 1
}

// appendPair appends the pair in a request's Authorization fields to b if it is
// of at most maxPair bytes.
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

// newUsers returns Users with the hashes by name, of which there is at least
// one.
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
