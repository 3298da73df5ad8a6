// Package keypair keeps a certificate and its key up to date with the two files,
// in PEM form, that they come from.
//
// A Pair starts no goroutine and sets no timer: Refresh is called as often as a
// change should be noticed, which a Refresher does.
package keypair

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Pair is a certificate, those of its issuers behind it, and its key. Its
// methods may be called from any goroutine.
type Pair struct {
	certFile, keyFile string

	current atomic.Pointer[tls.Certificate] // stored with mu held

	mu   sync.Mutex // guards the fields below; held while the files are read
	seen fileStates // of the files as they were last read
	err  error      // why what was last read is not in use; nil: it is
}

// Load reads a certificate, with those of its issuers behind it, and its key.
// It returns an error that names the file and what would be right in its place
// unless both are well-formed, fit each other, and the certificate is valid
// now. Whom it is for is not looked at: see Covers.
func Load(certFile, keyFile string) (*Pair, error) {
	p := &Pair{certFile: certFile, keyFile: keyFile}
	p.seen = p.stat()
	cert, err := read(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	if err := p.checkDates(cert.Leaf); err != nil {
		return nil, err
	}
	p.current.Store(cert)
	return p, nil
}

// Certificate returns what is in use, with its Leaf set. It never waits, and
// what it returns must not be modified.
func (p *Pair) Certificate() *tls.Certificate { return p.current.Load() }

// Covers returns nil if the certificate in use is for host: a name, an IP
// address, or a wildcard such as "*.example.com", which the certificate must
// have as it is. Otherwise the error says whom the certificate is for.
func (p *Pair) Covers(host string) error { return p.covers(p.Certificate().Leaf, host) }

// Refresh takes the files into use if they have changed, are as Load wants
// them, and cover each of hosts, as Covers says; changed is then true. In every
// other case what was in use stays, also when it expires: nothing better is
// there. While the files are what is in use, Refresh costs a stat of each.
//
// Files that cannot be used are read again by every Refresh, until they can: no
// caller has to do anything for that. Two files that are replaced one after the
// other may so be found not to fit, and to fit the next time. The error says
// what is wrong, once: as long as the same is wrong, the calls that follow
// return no error. It is returned again if something else was wrong in between,
// or nothing.
func (p *Pair) Refresh(hosts []string) (changed bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.stat()
	if p.err == nil && now.equal(p.seen) {
		return false, nil
	}
	told := p.err
	p.seen = now
	changed, p.err = p.replaceLocked(hosts)
	if p.err != nil && told != nil && p.err.Error() == told.Error() {
		return false, nil
	}
	return changed, p.err
}

// Err returns why the files, as the last Refresh found them, are not in use, or
// nil if they are. It waits for a Refresh that is under way.
func (p *Pair) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *Pair) replaceLocked(hosts []string) (changed bool, err error) {
	cert, err := read(p.certFile, p.keyFile)
	if err != nil {
		return false, err
	}
	// What is in use already is not asked again whether it may be.
	if slices.EqualFunc(cert.Certificate, p.Certificate().Certificate, bytes.Equal) {
		return false, nil
	}
	if err := p.checkDates(cert.Leaf); err != nil {
		return false, err
	}
	for _, host := range hosts {
		if err := p.covers(cert.Leaf, host); err != nil {
			return false, err
		}
	}
	p.current.Store(cert)
	return true, nil
}

func (p *Pair) checkDates(leaf *x509.Certificate) error {
	switch now := time.Now(); {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate in %s has expired at %s: want one that is valid now",
			p.certFile, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the certificate in %s is not valid before %s: want one that is valid now, and the clock of this machine set right",
			p.certFile, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

func (p *Pair) covers(leaf *x509.Certificate, host string) error {
	if leaf.VerifyHostname(host) == nil {
		return nil
	}
	const most = 10 // are listed
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	list := strings.Join(names[:min(len(names), most)], ", ")
	switch {
	case len(names) == 0:
		list = "no name at all (a common name does not count)"
	case len(names) > most:
		list += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return fmt.Errorf("the certificate in %s does not cover %s: it covers %s", p.certFile, host, list)
}

// fileStates tell one state of the two files from another without reading them. A
// nil one is not known.
type fileStates struct{ cert, key fs.FileInfo }

func (p *Pair) stat() fileStates { return fileStates{statSettled(p.certFile), statSettled(p.keyFile)} }

// settleTime is how long ago a file was modified for its mark to be of use. Some
// file systems keep times to two seconds, so within them a file may change once
// more and look the same.
const settleTime = 2 * time.Second

// statSettled follows symbolic links: one that is switched has a file of another inode
// at its end.
func statSettled(name string) fs.FileInfo {
	info, err := os.Stat(name)
	if err != nil || time.Since(info.ModTime()).Abs() <= settleTime {
		return nil
	}
	return info
}

func (m fileStates) equal(as fileStates) bool {
	return sameFile(m.cert, as.cert) && sameFile(m.key, as.key)
}

func sameFile(a, b fs.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
