package issuer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/zone"
)

// DNS says how TXT records are set, by which DNS-01 challenges are answered.
type DNS struct {
	// Present adds a TXT record with value to name, which has no final dot, and may
	// have others at that time. If nil, no name can be proven by DNS-01.
	Present func(ctx context.Context, name, value string) error

	// Cleanup removes that record. It is called once after each call of Present, even
	// if that returned an error.
	Cleanup func(ctx context.Context, name, value string) error

	// Always has names proven by DNS-01 that could be proven otherwise.
	Always bool

	// Zones finds the servers that must have a record before the authority looks.
	Zones zone.Finder
}

const (
	// challengeLabel is in front of the name that is to be proven (RFC 8555, section
	// 8.4).
	challengeLabel = "_acme-challenge."

	// recordTimeout is how long one call of Present or Cleanup may take, and
	// partingTimeout how long a Cleanup may once the Issuer is closed.
	recordTimeout  = 2 * time.Minute
	partingTimeout = 5 * time.Second

	// propagationTimeout is how long a record may take to be at all servers of its
	// zone. They are asked after firstLook, and then with pauses that double up to
	// lastLook.
	propagationTimeout = 5 * time.Minute
	firstLook          = time.Second
	lastLook           = 10 * time.Second

	// maxSilent is how often in a row no server at all may answer before the authority
	// is told to look for itself: it may well reach them.
	maxSilent = 3
)

// txtRecords are the TXT records of one order.
type txtRecords struct {
	dns       *DNS
	transport *transport
	all       []txtRecord
	unseen    error // why nobody could be asked whether they are there
}

type txtRecord struct {
	zone.Place
	value string
}

func (i *Issuer) newRecords() *txtRecords { return &txtRecords{dns: &i.o.DNS, transport: i.transport} }

// set adds the record that proves host.
func (r *txtRecords) set(ctx context.Context, host, value string) error {
	place, err := r.dns.Zones.Find(ctx, challengeLabel+host)
	if err != nil {
		r.unseen = err
	}
	r.all = append(r.all, txtRecord{place, value})
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	return r.dns.Present(ctx, place.Name, value)
}

// removeAll removes what was set. It does so as well where the order was given up, for
// records are left over otherwise.
func (r *txtRecords) removeAll() {
	if len(r.all) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
	defer cancel()
	part := func() { time.AfterFunc(partingTimeout, cancel) }
	forget, isOpen := r.transport.onClose(part)
	if isOpen {
		defer forget()
	} else {
		part()
	}
	for _, record := range r.all {
		_ = r.dns.Cleanup(ctx, record.Name, record.value) // what is left over proves nothing
	}
}

// await waits until each record is at all servers of its zone that can be asked. note is
// told where one is missing.
func (r *txtRecords) await(ctx context.Context, note func(what string)) error {
	ctx, cancel := context.WithTimeout(ctx, propagationTimeout)
	defer cancel()
	for _, record := range r.all {
		missing := ""
		pause, silent := firstLook, 0
		for len(record.Servers) > 0 {
			var answered int
			answered, missing, r.unseen = r.askServers(ctx, record)
			if answered > 0 && missing == "" {
				break
			}
			if silent++; answered > 0 {
				silent = 0
			}
			if silent == maxSilent {
				break
			}
			if missing != "" {
				note(missing)
			}
			if !sleep(ctx, pause) {
				return fmt.Errorf("the record did not get through in %v: %s", propagationTimeout, missing)
			}
			pause = min(2*pause, lastLook)
		}
	}
	note("")
	return nil
}

// askServers asks all servers of the zone for a record. It returns how many answered, what
// those who do not have the record have, and what was the matter with one that did not
// answer.
func (r *txtRecords) askServers(ctx context.Context, record txtRecord) (answered int, missing string, silence error) {
	found, errs := make([][]string, len(record.Servers)), make([]error, len(record.Servers))
	var asking sync.WaitGroup
	for k, server := range record.Servers {
		asking.Go(func() { found[k], errs[k] = r.dns.Zones.TXT(ctx, server, record.Name) })
	}
	asking.Wait()
	for k, server := range record.Servers {
		switch {
		case errs[k] != nil:
			silence = errs[k]
			continue
		case slices.Contains(found[k], record.value):
		case len(found[k]) == 0:
			missing = fmt.Sprintf("%s has no TXT record %s", server, record.Name)
		default:
			missing = fmt.Sprintf("%s has another TXT record %s, %q", server, record.Name, strings.Join(found[k], " "))
		}
		answered++
	}
	if answered > 0 {
		silence = nil
	}
	return answered, missing, silence
}

// doubt returns what to add to the authority's reason where nobody here has seen the
// records.
func (r *txtRecords) doubt() string {
	if r.unseen == nil {
		return ""
	}
	return fmt.Sprintf("; nor could the servers of the zone be asked from here: %v", r.unseen)
}

// sleep waits for d, and reports false if ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
