package zone_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/shahnk19/parachute/internal/zone"
)

// answering returns a Finder whose only resolver gives the same answer to whatever it is
// asked.
func answering(t *testing.T, m dnsmessage.Message) *zone.Finder {
	t.Helper()
	m.Response = true
	packed, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return &zone.Finder{Resolvers: []string{"192.0.2.9:53"}, Dial: func(_ context.Context, network, address string) (net.Conn, error) {
		if network != "tcp" || address != "192.0.2.9:53" {
			return nil, net.ErrClosed
		}
		client, server := net.Pipe()
		go reply(server, packed)
		return client, nil
	}}
}

func resource(name string, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET}, Body: body}
}

func alias(name, target string) dnsmessage.Resource {
	return resource(name, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(target)})
}

func TestAliasesOfOneAnswerAreFollowedInWhateverOrder(t *testing.T) {
	is := is.New(t)
	f := answering(t, dnsmessage.Message{
		Header:  dnsmessage.Header{RecursionAvailable: true},
		Answers: []dnsmessage.Resource{alias("C.test.", "D.Zone.test."), alias("b.TEST.", "c.test."), alias("a.test.", "b.test."), alias("x.test.", "y.test.")},
		Authorities: []dnsmessage.Resource{
			resource("zone.test.", &dnsmessage.SOAResource{NS: dnsmessage.MustNewName("ns."), MBox: dnsmessage.MustNewName("mbox.")}),
			resource("Zone.test.", &dnsmessage.NSResource{NS: dnsmessage.MustNewName("NS.elsewhere.test.")}),
			resource("other.test.", &dnsmessage.NSResource{NS: dnsmessage.MustNewName("ns.other.test.")}),
		},
		Additionals: []dnsmessage.Resource{
			resource("ns.elsewhere.test.", &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}}),
			resource("ns.Elsewhere.test.", &dnsmessage.AAAAResource{AAAA: [16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 7}}),
			resource("ns.elsewhere.test.", &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}}), // again
			resource("ns.other.test.", &dnsmessage.AResource{A: [4]byte{192, 0, 2, 8}}),
		},
	})
	place, err := f.Find(t.Context(), "A.test.")
	is.NoErr(err)
	is.Equal(place, zone.Place{Name: "d.zone.test", Zone: "zone.test", Servers: []string{"192.0.2.7:53", "[2001:db8::7]:53"}})
}

func TestAliasesOfOneAnswerThatLeadRoundInACircleEnd(t *testing.T) {
	is := is.New(t)
	f := answering(t, dnsmessage.Message{Answers: []dnsmessage.Resource{alias("a.test.", "b.test."), alias("b.test.", "a.test.")}})
	_, err := f.Find(t.Context(), "a.test")
	is.True(err != nil)
}

func TestZoneIsNoneThatTheNameIsNotIn(t *testing.T) {
	for _, zoneName := range []string{"other.test.", "est.", ".", "a.b.test."} {
		is := is.New(t)
		f := answering(t, dnsmessage.Message{Header: dnsmessage.Header{RecursionAvailable: true}, Authorities: []dnsmessage.Resource{
			resource(zoneName, &dnsmessage.SOAResource{NS: dnsmessage.MustNewName("ns."), MBox: dnsmessage.MustNewName("mbox.")}),
		}})
		_, err := f.Find(t.Context(), "b.test")
		is.True(err != nil) // zoneName
		is.Equal(err.Error(), "b.test: no zone of it is known")
	}
}

func TestServersOfAZoneAreBounded(t *testing.T) {
	is := is.New(t)
	m := dnsmessage.Message{
		Answers:     []dnsmessage.Resource{resource("test.", &dnsmessage.NSResource{NS: dnsmessage.MustNewName("ns.test.")})},
		Authorities: []dnsmessage.Resource{resource("test.", &dnsmessage.SOAResource{NS: dnsmessage.MustNewName("ns."), MBox: dnsmessage.MustNewName("mbox.")})},
	}
	for k := range byte(40) {
		m.Additionals = append(m.Additionals, resource("ns.test.", &dnsmessage.AResource{A: [4]byte{192, 0, 2, k}}))
	}
	place, err := answering(t, m).Find(t.Context(), "a.test")
	is.NoErr(err)
	is.Equal(len(place.Servers), 16)
}

func TestTextsOfARecordAreOne(t *testing.T) {
	is := is.New(t)
	m := dnsmessage.Message{Answers: []dnsmessage.Resource{
		alias("a.test.", "b.test."),
		resource("b.test.", &dnsmessage.TXTResource{TXT: []string{"one ", "value"}}),
		resource("b.test.", &dnsmessage.TXTResource{TXT: []string{"another"}}),
	}}
	m.Authoritative = true
	texts, err := answering(t, m).TXT(t.Context(), "192.0.2.9:53", "a.test")
	is.NoErr(err)
	is.Equal(texts, []string{"one value", "another"})
}

// It refers to others, which a resolver does not do.
func TestServerThatLooksNothingUpIsNoResolver(t *testing.T) {
	soa := []dnsmessage.Resource{resource("test.", &dnsmessage.SOAResource{NS: dnsmessage.MustNewName("ns."), MBox: dnsmessage.MustNewName("mbox.")})}
	for name, tt := range map[string]struct {
		header dnsmessage.Header
		want   string // an error; "": none
	}{
		"refers to others": {dnsmessage.Header{}, "192.0.2.9:53: it has no authority over a.test"},
		"has the zone":     {dnsmessage.Header{Authoritative: true}, ""},
		"fails":            {dnsmessage.Header{RecursionAvailable: true, RCode: dnsmessage.RCodeServerFailure}, "192.0.2.9:53: it answered ServerFailure about a.test"},
		"has no such name": {dnsmessage.Header{Authoritative: true, RCode: dnsmessage.RCodeNameError}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			place, err := answering(t, dnsmessage.Message{Header: tt.header, Authorities: soa}).Find(t.Context(), "a.test")
			if tt.want == "" {
				is.NoErr(err)
				is.Equal(place, zone.Place{Name: "a.test", Zone: "test", Servers: []string{"192.0.2.9:53"}})
				return
			}
			is.True(err != nil)
			is.True(strings.HasPrefix(err.Error(), tt.want))
		})
	}
}

func TestAddressOfAServerIsAskedForWhereTheAnswerHasNone(t *testing.T) {
	is := is.New(t)
	_, f := newDNS() // which names its servers, and no addresses of them
	place, err := f.Find(t.Context(), "a.sub.example.com")
	is.NoErr(err)
	is.Equal(place.Servers, []string{"192.0.2.3:53"})
}
