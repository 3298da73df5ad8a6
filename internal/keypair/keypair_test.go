package keypair_test

import (
	"crypto/x509"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/keypair"
)

func TestCoversIsAsTheCertificateSays(t *testing.T) {
	key := newKey(t)
	f := newFolder(t)
	f.writePair(issue(t, key, func(c *x509.Certificate) {
		c.DNSNames = []string{"a.example.com", "*.example.org", "xn--bcher-kva.example"}
		c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1), net.ParseIP("2001:db8::1")}
	}), pkcs8(t, key), time.Hour)
	p := f.load()
	tests := []struct {
		host string
		want bool
	}{
		{"a.example.com", true},
		{"A.Example.COM", true},
		{"b.example.com", false},
		{"*.example.com", false},
		{"b.example.org", true},
		{"*.example.org", true},
		{"*.EXAMPLE.org", true},
		{"example.org", false},
		{"b.c.example.org", false},
		{"*.b.example.org", false},
		{"*", false},
		{"*.org", false},
		{"xn--bcher-kva.example", true},
		{"192.0.2.1", true},
		{"192.0.2.2", false},
		{"2001:db8::1", true},
		{"[2001:db8::1]", true},
		{"2001:db8::2", false},
	}
	for _, tt := range tests {
		t.Run(tt.host, func(t *testing.T) {
			is := is.New(t)
			err := p.Covers(tt.host)
			is.Equal(err == nil, tt.want)
			if err != nil {
				is.Equal(err.Error(), "the certificate in "+f.cert+" does not cover "+tt.host+
					": it covers a.example.com, *.example.org, xn--bcher-kva.example, 192.0.2.1, 2001:db8::1")
			}
		})
	}
}

func TestCoversListsNamesWithinReason(t *testing.T) {
	key := newKey(t)
	f := newFolder(t)
	tests := []struct {
		name  string
		names []string
		want  string
	}{
		{"none", nil, ": it covers no name at all (a common name does not count)"},
		{"ten", strings.Split("a b c d e f g h i j", " "), ": it covers a, b, c, d, e, f, g, h, i, j"},
		{"more", strings.Split("a b c d e f g h i j k l", " "), ": it covers a, b, c, d, e, f, g, h, i, j and 2 more"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			f.writePair(issue(t, key, func(c *x509.Certificate) { c.DNSNames = tt.names }), pkcs8(t, key), time.Hour)
			err := f.load().Covers("a.example.com")
			is.True(err != nil)
			is.True(strings.HasSuffix(err.Error(), tt.want)) // the end of the message
		})
	}
}

func TestLoadRefusesAPairThatDoesNotCoverAllHosts(t *testing.T) {
	is := is.New(t)
	key := newKey(t)
	f := newFolder(t)
	f.writePair(issue(t, key, func(c *x509.Certificate) { c.DNSNames = []string{"a.test", "b.test"} }), pkcs8(t, key), time.Hour)
	p, err := keypair.Load(f.cert, f.key, "a.test", "b.test")
	is.NoErr(err)
	is.NoErr(p.Covers("b.test"))
	p, err = keypair.Load(f.cert, f.key, "a.test", "c.test")
	is.True(err != nil)
	is.Equal(err.Error(), "the certificate in "+f.cert+" does not cover c.test: it covers a.test, b.test")
	is.True(p == nil)
}

func TestRefreshTakesAChangedPairIntoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f, _, p := inUse(t)
		first := p.Certificate()
		changed, err := p.Refresh([]string{"a.example.com"})
		is.NoErr(err)
		is.True(!changed) // nothing has happened yet

		renewed := newKey(t)
		f.writePair(issue(t, renewed, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(2) }), pkcs8(t, renewed), time.Minute)
		changed, err = p.Refresh([]string{"a.example.com"})
		is.NoErr(err)
		is.True(changed)
		is.True(p.Certificate() != first)
		is.Equal(p.Certificate().Leaf.SerialNumber.Int64(), int64(2))
		is.Equal(p.Certificate().PrivateKey, renewed)

		changed, err = p.Refresh([]string{"a.example.com"})
		is.NoErr(err)
		is.True(!changed) // it is told once
	})
}

func TestRefreshReadsNoFileThatSeemsUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f, key, p := inUse(t)
		next := newKey(t)
		cert := issue(t, next, nil)
		is.Equal(len(issue(t, key, nil)), len(cert)) // so their sizes tell nothing
		f.write(f.cert, make([]byte, len(cert)), time.Hour)
		_, err := p.Refresh(nil)
		is.NoErr(err) // what is in the file now would be an error

		f.writePair(cert, pkcs8(t, next), time.Minute)
		changed, err := p.Refresh(nil)
		is.NoErr(err)
		is.True(changed) // by another time of modification alone
		f.write(f.cert, make([]byte, len(cert)), time.Minute)
		_, err = p.Refresh(nil)
		is.NoErr(err)
	})
}

// A second change may have the time of the first, where times are kept coarsely.
func TestRefreshTrustsNoTimeThatIsJustNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := newFolder(t)
		key := newKey(t)
		f.writePair(issue(t, key, nil), pkcs8(t, key), 0)
		p := f.load()
		f.write(f.cert, issue(t, key, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(2) }), 0)
		changed, err := p.Refresh(nil)
		is.NoErr(err)
		is.True(changed)
		changed, err = p.Refresh(nil)
		is.NoErr(err)
		is.True(!changed) // it was read again, but is what is in use
	})
}

// So do certbot and Kubernetes replace both files at once.
func TestRefreshNoticesASymbolicLinkThatIsSwitched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := t.TempDir()
		current := filepath.Join(dir, "current")
		for _, version := range []string{"v1", "v2"} {
			is.NoErr(os.Mkdir(filepath.Join(dir, version), 0o700))
			key := newKey(t)
			f := folder{t, filepath.Join(dir, version, "web.pem"), filepath.Join(dir, version, "web.key")}
			f.writePair(issue(t, key, nil), pkcs8(t, key), time.Hour)
		}
		is.NoErr(os.Symlink("v1", current))
		f := folder{t, filepath.Join(current, "web.pem"), filepath.Join(current, "web.key")}
		p := f.load()
		is.NoErr(os.Symlink("v2", current+".new"))
		is.NoErr(os.Rename(current+".new", current))
		changed, err := p.Refresh([]string{"a.example.com"})
		is.NoErr(err)
		is.True(changed) // though time and size are the same
	})
}

func TestRefreshMendsItselfWhenFilesAreReplacedOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f, _, p := inUse(t)
		first, next := p.Certificate(), newKey(t)

		f.write(f.cert, issue(t, next, nil), time.Minute)
		_, err := p.Refresh(nil)
		is.True(err != nil)
		is.Equal(p.Certificate(), first)
		is.Equal(p.Err(), err)

		f.write(f.key, pkcs8(t, next), time.Minute)
		changed, err := p.Refresh(nil)
		is.NoErr(err)
		is.True(changed)
		is.NoErr(p.Err())
	})
}

func TestRefreshTellsEachFailureOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f, key, p := inUse(t)
		first := p.Certificate()
		good, err := os.ReadFile(f.cert)
		is.NoErr(err)
		expired := issue(t, key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) })

		const missing, outdated = " does not exist: ", " has expired at "
		steps := []struct {
			cert []byte // nil: there is no file
			ago  time.Duration
			want string // in the error; empty: none is returned
			err  string // in Err
		}{
			{good, time.Hour, "", ""},
			{nil, 0, missing, missing},
			{nil, 0, "", missing},
			{expired, time.Minute, outdated, outdated},
			{expired, time.Second, "", outdated}, // the file has changed, but what is wrong has not
			{nil, 0, missing, missing},
			{good, time.Minute, "", ""},
			{nil, 0, missing, missing}, // it was well in between
		}
		for i, step := range steps {
			os.Remove(f.cert)
			if step.cert != nil {
				f.write(f.cert, step.cert, step.ago)
			}
			changed, err := p.Refresh(nil)
			if !contains(err, step.want) || !contains(p.Err(), step.err) {
				t.Errorf("step %d: Refresh returned %v, Err %v", i, err, p.Err())
			}
			is.True(!changed)
			is.Equal(p.Certificate(), first)
		}
	})
}

// contains reports whether err has text in it, or is nil if there is none.
func contains(err error, text string) bool {
	if err == nil || text == "" {
		return err == nil && text == ""
	}
	return strings.Contains(err.Error(), text)
}

func TestRefreshTriesAgainWithoutAChangeOfTheFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f, key, p := inUse(t)
		f.write(f.cert, issue(t, key, func(c *x509.Certificate) {
			c.DNSNames = []string{"b.example.com"}
			c.NotBefore = time.Now().Add(time.Hour)
		}), time.Minute)
		_, err := p.Refresh([]string{"a.example.com"})
		is.True(contains(err, " is not valid before "))
		time.Sleep(time.Hour)
		_, err = p.Refresh([]string{"b.example.com", "a.example.com"})
		is.True(contains(err, " does not cover a.example.com: it covers b.example.com"))
		changed, err := p.Refresh([]string{"b.example.com"})
		is.NoErr(err)
		is.True(changed)
	})
}

func TestPairThatExpiresStaysInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f, _, p := inUse(t)
		first := p.Certificate()
		time.Sleep(48 * time.Hour)
		for range 2 {
			changed, err := p.Refresh([]string{"a.example.com"})
			is.NoErr(err)
			is.True(!changed)
			is.Equal(p.Certificate(), first)
			is.NoErr(os.Chtimes(f.cert, time.Time{}, time.Now().Add(-time.Minute))) // it is the same all the same
		}
	})
}

func TestPairIsUsedWhileItIsRefreshed(t *testing.T) {
	is := is.New(t)
	f, _, p := inUse(t)
	done := make(chan struct{})
	var users sync.WaitGroup
	defer users.Wait()
	defer close(done)
	for range 2 {
		users.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					if p.Certificate().Leaf == nil || p.Covers("a.example.com") != nil {
						t.Error("a certificate that covers nothing was in use")
						return
					}
					p.Err()
				}
			}
		})
	}
	for i := range 20 {
		next := newKey(t)
		f.writePair(issue(t, next, nil), pkcs8(t, next), time.Duration(i)*time.Minute)
		changed, err := p.Refresh([]string{"a.example.com"})
		is.NoErr(err)
		is.True(changed)
	}
}
