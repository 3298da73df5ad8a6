package server

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"

	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/certstore"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kamal"
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
)

// load returns the services in the store. If nothing was ever saved there, it
// returns the services that kamal-proxy has left in the same folder, and keeps
// their certificates as our own.
func (c Config) load(ctx context.Context, store *state.Store, certificates *certstore.Folder, logger *slog.Logger) ([]parachute.Status, error) {
	isNew, err := store.IsNew()
	if err != nil {
		return nil, err
	}
	services, warnings, err := store.Load()
	for _, w := range warnings {
		logger.Warn(w)
	}
	if err != nil || !isNew {
		return services, err
	}
	path := filepath.Join(c.DataDir, kamal.FileName)
	left, err := kamal.Read(path, c.ACME.Directory)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		logger.Warn("what kamal-proxy has served is not taken over: deploy it again", "error", err)
		return nil, nil
	}
	for _, w := range left.Warnings {
		logger.Warn(w)
	}
	logger.Info("taking over from kamal-proxy", "file", path, "services", len(left.Services), "certificates", len(left.Certificates))
	for _, cert := range left.Certificates {
		folder := certificates
		if cert.CacheDir != "" {
			folder = certstore.At(cert.CacheDir)
		}
		if err := keep(ctx, folder, cert); err != nil {
			logger.Warn("a certificate of kamal-proxy is not taken over, and ordered anew", "name", cert.Key, "error", err)
		}
	}
	return left.Services, nil
}

// keep puts cert into folder, unless what is there is worth as much: kamal-proxy's
// state is read at each start until something is deployed, and by then a
// certificate may have been renewed.
func keep(ctx context.Context, folder *certstore.Folder, cert kamal.Certificate) error {
	was, err := folder.Get(ctx, cert.Key)
	switch {
	case errors.Is(err, autocert.ErrCacheMiss):
	case err != nil:
		return err
	case !cert.Replaces(was):
		return nil
	}
	return folder.Put(ctx, cert.Key, cert.Data)
}
