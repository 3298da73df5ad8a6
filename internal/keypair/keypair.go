// Package keypair loads a certificate and its key from two PEM files, and loads them
// again when the files change.
//
// A Pair looks at its files only when Refresh is called, as a Refresher does.
package keypair

import (
	"bytes"
	"cmp"
	"context"
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

// A Pair is a certificate, with those of its issuers, and its key. Its methods may be
// called from any goroutine.
type Pair struct {
	certFile, keyFile string

	current atomic.Pointer[tls.Certificate] // stored with mu held; nil: there was none yet
	there   chan struct{}                   // closed when there is one

	mu   sync.Mutex // guards the fields below; held while the files are read
	seen fileStates // the state of the files that were read last
	err  error      // why the files that were read last are not in use; nil: they are
}

// Load reads a certificate, followed by those of its issuers, and its key. It returns
// an error that names the file and says what should be there, unless both files are
// well-formed, the key belongs to the certificate, and the certificate is valid now and,
// as Covers says, for all hosts.
func Load(certFile, keyFile string, hosts ...string) (*Pair, error) {
	p, err := Open(certFile, keyFile, hosts...)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Open is Load for files that were in use before. Together with an error it returns a Pair
// too: with the certificate, if only its dates are wrong, or else without one until a
// Refresh finds files that can be used, as when they were being replaced.
func Open(certFile, keyFile string, hosts ...string) (*Pair, error) {
	p := &Pair{certFile: certFile, keyFile: keyFile, there: make(chan struct{})}
	_, err := p.Refresh(hosts)
	if err == nil {
		return p, nil
	}
	if cert, readErr := read(certFile, keyFile); readErr == nil && p.coverAll(cert.Leaf, hosts) == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.useLocked(cert)
	}
	return p, err
}

// Certificate returns the certificate in use, with its Leaf set, or nil if there was none
// yet. It never waits. The result must not be modified.
func (p *Pair) Certificate() *tls.Certificate { return p.current.Load() }

// Await returns the certificate in use, as soon as there is one. If there is none by the
// end of ctx, it returns why.
func (p *Pair) Await(ctx context.Context) (*tls.Certificate, error) {
	select {
	case <-p.there:
		return p.Certificate(), nil
	case <-ctx.Done():
		return nil, cmp.Or(p.Err(), ctx.Err())
	}
}

// Covers returns nil if the certificate in use, which must be there, is valid for host: a
// name, an IP address, or a wildcard such as "*.example.com", which the certificate must
// name literally. Otherwise the error says which hosts it is for.
func (p *Pair) Covers(host string) error { return p.covers(p.Certificate().Leaf, host) }

// Refresh loads the files again if they have changed. If they are valid, as for Load,
// and cover each of hosts, they replace the certificate in use, and changed is true.
// Otherwise the certificate in use stays, even after it expires. If the files have not
// changed, Refresh costs a stat of each.
//
// Files that cannot be used are read again by every Refresh. So two files that are
// replaced one after the other may not fit each other at first, and fit at the next
// call. Refresh returns an error once, and nil as long as the following calls find the
// same error. It returns it again if there was another error, or none, in between.
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

// Err returns why the files that the last Refresh found are not in use, or nil if they
// are. It waits for a Refresh that is running.
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
	inUse := p.Certificate()
	// The certificate in use is not checked again: it may have expired.
	if inUse != nil && slices.EqualFunc(cert.Certificate, inUse.Certificate, bytes.Equal) {
		return false, nil
	}
	if err := p.checkDates(cert.Leaf); err != nil {
		return false, err
	}
	if err := p.coverAll(cert.Leaf, hosts); err != nil {
		return false, err
	}
	p.useLocked(cert)
	return true, nil
}

func (p *Pair) useLocked(cert *tls.Certificate) {
	if p.current.Swap(cert) == nil {
		close(p.there)
	}
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

func (p *Pair) coverAll(leaf *x509.Certificate, hosts []string) error {
	for _, host := range hosts {
		if err := p.covers(leaf, host); err != nil {
			return err
		}
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

// fileStates are the states of the two files, by which a change is noticed without
// reading them. A nil one is unknown, and equal to none.
type fileStates struct{ cert, key fs.FileInfo }

func (p *Pair) stat() fileStates { return fileStates{statSettled(p.certFile), statSettled(p.keyFile)} }

// settleTime is how long ago a file must have been modified for its state to count. Some
// file systems have a resolution of two seconds, within which a file may change again
// without a new time.
const settleTime = 2 * time.Second

// statSettled returns the state of a file, or nil if it was modified too recently or cannot
// be read. It follows symbolic links, so that a link to another file is noticed.
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
