package kamal

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/acmecache"
	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/regular"
)

// certsName is the name of kamal-proxy's folder of certificates, beside its state.
const certsName = "certs"

// stagingDirectory is the URL of the authority that TLS.Staging means.
const stagingDirectory = "https://acme-staging-v02.api.letsencrypt.org/directory"

// maxEntry is more than any certificate with its chain and key needs.
const maxEntry = 1 << 20

// A Certificate is an entry for a cache of autocert: a certificate with its key, or the
// key of an account.
type Certificate struct {
	CacheDir string // the TLS.CacheDir of the services that it is for; "": ACME.Cache has it
	Key      string // its key in the cache
	Data     []byte

	host    string // "" of an account
	expires time.Time
}

// Replaces reports whether c is worth more than what the cache has under its key.
func (c *Certificate) Replaces(data []byte) bool {
	if c.host == "" {
		return checkAccount(data) != nil
	}
	expires, err := checkCertificate(data, c.host)
	return err != nil || expires.Before(c.expires)
}

// findCertificates finds the certificates of all services, and the accounts.
func (r *reading) findCertificates() {
	for _, s := range r.Services {
		from, ok := r.authorities[s.Service]
		t := s.Deployment.TLS
		if !ok || t.Mode != parachute.TLSAutomatic && t.Mode != parachute.TLSOnDemand {
			continue
		}
		asked := r.directory // from now on
		if t.Staging {
			asked = stagingDirectory
		}
		folders := r.folders(from)
		hosts := s.Deployment.Hosts
		if t.Mode == parachute.TLSOnDemand {
			hosts = namesIn(folders)
		}
		for _, host := range hosts {
			if name, err := hostname.ParsePattern(host); err == nil {
				r.findCertificate(s.Service, name, folders, t.CacheDir, acmecache.Prefix(asked))
			}
		}
		if sameAuthority(from.directory, asked) {
			r.findAccount(s.Service, folders, t.CacheDir, acmecache.Prefix(asked))
		}
	}
}

// folders returns where the certificates of an authority may be: in a folder for that
// authority or, as older versions had it, in one for all of them. What the state names
// may have been moved with the state.
func (r *reading) folders(from authority) (folders []string) {
	directories := []string{from.directory}
	if sameAuthority(from.directory, "") {
		directories = []string{from.directory, "", acme.LetsEncryptURL}
	}
	bases := []string{from.folder, filepath.Join(filepath.Dir(r.path), certsName)}
	add := func(folder string) {
		if filepath.IsAbs(folder) && !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
	}
	for _, base := range bases {
		for _, directory := range directories {
			hash := sha256.Sum256([]byte(directory))
			add(filepath.Join(base, hex.EncodeToString(hash[:])))
		}
	}
	for _, base := range bases {
		add(base)
	}
	return folders
}

// namesIn returns the names that there are certificates for in the folders.
func namesIn(folders []string) (names []string) {
	for _, folder := range folders {
		entries, _ := os.ReadDir(folder) // most of them do not exist
		for _, e := range entries {
			name := strings.TrimSuffix(e.Name(), acmecache.RSASuffix)
			if strings.Contains(name, ".") && hostname.IsName(name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// findCertificate adds the first certificate for host that is sound.
func (r *reading) findCertificate(service, host string, folders []string, cacheDir, prefix string) {
	c := Certificate{CacheDir: cacheDir, Key: prefix + host, host: host}
	if r.has(c) {
		return
	}
	r.find(service, "certificate of "+host, folders, []string{host, host + acmecache.RSASuffix}, func(data []byte) (err error) {
		if c.expires, err = checkCertificate(data, host); err != nil {
			return err
		}
		c.Data = data
		r.Certificates = append(r.Certificates, c)
		return nil
	})
}

// findAccount adds the first key of an account that is sound.
func (r *reading) findAccount(service string, folders []string, cacheDir, prefix string) {
	c := Certificate{CacheDir: cacheDir, Key: prefix + acmecache.AccountKey}
	if r.has(c) {
		return
	}
	r.find(service, "account", folders, []string{acmecache.AccountKey, acmecache.LegacyAccountKey}, func(data []byte) error {
		if err := checkAccount(data); err != nil {
			return err
		}
		c.Data = data
		r.Certificates = append(r.Certificates, c)
		return nil
	})
}

// has reports whether there is one for the same place already.
func (r *reading) has(c Certificate) bool {
	return slices.ContainsFunc(r.Certificates, func(other Certificate) bool {
		return other.CacheDir == c.CacheDir && other.Key == c.Key
	})
}

// find calls take with the content of each file of those names in the folders, until it
// returns nil. It warns of those that cannot be read or taken.
func (r *reading) find(service, what string, folders, names []string, take func(data []byte) error) {
	for _, name := range names {
		for _, folder := range folders {
			path := filepath.Join(folder, name)
			data, err := regular.ReadFileNoFollow(path, maxEntry)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = take(data)
			}
			if err == nil {
				return
			}
			r.warnService(service, "the %s in %s is left out: %v", what, path, err)
		}
	}
}

// checkCertificate returns when the certificate for host expires that autocert has
// written as data, or why it is of no use.
func checkCertificate(data []byte, host string) (expires time.Time, err error) {
	cert, err := tls.X509KeyPair(data, data)
	if err != nil {
		return expires, err
	}
	if err := cert.Leaf.VerifyHostname(host); err != nil {
		return expires, err
	}
	if now := time.Now(); now.After(cert.Leaf.NotAfter) {
		return expires, fmt.Errorf("it has expired on %s", cert.Leaf.NotAfter.Format(time.DateOnly))
	}
	return cert.Leaf.NotAfter, nil
}

// checkAccount returns an error unless data is the key of an account as autocert
// writes it.
func checkAccount(data []byte) error {
	block, _ := pem.Decode(bytes.TrimSpace(data))
	if block == nil || !strings.Contains(block.Type, "PRIVATE KEY") {
		return errors.New("it is not a key in PEM form")
	}
	return nil
}

// sameAuthority reports whether two URLs are of one authority; "" is Let's Encrypt's.
func sameAuthority(a, b string) bool {
	return cmp.Or(a, acme.LetsEncryptURL) == cmp.Or(b, acme.LetsEncryptURL)
}
