// Package kv says what a store can do that several proxies share. Its words are those of
// etcd: keys in order, revisions, leases, watches, and transactions that compare first.
package kv

import (
	"context"
	"errors"
	"time"
)

// Limits of one Commit, which are those of an etcd that was not told otherwise. The store
// needs some of the bytes itself.
const (
	MaxOperations = 128         // conditions, and writes
	MaxBytes      = 1536 * 1024 // of keys and values
)

// These are the errors of a Store. A returned error wraps one of them, or that of the
// context, or else says in plain words why the store refused, such as wrong credentials.
var (
	// ErrUnreachable means that the store gave no answer in time, or not from a majority.
	// A call that only reads has done nothing.
	ErrUnreachable = errors.New("the store cannot be reached")

	// ErrUnknown means that a Commit may have been done. With ErrUnreachable, it may be
	// done yet; without, the store has answered, and what a Read sees is how it ended.
	ErrUnknown = errors.New("the outcome is not known")

	// ErrCompacted means that a watch cannot begin or go on where it should, for the
	// store has forgotten the changes in between. Whoever gets it reads all anew.
	ErrCompacted = errors.New("the store has forgotten these changes")

	// ErrLeaseEnded means that a lease is not there, or not any more.
	ErrLeaseEnded = errors.New("the lease has ended")

	// ErrTooLarge means that a Commit is above a limit.
	ErrTooLarge = errors.New("more than the store takes at once")
)

// A Lease is the number of one. What is put with a lease is deleted when that ends. 0 is
// no lease.
type Lease int64

// A Pair is a key with its value. Created and Modified are revisions of the store: of the
// change that made it, and of the last one that put it. Nobody may change the Value of one
// that a Store has returned.
type Pair struct {
	Key      string
	Value    []byte
	Created  int64
	Modified int64
	Lease    Lease
}

// A Change is a Pair as a change left it. Of one that was Deleted, by a Write or because
// its lease ended, only the Key and Modified say something.
type Change struct {
	Pair
	Deleted bool
}

// A Test is what a Condition looks at.
type Test int

const (
	TestMissing      Test = iota // the key is not there
	TestExists                   // the key is there
	TestUnchanged                // the key is there, and its Modified is Revision
	TestHeld                     // the key is there, with Lease
	TestNothingNewer             // no key that begins with Key has a Modified above Revision
)

// A Condition is what has to hold for a Commit to be done.
type Condition struct {
	Test     Test
	Key      string
	Revision int64
	Lease    Lease
}

// Missing holds while there is no such key.
func Missing(key string) Condition { return Condition{Test: TestMissing, Key: key} }

// Exists holds while there is such a key.
func Exists(key string) Condition { return Condition{Test: TestExists, Key: key} }

// Unchanged holds while the key is there and was last put in revision modified. If that is
// 0, it holds while there is no such key.
func Unchanged(key string, modified int64) Condition {
	if modified == 0 {
		return Missing(key)
	}
	return Condition{Test: TestUnchanged, Key: key, Revision: modified}
}

// Held holds while the key is there with that lease.
func Held(key string, lease Lease) Condition {
	return Condition{Test: TestHeld, Key: key, Lease: lease}
}

// NothingNewer holds while no key that begins with prefix was put after revision. It says
// nothing of keys that were deleted.
func NothingNewer(prefix string, revision int64) Condition {
	return Condition{Test: TestNothingNewer, Key: prefix, Revision: revision}
}

// An Action is what a Write does.
type Action int

const (
	ActionPut       Action = iota // the key gets the value and the lease, whatever it had
	ActionDelete                  // the key goes, if it is there
	ActionDeleteAll               // every key that begins with Key goes
)

// A Write is one thing that a Commit does. No two of one Commit may touch the same key.
type Write struct {
	Action Action
	Key    string
	Value  []byte
	Lease  Lease
}

// Put writes a key. It goes with the lease, or stays if that is 0.
func Put(key string, value []byte, lease Lease) Write {
	return Write{Action: ActionPut, Key: key, Value: value, Lease: lease}
}

// Delete takes a key out.
func Delete(key string) Write { return Write{Action: ActionDelete, Key: key} }

// DeleteAll takes out every key that begins with prefix.
func DeleteAll(prefix string) Write { return Write{Action: ActionDeleteAll, Key: prefix} }

// A Store is shared by several proxies. Keys are as the caller sees them: a prefix that all
// of them have in the store itself is the Store's matter. Its methods may be called at the
// same time. Each returns when ctx ends, and but for Watch, within a time limit of the
// Store in any case.
type Store interface {
	// Read returns the pairs whose keys begin with prefix, in their order, as of revision.
	// It sees every Commit that had ended when it was called, whoever made it.
	Read(ctx context.Context, prefix string) (pairs []Pair, revision int64, err error)

	// Commit does all of writes at once if all of conditions hold, and otherwise nothing.
	// ok reports which. revision is that of the writes, or else of the look at the
	// conditions. If err wraps ErrUnknown, it may have been done. With ErrUnreachable, it
	// may be done yet, even after a Read that does not see it: only a Commit that has its
	// conditions fail keeps it from being done. With any other error nothing was done. A
	// lease that writes name and that has ended is ErrLeaseEnded.
	Commit(ctx context.Context, conditions []Condition, writes []Write) (revision int64, ok bool, err error)

	// Watch calls each with the changes of each revision after revision after, in order
	// and without a gap, as far as they are of keys that begin with prefix; all changes
	// of a revision come with one call. It returns when each returns an error, with that;
	// when ctx ends; or with ErrCompacted. While the store cannot be reached, it waits.
	Watch(ctx context.Context, prefix string, after int64, each func(revision int64, changes []Change) error) error

	// Grant begins a lease, which ends ttl after its last Renew at the earliest. The store
	// counts in whole seconds.
	Grant(ctx context.Context, ttl time.Duration) (Lease, error)

	// Renew has the lease last for its ttl again, counted from when the store got the
	// call, and returns that.
	Renew(ctx context.Context, lease Lease) (ttl time.Duration, err error)

	// Revoke ends the lease, and deletes what was put with it.
	Revoke(ctx context.Context, lease Lease) error
}
