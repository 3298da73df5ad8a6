package proxytest

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Resolver is where the resolver of every [DNS] answers.
const Resolver = "198.51.100.53:53"

// A DNS has zones, their servers, and a resolver that knows them all. Its methods may
// be called from any goroutine.
type DNS struct {
	mu      sync.Mutex // guards what follows
	zones   map[string][]netip.Addr
	aliases map[string]string
	texts   []text
	lags    map[string]time.Duration // by server
	silent  map[string]bool          // by server
	asked   map[string]int           // by server, for TXT records
}

// A text is a TXT record.
type text struct {
	name, value string
	since       time.Time
}

// Zone adds a zone with servers at these addresses, at port 53. Without any, nobody has it.
func (d *DNS) Zone(name string, servers ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.zones == nil {
		d.zones, d.aliases = make(map[string][]netip.Addr), make(map[string]string)
		d.lags, d.silent, d.asked = make(map[string]time.Duration), make(map[string]bool), make(map[string]int)
	}
	addresses := d.zones[name]
	for _, s := range servers {
		addresses = append(addresses, netip.MustParseAddr(s))
	}
	d.zones[name] = addresses
}

// Alias makes name lead to target. A zone must be there.
func (d *DNS) Alias(name, target string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.aliases[name] = target
}

// Lag has a server show new records as late as that.
func (d *DNS) Lag(server string, late time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lags[server] = late
}

// Silence has a server, or Resolver, refuse to be asked, or takes that back.
func (d *DNS) Silence(server string, isSilent bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.silent[server] = isSilent
}

// Asked tells how often a server was asked for TXT records.
func (d *DNS) Asked(server string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[server]
}

// Present adds a TXT record.
func (d *DNS) Present(_ context.Context, name, value string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.texts = append(d.texts, text{name, value, time.Now()})
	return nil
}

// Cleanup removes a TXT record. It is an error if there is none.
func (d *DNS) Cleanup(_ context.Context, name, value string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := slices.IndexFunc(d.texts, func(t text) bool { return t.name == name && t.value == value })
	if k < 0 {
		return fmt.Errorf("%s has no TXT record %q", name, value)
	}
	d.texts = slices.Delete(d.texts, k, k+1)
	return nil
}

// TXT returns the TXT records of what name leads to.
func (d *DNS) TXT(name string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.aliases[name] != "" {
		name = d.aliases[name]
	}
	return d.textsLocked(name, 0)
}

func (d *DNS) textsLocked(name string, lag time.Duration) []string {
	var all []string
	for _, t := range d.texts {
		if t.name == name && time.Since(t.since) >= lag {
			all = append(all, t.value)
		}
	}
	return all
}

// Dial connects to a server, or to Resolver. They answer over TCP alone.
func (d *DNS) Dial(_ context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	isSilent := d.silent[address]
	d.mu.Unlock()
	if isSilent || network != "tcp" {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	client, server := net.Pipe()
	go d.Converse(server, address)
	return client, nil
}

// Converse answers one query over conn, as a server, or Resolver, would.
func (d *DNS) Converse(conn net.Conn, address string) {
	defer conn.Close()
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	query := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return
	}
	if answer, err := d.Answer(address, query); err == nil {
		conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	}
}

// Answer returns what a server, or Resolver, answers to a query.
func (d *DNS) Answer(server string, query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m.Response = true
	q := m.Questions[0]
	name := strings.TrimSuffix(q.Name.String(), ".")
	if q.Type == dnsmessage.TypeTXT {
		d.asked[server]++
	}
	zone := d.zoneLocked(name)
	address := netip.MustParseAddrPort(server).Addr()
	switch isOwn := slices.Contains(d.zones[zone], address); {
	case server == Resolver:
		m.RecursionAvailable = true
	case isOwn:
		m.Authoritative = true
	default:
		m.RCode = dnsmessage.RCodeRefused
		return m.Pack()
	}
	for q.Type != dnsmessage.TypeCNAME && d.aliases[name] != "" {
		m.Answers = append(m.Answers, record(name, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(d.aliases[name] + ".")}))
		name = d.aliases[name]
		if zone = d.zoneLocked(name); m.Authoritative && !slices.Contains(d.zones[zone], address) {
			return m.Pack()
		}
	}
	d.answerLocked(&m, server, name, zone, q.Type)
	return m.Pack()
}

func (d *DNS) answerLocked(m *dnsmessage.Message, server, name, zone string, kind dnsmessage.Type) {
	had := len(m.Answers)
	switch kind {
	case dnsmessage.TypeCNAME:
		if target := d.aliases[name]; target != "" {
			m.Answers = append(m.Answers, record(name, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(target + ".")}))
		}
	case dnsmessage.TypeTXT:
		for _, value := range d.textsLocked(name, d.lags[server]) {
			m.Answers = append(m.Answers, record(name, &dnsmessage.TXTResource{TXT: []string{value}}))
		}
	case dnsmessage.TypeNS:
		for k := range d.zones[name] {
			m.Answers = append(m.Answers, record(name, &dnsmessage.NSResource{NS: dnsmessage.MustNewName(fmt.Sprintf("ns%d.%s.", k, name))}))
		}
	case dnsmessage.TypeA:
		for k, a := range d.zones[zone] {
			if name == fmt.Sprintf("ns%d.%s", k, zone) {
				m.Answers = append(m.Answers, record(name, &dnsmessage.AResource{A: a.As4()}))
			}
		}
	case dnsmessage.TypeSOA:
		if name == zone {
			m.Answers = append(m.Answers, record(zone, soa()))
		}
	}
	if len(m.Answers) == had {
		m.RCode = dnsmessage.RCodeNameError // for a name with other records, that is not quite right
		if zone != "" {
			m.Authorities = append(m.Authorities, record(zone, soa()))
		}
	}
}

// zoneLocked returns the zone that name is in, or "".
func (d *DNS) zoneLocked(name string) string {
	for isMore := true; isMore; _, name, isMore = strings.Cut(name, ".") {
		if _, isZone := d.zones[name]; isZone {
			return name
		}
	}
	return ""
}

func soa() *dnsmessage.SOAResource {
	return &dnsmessage.SOAResource{NS: dnsmessage.MustNewName("ns0.test."), MBox: dnsmessage.MustNewName("ops.test.")}
}

func record(name string, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name + "."), Class: dnsmessage.ClassINET, TTL: 60}, Body: body}
}
