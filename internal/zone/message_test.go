package zone_test

import (
	"context"
	"net"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/shahnk19/parachute/internal/zone"
)

// answering returns a Finder whose only resolver gives the same answer to whatever it is
// asked.
func answering(t *testing.T, m dnsmessage.Message) *zone.Finder {
	t.Helper()
	m.Response, m.RecursionAvailable = true, true
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
		f := answering(t, dnsmessage.Message{Authorities: []dnsmessage.Resource{
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
