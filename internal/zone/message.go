package zone

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// An answer is what a server has said.
type answer struct {
	dnsmessage.Message
	server string
}

// newQuery returns a question about name, as it is sent.
func newQuery(name string, kind dnsmessage.Type) ([]byte, error) {
	asked, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return nil, err
	}
	query := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: asked, Type: kind, Class: dnsmessage.ClassINET}},
	}
	return query.Pack()
}

// textOf returns a name as it is written elsewhere: in lower case, without a final dot.
func textOf(name dnsmessage.Name) string {
	return strings.ToLower(strings.TrimSuffix(name.String(), "."))
}

// alias returns what name leads to by the CNAME records of a, or "".
func (a *answer) alias(name string) string {
	target := ""
	of := strings.ToLower(name)
	for range maxAliases { // they may be in any order, and lead round in a circle
		for _, r := range a.Answers {
			if body, ok := r.Body.(*dnsmessage.CNAMEResource); ok && textOf(r.Header.Name) == of {
				target = textOf(body.CNAME)
			}
		}
		of = target
	}
	return target
}

// zone returns the zone of name, if a says which, or "".
func (a *answer) zone(name string) string {
	for _, r := range slices.Concat(a.Answers, a.Authorities) {
		if zone := textOf(r.Header.Name); r.Header.Type == dnsmessage.TypeSOA && isWithin(name, zone) {
			return zone
		}
	}
	return ""
}

// isWithin reports whether name is zone or below it. The root has no zone of ours.
func isWithin(name, zone string) bool {
	name = strings.ToLower(name)
	return zone != "" && (name == zone || strings.HasSuffix(name, "."+zone))
}

// servers returns the names of zone's servers.
func (a *answer) servers(zone string) []string {
	var names []string
	for _, r := range slices.Concat(a.Answers, a.Authorities) {
		if body, ok := r.Body.(*dnsmessage.NSResource); ok && textOf(r.Header.Name) == zone {
			names = append(names, textOf(body.NS))
		}
	}
	return names
}

// addresses returns the addresses of name that are anywhere in a, or those of any name
// for "".
func (a *answer) addresses(name string) []netip.Addr {
	var all []netip.Addr
	for _, r := range slices.Concat(a.Answers, a.Additionals) {
		if name != "" && textOf(r.Header.Name) != name {
			continue
		}
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			all = append(all, netip.AddrFrom4(body.A))
		case *dnsmessage.AAAAResource:
			all = append(all, netip.AddrFrom16(body.AAAA))
		}
	}
	return all
}

// texts returns the TXT records of a.
func (a *answer) texts() []string {
	var all []string
	for _, r := range a.Answers {
		if body, ok := r.Body.(*dnsmessage.TXTResource); ok {
			all = append(all, strings.Join(body.TXT, ""))
		}
	}
	return all
}
