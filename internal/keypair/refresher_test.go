package keypair_test

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/keypair"
)

// A telling is what a Refresher has told, in sentences.
type telling []string

func (l *telling) notify(host string, err error) { *l = append(*l, fmt.Sprint(host, " ", err)) }

var both = []string{"a.example.com", "b.example.com"}

// refreshed returns a pair for both hosts that a Refresher refreshes, which tells
// of it in the telling.
func refreshed(t *testing.T) (folder, *keypair.Pair, *keypair.Refresher, *telling) {
	t.Helper()
	f := newFolder(t)
	f.renew()
	p, told := f.load(), new(telling)
	r := keypair.NewRefresher(told.notify)
	r.Add(p, both)
	return f, p, r, told
}

// renew replaces both files with a new certificate for both hosts.
func (f folder) renew() {
	f.t.Helper()
	key := newKey(f.t)
	f.writePair(issue(f.t, key, func(c *x509.Certificate) { c.DNSNames = both }), pkcs8(f.t, key), 0)
}

func TestRefresherTakesReplacedFilesIntoUseWithinFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f, p, r, told := refreshed(t)
		defer r.Close()
		time.Sleep(7 * time.Second)
		synctest.Wait()
		is.Equal(len(*told), 0) // nothing has changed
		first := p.Certificate()
		f.renew()
		time.Sleep(3*time.Second - 1)
		synctest.Wait()
		is.True(p.Certificate() == first)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		is.True(p.Certificate() != first)
		is.Equal([]string(*told), []string{"a.example.com <nil>", "b.example.com <nil>"})
	})
}

func TestRefresherTellsOfEachHostWhyFilesAreNotInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f, p, r, told := refreshed(t)
		defer r.Close()
		first := p.Certificate()
		f.write(f.cert, nil, 0)
		time.Sleep(12 * time.Second)
		synctest.Wait()
		is.True(p.Certificate() == first)
		is.Equal([]string(*told), []string{ // once
			"a.example.com " + p.Err().Error(),
			"b.example.com " + p.Err().Error(),
		})
	})
}

func TestRefresherForgetsWhatIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f, p, r, told := refreshed(t)
		defer r.Close()
		r.Remove(p)
		first := p.Certificate()
		f.renew()
		time.Sleep(time.Minute)
		synctest.Wait()
		is.True(p.Certificate() == first)
		is.Equal(len(*told), 0)
		r.Add(p, both) // again, by another version
		time.Sleep(5 * time.Second)
		synctest.Wait()
		is.True(p.Certificate() != first)
	})
}

// That nothing runs any more shows in that the bubble ends.
func TestClosedRefresherRefreshesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f, p, r, told := refreshed(t)
		r.Close()
		r.Close()
		first := p.Certificate()
		f.renew()
		r.Add(p, both)
		time.Sleep(time.Minute)
		synctest.Wait()
		is.True(p.Certificate() == first)
		is.Equal(len(*told), 0)
	})
}

func TestCloseReturnsWhenNothingIsToldAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := newFolder(t)
		f.renew()
		var told bool
		r := keypair.NewRefresher(func(string, error) { time.Sleep(time.Hour); told = true })
		r.Add(f.load(), both[:1])
		f.renew()
		time.Sleep(6 * time.Second) // it is being told
		r.Close()
		is.True(told)
	})
}

func TestRefresherThatHasNothingToDoNeedNotBeClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keypair.NewRefresher(func(string, error) {}) // or the bubble would not end
	})
}

func TestSourceOfFilesHasThePairThatIsInUse(t *testing.T) {
	is := is.New(t)
	f, _, pair := inUse(t)
	r := keypair.NewRefresher(func(string, error) {})
	defer r.Close()
	s := r.Source(pair, []string{"a.example.com"})
	defer s.Release()
	is.True(s.Certificate("a.example.com") == pair.Certificate())
	is.True(s.Expects(t.Context(), "a.example.com", netip.Addr{}))
	awaited, err := s.Await(t.Context(), "a.example.com", netip.Addr{})
	is.NoErr(err)
	is.True(awaited == pair.Certificate())
	f.write(f.key, []byte("no key"), 0)
	_, err = pair.Refresh([]string{"a.example.com"})
	for host, known := range s.Known("a.example.com") {
		is.Equal(host, "a.example.com")
		is.True(known.Certificate == pair.Certificate())
		is.Equal(known.Err, err) // and it is not nil
		is.True(known.Err != nil)
	}
}
