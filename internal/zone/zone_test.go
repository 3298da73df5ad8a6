package zone_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/zone"
)

// newDNS returns a DNS with a zone, one below that, and another, and who finds them.
func newDNS() (*proxytest.DNS, *zone.Finder) {
	d := new(proxytest.DNS)
	d.Zone("example.com", "192.0.2.1", "192.0.2.2")
	d.Zone("sub.example.com", "192.0.2.3")
	d.Zone("elsewhere.test", "203.0.113.1")
	return d, &zone.Finder{Resolvers: []string{proxytest.Resolver}, Dial: d.Dial}
}

func TestPlaceIsTheZoneOfWhatANameLeadsTo(t *testing.T) {
	for name, want := range map[string]zone.Place{
		"_acme-challenge.example.com":     {Name: "_acme-challenge.example.com", Zone: "example.com", Servers: []string{"192.0.2.1:53", "192.0.2.2:53"}},
		"_acme-challenge.www.example.com": {Name: "_acme-challenge.www.example.com", Zone: "example.com", Servers: []string{"192.0.2.1:53", "192.0.2.2:53"}},
		"_acme-challenge.sub.example.com": {Name: "_acme-challenge.sub.example.com", Zone: "sub.example.com", Servers: []string{"192.0.2.3:53"}},
		"example.com.":                    {Name: "example.com", Zone: "example.com", Servers: []string{"192.0.2.1:53", "192.0.2.2:53"}},
		"one.example.com":                 {Name: "three.elsewhere.test", Zone: "elsewhere.test", Servers: []string{"203.0.113.1:53"}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			d, f := newDNS()
			d.Alias("one.example.com", "two.sub.example.com")
			d.Alias("two.sub.example.com", "three.elsewhere.test")
			place, err := f.Find(t.Context(), name)
			is.NoErr(err)
			is.Equal(place, want)
		})
	}
}

func TestNameThatLeadsRoundInACircleHasNoPlace(t *testing.T) {
	is := is.New(t)
	d, f := newDNS()
	d.Alias("one.example.com", "two.example.com")
	d.Alias("two.example.com", "one.example.com")
	_, err := f.Find(t.Context(), "one.example.com")
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "more than 8 CNAME records"))
}

func TestNameOutsideEveryZoneHasNoPlace(t *testing.T) {
	is := is.New(t)
	_, f := newDNS()
	place, err := f.Find(t.Context(), "_acme-challenge.example.org")
	is.True(err != nil)
	is.Equal(err.Error(), "_acme-challenge.example.org: no zone of it is known")
	is.Equal(place, zone.Place{Name: "_acme-challenge.example.org"})
}

func TestZoneWhoseServersAreNotToBeFoundIsAnError(t *testing.T) {
	is := is.New(t)
	d, f := newDNS()
	d.Zone("lost.example.com") // is delegated to nobody
	place, err := f.Find(t.Context(), "a.lost.example.com")
	is.True(err != nil)
	is.Equal(err.Error(), "zone lost.example.com: no address of its servers is known")
	is.Equal(len(place.Servers), 0)
}

// A server of the zone that is asked first is one of those that have to have a record,
// whether or not the others can be found.
func TestResolverThatHasTheZoneItselfIsAServerOfIt(t *testing.T) {
	is := is.New(t)
	d, f := newDNS()
	f.Resolvers = []string{"203.0.113.1:53", proxytest.Resolver}
	place, err := f.Find(t.Context(), "a.elsewhere.test")
	is.NoErr(err)
	is.Equal(place.Servers, []string{"203.0.113.1:53"})
	d.Alias("a.example.com", "a.elsewhere.test") // which that one refuses to say
	place, err = f.Find(t.Context(), "a.example.com")
	is.NoErr(err)
	is.Equal(place, zone.Place{Name: "a.elsewhere.test", Zone: "elsewhere.test", Servers: []string{"203.0.113.1:53"}})
}

func TestNextResolverIsAskedWhereOneDoesNotAnswer(t *testing.T) {
	is := is.New(t)
	d, f := newDNS()
	f.Resolvers = []string{"203.0.113.9:53", proxytest.Resolver} // the first refuses
	_, err := f.Find(t.Context(), "a.example.com")
	is.NoErr(err)
	d.Silence("203.0.113.9:53", true)
	_, err = f.Find(t.Context(), "a.example.com")
	is.NoErr(err)
}

func TestTXTRecordsAreThoseOfTheServerThatIsAsked(t *testing.T) {
	is := is.New(t)
	d, f := newDNS()
	is.NoErr(d.Present(t.Context(), "a.example.com", "one"))
	is.NoErr(d.Present(t.Context(), "a.example.com", "two"))
	d.Lag("192.0.2.2:53", 1<<40)
	texts, err := f.TXT(t.Context(), "192.0.2.1:53", "a.example.com")
	is.NoErr(err)
	is.Equal(texts, []string{"one", "two"})
	texts, err = f.TXT(t.Context(), "192.0.2.2:53", "a.example.com")
	is.NoErr(err)
	is.Equal(len(texts), 0)
	_, err = f.TXT(t.Context(), "203.0.113.1:53", "a.example.com") // has another zone
	is.True(err != nil)
	is.Equal(err.Error(), "203.0.113.1:53: it answered Refused about a.example.com")
	_, err = f.TXT(t.Context(), proxytest.Resolver, "a.example.com") // remembers what it was told
	is.True(err != nil)
	is.Equal(err.Error(), proxytest.Resolver+": it has no authority over a.example.com")
}

func TestNameThatIsTooLongIsAnError(t *testing.T) {
	is := is.New(t)
	_, f := newDNS()
	_, err := f.Find(t.Context(), strings.Repeat("a.", 200)+"example.com")
	is.True(err != nil)
}

// Whatever a server sends, it is an answer or an error, and the search ends.
func FuzzAnswer(f *testing.F) {
	d, _ := newDNS()
	d.Alias("a.example.com", "b.elsewhere.test")
	if err := d.Present(context.Background(), "b.elsewhere.test", "value"); err != nil {
		f.Fatal(err)
	}
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeCNAME, dnsmessage.TypeSOA, dnsmessage.TypeNS, dnsmessage.TypeTXT} {
		query := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("a.example.com."), Type: kind, Class: dnsmessage.ClassINET}}}
		packed, err := query.Pack()
		if err != nil {
			f.Fatal(err)
		}
		answer, err := d.Answer(proxytest.Resolver, packed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(answer)
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		if len(answer) < 2 || len(answer) > 1<<15 {
			return
		}
		finder := &zone.Finder{Resolvers: []string{"192.0.2.9:53"}, Dial: func(_ context.Context, network, address string) (net.Conn, error) {
			if network != "tcp" || address != "192.0.2.9:53" {
				return nil, errors.New("out of reach")
			}
			client, server := net.Pipe()
			go reply(server, answer)
			return client, nil
		}}
		place, err := finder.Find(t.Context(), "a.example.com")
		if (err == nil) != (len(place.Servers) > 0) {
			t.Errorf("%+v, %v", place, err)
		}
		finder.TXT(t.Context(), "192.0.2.9:53", "a.example.com")
	})
}

// reply answers one query with an answer that has its number.
func reply(conn net.Conn, answer []byte) {
	defer conn.Close()
	query := make([]byte, 512)
	if _, err := conn.Read(query); err != nil {
		return
	}
	answer = slices.Clone(answer)
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(answer)))
	copy(answer, query[2:4])
	conn.Write(append(framed, answer...))
}
