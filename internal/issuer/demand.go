package issuer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/admission"
	"github.com/shahnk19/parachute/internal/hostname"
)

// CheckAskURL returns an error unless ask is a URL, or a path of a service, that can be
// asked whether a name may have a certificate on demand.
func CheckAskURL(ask string) error {
	u, err := url.Parse(ask)
	switch {
	case ask == "":
		return errors.New("TLS on demand without an ask URL: anybody could have certificates made; name one that answers 200 for the names that may have one")
	case err != nil || u.Fragment != "" || u.User != nil || !hostname.IsRequestTarget(ask):
	case strings.HasPrefix(ask, "/"):
		return nil
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		return nil
	}
	return fmt.Errorf("ask URL %q: want a URL such as https://example.com/allowed, or a path of the service such as /allowed", ask)
}

// A Demand obtains certificates on demand: for each name that a client comes to, if
// that is admitted. Once a name is admitted, it is not asked about again. Make one
// with NewDemand. Its methods may be called from any goroutine.
type Demand struct {
	issuer   *Issuer
	control  *admission.Control
	limit    time.Duration // of the wait for an answer
	names    sync.Map      // *Name by name
	released atomic.Bool
}

// NewDemand returns a Demand for certificates of an issuer. ask decides within limit
// whether a name is admitted. The caller must call Release, once.
func NewDemand(from *Issuer, ask func(ctx context.Context, name string) error, limit time.Duration) *Demand {
	return &Demand{issuer: from, limit: limit, control: admission.New(admission.Options{Timeout: limit, Ask: ask})}
}

// Certificate returns the certificate of name, or nil if there is no valid one.
func (d *Demand) Certificate(name string) *tls.Certificate {
	if n, ok := d.names.Load(name); ok {
		return n.(*Name).Certificate()
	}
	return nil
}

// Name returns the issuer's entry for name, or nil if name may have no certificate.
// It asks about a new name, and begins to obtain the certificate. How often it asks
// is limited for the address of the client.
func (d *Demand) Name(ctx context.Context, name string, client netip.Addr) *Name {
	if n, ok := d.names.Load(name); ok {
		return n.(*Name)
	}
	if !hostname.IsName(name) || CheckName(name) != nil {
		return nil
	}
	if err, ok := d.control.Recall(name); ok && err != nil {
		return nil // before Has, since the cache may be remote
	}
	if !d.issuer.Has(ctx, name) && d.control.Admit(ctx, name, client) != nil {
		return nil
	}
	wanted := d.issuer.Want(name)
	if n, loaded := d.names.LoadOrStore(name, wanted); loaded {
		wanted.Release()
		return n.(*Name)
	}
	if d.released.Load() {
		d.releaseName(name)
	}
	return wanted
}

// Expects reports whether name has a certificate or will get one. If name is new and
// admitted, it begins to obtain the certificate.
func (d *Demand) Expects(ctx context.Context, name string, client netip.Addr) bool {
	ctx, cancel := context.WithTimeout(ctx, d.limit)
	defer cancel()
	n := d.Name(ctx, name, client)
	return n != nil && n.Status().Err == nil
}

// All yields the names that were admitted.
func (d *Demand) All() iter.Seq2[string, Status] {
	return func(yield func(string, Status) bool) {
		for name, n := range d.names.Range {
			if !yield(name.(string), n.(*Name).Status()) {
				return
			}
		}
	}
}

// Release releases all names. A handshake that is under way may still add one, and
// then releases it itself.
func (d *Demand) Release() {
	d.control.Close()
	d.released.Store(true)
	for name := range d.names.Range {
		d.releaseName(name)
	}
}

func (d *Demand) releaseName(name any) {
	if n, ok := d.names.LoadAndDelete(name); ok {
		n.(*Name).Release()
	}
}
