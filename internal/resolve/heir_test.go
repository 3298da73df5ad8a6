package resolve_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
)

func TestNameThatFollowsKnowsWhatTheOtherOneIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, []string{"10.0.0.1"}, "10.0.0.1", "10.0.0.2")
		b.wantDial(t, "10.0.0.1", 0)
		heir := b.Heir()
		defer heir.Close()
		old, latest := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
		is.True(heir.IsCurrent(old)) // what it inherits
		b.server.says("10.0.0.2")
		time.Sleep(time.Second)
		b.wantDial(t, "10.0.0.2", 0)
		is.True(heir.IsCurrent(old) && !heir.IsCurrent(latest))
		heir.Follow(b.Name)
		is.True(heir.IsCurrent(latest) && !heir.IsCurrent(old))

		b.server.says("10.0.0.1")
		time.Sleep(time.Second)
		addrs, err := heir.LookUp(t.Context())
		is.NoErr(err)
		is.Equal(addrs, []netip.Addr{old})
		heir.Follow(b.Name)
		is.True(heir.IsCurrent(old)) // for what the other one knows is older
	})
}

func TestNameThatFollowsDoesNotAskWhatIsBeingAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, []string{"10.0.0.1"}, "10.0.0.1", "10.0.0.2")
		b.wantDial(t, "10.0.0.1", 0)
		heir := b.Heir()
		b.server.takes = 500 * time.Millisecond
		b.server.says("10.0.0.2")
		b.wantDial(t, "10.0.0.1", 100*time.Millisecond) // the look-up goes on
		heir.Follow(b.Name)
		begin := time.Now()
		addrs, err := heir.LookUp(t.Context())
		is.NoErr(err)
		is.Equal(addrs, []netip.Addr{netip.MustParseAddr("10.0.0.1")})
		is.Equal(time.Since(begin), time.Duration(0)) // it has been waited for as long as one does
		heir.Follow(b.Name)
		time.Sleep(time.Second)
		is.Equal(b.server.asked, 2)
		is.True(heir.IsCurrent(netip.MustParseAddr("10.0.0.2"))) // it was told, too

		b.server.fails(nil)
		go b.dial(t.Context())
		synctest.Wait()
		heir.Follow(b.Name)
		heir.Close() // ends nothing of the other one's
		b.wantDial(t, "10.0.0.2", 100*time.Millisecond)
		is.Equal(b.server.asked, 3) // that is still under way
	})
}

func TestNameThatFollowsOneThatIsClosedGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, []string{"10.0.0.1"}, "10.0.0.1")
		b.wantDial(t, "10.0.0.1", 0)
		heir := b.Heir()
		defer heir.Close()
		b.server.fails(nil)
		go b.dial(t.Context())
		synctest.Wait()
		heir.Follow(b.Name)
		b.Close() // and its look-up with it
		is.True(heir.IsCurrent(netip.MustParseAddr("10.0.0.1")))
		b.server.says("10.0.0.1")
		addrs, err := heir.LookUp(t.Context())
		is.NoErr(err)
		is.Equal(addrs, []netip.Addr{netip.MustParseAddr("10.0.0.1")})
		is.Equal(b.server.asked, 3)
	})
}
