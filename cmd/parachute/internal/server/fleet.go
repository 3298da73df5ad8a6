package server

import (
	"log/slog"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute/cmd/parachute/internal/certstore"
	"github.com/shahnk19/parachute/cmd/parachute/internal/etcd"
)

// A FleetConfig says what the proxy shares with others, and where.
type FleetConfig struct {
	// Etcd is where; if it is not set, nothing is shared.
	Etcd etcd.Config

	// Seal encrypts the certificates there; nil: they are not encrypted.
	Seal *certstore.Seal

	// Lease is how long a proxy that etcd does not hear of still counts as one that runs.
	Lease time.Duration

	// Name is what the others call this proxy.
	Name string
}

// What is shared with other proxies.
type shared struct {
	store        *etcd.Store
	certificates *certstore.Shared
}

// open opens what is shared, without waiting for etcd; nil: nothing is. own has the
// certificates that this proxy had before, and has while etcd is away.
func (c FleetConfig) open(own *certstore.Folder, logger *slog.Logger) (*shared, error) {
	if !c.Etcd.IsSet() {
		return nil, nil
	}
	store, err := etcd.Open(c.Etcd)
	if err != nil {
		return nil, err
	}
	return &shared{store, certstore.NewShared(certstore.SharedOptions{
		Store: store,
		Copy:  own,
		Seal:  c.Seal,
		Name:  c.Name,
		TTL:   c.Lease,
		Warn:  func(err error) { logger.Warn("certificates are not shared as they should be", "error", err) },
	})}, nil
}

// close closes what is shared. What the others have of it stays.
func (s *shared) close() error {
	s.certificates.Close()
	return s.store.Close()
}

// certificateCache returns where certificates are kept.
func (p *parts) certificateCache() autocert.Cache {
	if p.shared != nil {
		return p.shared.certificates
	}
	return p.certificates
}
