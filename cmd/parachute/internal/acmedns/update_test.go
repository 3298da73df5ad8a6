package acmedns_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"
	"github.com/miekg/dns"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/acmedns"
)

const secret = "c2VjcmV0IG9mIHRoZSB0ZXN0cywgaGVyZSBvbmx5"

// A primary is a server of the zone example.com that takes updates.
type primary struct {
	address string
	isOpen  bool // to updates that nobody has signed

	mu    sync.Mutex // guards what follows
	texts []string   // name and value
	over  []string   // the networks that updates came over
}

// newPrimary serves one over the networks until the test ends.
func newPrimary(t *testing.T, isOpen bool, networks ...string) *primary {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &primary{address: l.Addr().String(), isOpen: isOpen}
	packets, err := net.ListenPacket("udp", p.address)
	if err != nil {
		t.Skipf("the UDP port of a TCP port that was free is not: %v", err)
	}
	if !slices.Contains(networks, "tcp") {
		l.Close()
		l = nil
	}
	if !slices.Contains(networks, "udp") {
		packets.Close()
		packets = nil
	}
	for _, network := range networks {
		begun := make(chan struct{})
		s := &dns.Server{
			Handler:           dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) { p.answer(w, m, network) }),
			TsigSecret:        map[string]string{"acme.": secret},
			MsgAcceptFunc:     func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept },
			NotifyStartedFunc: func() { close(begun) },
		}
		if network == "tcp" {
			s.Listener = l
		} else {
			s.PacketConn = packets
		}
		var serving sync.WaitGroup
		serving.Go(func() { s.ActivateAndServe() })
		<-begun
		t.Cleanup(func() { s.Shutdown(); serving.Wait() })
	}
	return p
}

func (p *primary) answer(w dns.ResponseWriter, m *dns.Msg, network string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := new(dns.Msg).SetReply(m)
	name := m.Question[0].Name
	signed := m.IsTsig()
	switch {
	case !dns.IsSubDomain("example.com.", name):
		a.Rcode = dns.RcodeRefused
	case m.Opcode == dns.OpcodeQuery:
		a.Rcode, a.Authoritative = dns.RcodeNameError, true
		a.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.com.", Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Ns: "ns.example.com.", Mbox: "ops.example.com."}}
	case signed != nil && w.TsigStatus() != nil:
		a.Rcode = dns.RcodeNotAuth
	case signed == nil && !p.isOpen:
		a.Rcode = dns.RcodeRefused
	default:
		p.over = append(p.over, network)
		for _, r := range m.Ns {
			text := r.Header().Name + " " + r.(*dns.TXT).Txt[0]
			if r.Header().Class == dns.ClassNONE {
				p.texts = slices.DeleteFunc(p.texts, func(other string) bool { return other == text })
			} else {
				p.texts = append(p.texts, text)
			}
		}
	}
	if signed != nil && w.TsigStatus() == nil {
		a.SetTsig(signed.Hdr.Name, signed.Algorithm, 300, int64(signed.TimeSigned))
	}
	w.WriteMsg(a)
}

// has returns the records, and the networks of the updates.
func (p *primary) has() (texts, over string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.texts, ", "), strings.Join(p.over, ", ")
}

// keyFile writes a file with a key.
func keyFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "acme.key")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// byUpdate returns what sets records at p, with a key of that name, algorithm and secret.
func byUpdate(t *testing.T, p *primary, name, algorithm, secret string) parachute.DNS {
	t.Helper()
	c := acmedns.Config{Server: p.address}
	if name != "" {
		key, err := acmedns.ReadKey(keyFile(t, `key "`+name+`" { algorithm `+algorithm+`; secret "`+secret+`"; };`))
		if err != nil {
			t.Fatal(err)
		}
		c.Key = key
	}
	return c.DNS(slog.New(slog.DiscardHandler))
}

func TestRecordsAreAddedAndRemovedByName(t *testing.T) {
	for _, algorithm := range []string{"hmac-sha256", "hmac-sha512", "hmac-sha384", "HMAC-SHA224", "hmac-sha1"} {
		t.Run(algorithm, func(t *testing.T) {
			is := is.New(t)
			p := newPrimary(t, false, "udp", "tcp")
			d := byUpdate(t, p, "acme", algorithm, secret)
			is.NoErr(d.Present(t.Context(), "_acme-challenge.example.com", "one"))
			is.NoErr(d.Present(t.Context(), "_acme-challenge.example.com", "two")) // of the wildcard
			texts, over := p.has()
			is.Equal(texts, "_acme-challenge.example.com. one, _acme-challenge.example.com. two")
			is.Equal(over, "udp, udp")
			is.NoErr(d.Cleanup(t.Context(), "_acme-challenge.example.com", "one"))
			texts, _ = p.has()
			is.Equal(texts, "_acme-challenge.example.com. two") // the other one stays
		})
	}
}

func TestUpdateGoesOverTCPWhereUDPDoesNotGetThrough(t *testing.T) {
	is := is.New(t)
	p := newPrimary(t, false, "tcp")
	is.NoErr(byUpdate(t, p, "acme", "hmac-sha256", secret).Present(t.Context(), "a.example.com", "v"))
	texts, over := p.has()
	is.Equal(texts, "a.example.com. v")
	is.Equal(over, "tcp")
}

func TestUpdateNeedsNoKeyWhereTheServerWantsNone(t *testing.T) {
	is := is.New(t)
	p := newPrimary(t, true, "udp", "tcp")
	is.NoErr(byUpdate(t, p, "", "", "").Present(t.Context(), "a.example.com", "v"))
	texts, _ := p.has()
	is.Equal(texts, "a.example.com. v")
}

func TestServerThatDoesNotTakeAnUpdateIsToldFrom(t *testing.T) {
	for name, tt := range map[string]struct {
		key, secret, record string
		want                string
	}{
		"no key":       {"", "", "a.example.com", " answered REFUSED to the update of zone example.com"},
		"unknown key":  {"other", secret, "a.example.com", " answered NOTAUTH to "},
		"wrong secret": {"acme", "b3RoZXI=", "a.example.com", " answered NOTAUTH to "},
		"another zone": {"acme", secret, "a.example.org", " answered REFUSED to a question about a.example.org"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			p := newPrimary(t, false, "udp", "tcp")
			err := byUpdate(t, p, tt.key, "hmac-sha256", tt.secret).Present(t.Context(), tt.record, "v")
			is.True(err != nil)
			is.True(strings.HasPrefix(err.Error(), p.address+tt.want) || strings.Contains(err.Error(), "NOTAUTH") && strings.Contains(tt.want, "NOTAUTH"))
			texts, _ := p.has()
			is.Equal(texts, "")
		})
	}
}

func TestServerThatIsDownIsToldOfBothNetworks(t *testing.T) {
	is := is.New(t)
	err := acmedns.Config{Server: "127.0.0.1:1"}.DNS(slog.New(slog.DiscardHandler)).Present(t.Context(), "a.example.com", "v")
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "127.0.0.1:1 over udp: "))
	is.True(strings.Contains(err.Error(), "127.0.0.1:1 over tcp: "))
}

func TestUpdateEndsWithItsContext(t *testing.T) {
	is := is.New(t)
	p := newPrimary(t, true, "udp", "tcp")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	is.True(byUpdate(t, p, "", "", "").Present(ctx, "a.example.com", "v") != nil)
	texts, _ := p.has()
	is.Equal(texts, "")
}

func TestServerThatTakesUpdatesIsAskedForTheZoneAfterTheResolvers(t *testing.T) {
	is := is.New(t)
	is.Equal(acmedns.Config{Server: "192.0.2.1:53", Resolvers: []string{"192.0.2.9:53"}}.DNS(nil).Resolvers, []string{"192.0.2.9:53", "192.0.2.1:53"})
	is.Equal(acmedns.Config{Command: "/bin/true", Resolvers: []string{"192.0.2.9:53"}}.DNS(nil).Resolvers, []string{"192.0.2.9:53"})
	nothing := acmedns.Config{Resolvers: []string{"192.0.2.9:53"}}
	is.True(!nothing.IsSet())
	is.True(nothing.DNS(nil).Present == nil)
}

func TestKeyIsReadAsToolsWriteIt(t *testing.T) {
	is := is.New(t)
	for _, text := range []string{
		"key \"acme.\" {\n\talgorithm hmac-sha256;\n\tsecret \"" + secret + "\";\n};\n",
		"# made by hand\n// twice\n/* key \"no\" { } */ key acme { secret " + secret + "; };",
		`key "acme" { algorithm "hmac-sha512"; secret "//8="; }; // "`,
	} {
		_, err := acmedns.ReadKey(keyFile(t, text))
		is.NoErr(err)
	}
}

func TestKeyThatIsNoneIsToldAndNotShown(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"nothing":          {"", "want one key in it, as tsig-keygen writes it"},
		"two":              {`key a { secret "c2VjcmV0"; }; key b { secret "c2VjcmV0"; };`, "want one key in it"},
		"no secret":        {`key a { algorithm hmac-sha256; };`, "its key has no secret"},
		"secret in hex":    {`key a { secret "c2VjcmV0-"; };`, "the secret of its key is not in base64"},
		"empty secret":     {`key a { secret "="; };`, "is not in base64"},
		"unsafe algorithm": {`key a { algorithm hmac-md5.sig-alg.reg.int; secret "c2VjcmV0"; };`, "its key is for the algorithm hmac-md5.sig-alg.reg.int: want hmac-sha256"},
		"no name":          {`key "a..b" { secret "c2VjcmV0"; };`, "its key has no name"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			path := keyFile(t, tt.text)
			_, err := acmedns.ReadKey(path)
			is.True(err != nil)
			is.True(strings.HasPrefix(err.Error(), path+": "))
			is.True(strings.Contains(err.Error(), tt.want))
			is.True(!strings.Contains(err.Error(), "c2VjcmV0"))
		})
	}
	is := is.New(t)
	_, err := acmedns.ReadKey(filepath.Join(t.TempDir(), "missing"))
	is.True(os.IsNotExist(err))
	_, err = acmedns.ReadKey(t.TempDir())
	is.True(err != nil)
	_, err = acmedns.ReadKey(keyFile(t, strings.Repeat("#", 70<<10)))
	is.True(err != nil)
}

func FuzzKey(f *testing.F) {
	f.Add(`key "acme" { algorithm hmac-sha256; secret "c2VjcmV0"; };`)
	f.Add(`/* key { */ key a { secret c2Vj; }; // "`)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "key")
		if os.WriteFile(path, []byte(text), 0o600) == nil {
			if key, err := acmedns.ReadKey(path); (key == nil) == (err == nil) {
				t.Errorf("%v, %v", key, err)
			}
		}
	})
}
