package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
	"github.com/shahnk19/parachute/internal/naming"
)

// A ledger is what the store says that services are. A change of more services than one
// transaction of the store can hold is a batch: what it makes of them is written aside, one
// key makes that count, and then it is copied to where the records are. Whoever reads all
// of it at once, or follows it from there, never sees a part of a batch.
type ledger struct {
	records map[string]record            // by service; those of the batch that was made among them
	aside   map[string]map[string]record // what was written aside, by the ID of its batch and by service
	made    *batch                       // that has not been copied yet; nil: there is none
}

// A batch says that what was written aside with its ID counts.
type batch struct {
	ID       string `json:"id"`
	By       string `json:"by"`       // the member that made it
	Services int    `json:"services"` // that it is about
	modified int64
	broken   error // why it cannot be read
}

// newLedger returns what pairs say, which are all that begin with ledgerPrefix.
func newLedger(pairs []kv.Pair) ledger {
	l := ledger{records: make(map[string]record, len(pairs)), aside: make(map[string]map[string]record)}
	for _, p := range pairs {
		if name, is := strings.CutPrefix(p.Key, servicesBelow); is {
			l.records[name] = decode(name, p)
		} else {
			l.putAside(p)
		}
	}
	maps.Copy(l.records, l.pending())
	return l
}

// putAside takes p, which is no record of a service.
func (l *ledger) putAside(p kv.Pair) {
	if p.Key == batchKey {
		b := batch{modified: p.Modified}
		if b.broken = json.Unmarshal(p.Value, &b); b.broken == nil {
			b.modified = p.Modified
		}
		l.made = &b
		return
	}
	id, name, _ := strings.Cut(strings.TrimPrefix(p.Key, asideBelow), "/")
	if l.aside[id] == nil {
		l.aside[id] = make(map[string]record)
	}
	l.aside[id][name] = decode(name, p)
}

// deleteAside takes out a key that is none of a service.
func (l *ledger) deleteAside(key string) {
	if key == batchKey {
		l.made = nil
		return
	}
	id, name, _ := strings.Cut(strings.TrimPrefix(key, asideBelow), "/")
	if delete(l.aside[id], name); len(l.aside[id]) == 0 {
		delete(l.aside, id)
	}
}

// pending returns the records of the batch that was made as far as they have not been
// copied: none if it cannot be read.
func (l *ledger) pending() map[string]record {
	all := make(map[string]record)
	if !l.isWhole() {
		return all
	}
	for name, r := range l.aside[l.made.ID] {
		r.modified = l.made.modified
		if old := l.records[name]; old.ID != r.ID && old.modified < r.modified {
			all[name] = r
		}
	}
	return all
}

// isWhole reports whether there is a batch that was made, with all of its records.
func (l *ledger) isWhole() bool {
	return l.made != nil && l.made.broken == nil && len(l.aside[l.made.ID]) == l.made.Services
}

// isCopyOf reports whether r is old, which was aside, at its place.
func (r *record) isCopyOf(old *record) bool {
	return r.ID != "" && r.ID == old.ID && r.Removed == old.Removed && bytes.Equal(r.Status, old.Status)
}

// decode returns the record of a service that a pair has.
func decode(name string, p kv.Pair) record {
	r, s := record{}, parachute.Status{}
	err := json.Unmarshal(p.Value, &r)
	if err == nil && r.Status != nil {
		err = json.Unmarshal(r.Status, &s)
	}
	if err != nil {
		return record{modified: p.Modified, broken: err}
	}
	r.modified = p.Modified
	r.note(&s)
	switch {
	case r.Status == nil && !r.Removed:
		r.broken = errors.New("it says neither what the service is nor that it was removed")
	case r.Status != nil && s.Service != name:
		r.broken = fmt.Errorf("it is of service %q", s.Service)
	default:
		r.broken = naming.Check(name)
	}
	return r
}
