// Package trust says which certificates of a server are accepted.
package trust

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"path/filepath"

	"github.com/shahnk19/parachute/internal/regular"
)

// Settings say which certificates are accepted. The zero Settings are for servers
// without any.
type Settings struct {
	Config   *tls.Config
	Identity Identity // of Config, to be compared
}

// An Identity is all that decides which certificates are accepted: equal ones accept
// the same.
type Identity struct {
	serverName  string
	insecure    bool
	authorities [sha256.Size]byte // of the file with them; zero: there is none
}

// maxFile bounds the size of a file. One with all public authorities has some two
// hundred thousand bytes.
const maxFile = 4 << 20

// Check returns an error if Load would be of no use with a file and insecure. It does
// not read the file.
func Check(file string, insecure bool) error {
	switch {
	case file == "":
		return nil
	case !filepath.IsAbs(file):
		return fmt.Errorf("target CA %q: want an absolute path", file)
	case insecure:
		return fmt.Errorf("target CA %s: it is of no use where targets are not verified", file)
	}
	return nil
}

// Load returns the Settings by which a certificate must be for serverName ("": the
// host that was connected to), and vouched for by one of the authorities in a file, in
// PEM form ("": those of the system). If insecure is set, any certificate is accepted.
func Load(file, serverName string, insecure bool) (Settings, error) {
	s := Settings{
		Config:   &tls.Config{ServerName: serverName, InsecureSkipVerify: insecure},
		Identity: Identity{serverName: serverName, insecure: insecure},
	}
	if file == "" {
		return s, nil
	}
	pem, err := regular.ReadFile(file, maxFile)
	if err != nil {
		return s, err
	}
	s.Config.RootCAs = x509.NewCertPool()
	if !s.Config.RootCAs.AppendCertsFromPEM(pem) {
		return s, fmt.Errorf("%s has no certificate in PEM form", file)
	}
	s.Identity.authorities = sha256.Sum256(pem)
	return s, nil
}
