package issuer

import (
	"cmp"
	"fmt"
	"path/filepath"
)

// The modes of Settings.
const (
	Inherit   = ""          // as another service of the host says
	Off       = "off"       // there is no TLS
	Automatic = "automatic" // certificates are obtained beforehand
	Files     = "files"     // certificates are read from files
	OnDemand  = "on-demand" // certificates are obtained at the first visit to a name
)

// Settings say how the hosts of a service are served over TLS. M is the type of a mode.
type Settings[M ~string] struct {
	Mode       M
	Staging    bool
	CacheDir   string
	CertFile   string
	KeyFile    string
	AskURL     string
	NoRedirect bool
	Wait       bool
}

// Check returns nil if hosts, in canonical form, can be served as s says. Otherwise the
// error says what would be right.
func (s Settings[M]) Check(hosts []string) error {
	switch s.Mode {
	case Inherit, Off:
		bare := Settings[M]{Mode: s.Mode}
		if s != bare {
			return fmt.Errorf("TLS settings with TLS mode %q: they are of no use unless it is %q, %q or %q", s.Mode, Automatic, Files, OnDemand)
		}
		return nil
	case Automatic, Files:
		if len(hosts) == 0 {
			return fmt.Errorf("TLS without a host: name the hosts that the certificates are for")
		}
	case OnDemand:
		if len(hosts) > 0 {
			return fmt.Errorf("TLS on demand with host %s: certificates on demand are for the names of visitors, so name no host, or get those of the hosts automatically", hosts[0])
		}
		if err := CheckAskURL(s.AskURL); err != nil {
			return err
		}
	default:
		return fmt.Errorf("TLS mode %q: want %q, %q, %q or %q", s.Mode, Off, Automatic, Files, OnDemand)
	}
	switch {
	case s.Mode != OnDemand && s.AskURL != "":
		return fmt.Errorf("ask URL %s: it is of use with TLS mode %q alone", s.AskURL, OnDemand)
	case s.Mode != Files && s.CertFile+s.KeyFile != "":
		return fmt.Errorf("certificate file %s: it is of use with TLS mode %q alone", cmp.Or(s.CertFile, s.KeyFile), Files)
	case s.Mode == Files && (s.Staging || s.CacheDir != ""):
		return fmt.Errorf("TLS mode %q asks no authority: leave out what says which, and where to keep what it issues", Files)
	case s.Mode == Files && !(filepath.IsAbs(s.CertFile) && filepath.IsAbs(s.KeyFile)):
		return fmt.Errorf("certificate file %q and key file %q: want an absolute path of each", s.CertFile, s.KeyFile)
	case s.CacheDir != "" && !filepath.IsAbs(s.CacheDir):
		return fmt.Errorf("certificate cache %q: want an absolute path", s.CacheDir)
	case s.Mode != Automatic:
		return nil
	}
	for _, host := range hosts {
		if err := CheckName(host); err != nil {
			return fmt.Errorf("host %s: %w: give its files", host, err)
		}
	}
	return nil
}
