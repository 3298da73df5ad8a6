package e2e_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A nameserver has the zone example.com, in which all names have the address 127.0.0.1.
// Its TXT records are files in a folder, called NAME=VALUE.
type nameserver struct {
	address string
	folder  string
	key     string // the secret of who may send updates, in base64

	mu      sync.Mutex        // guards what follows
	aliases map[string]string // CNAME records
	late    time.Duration     // until a record shows
}

// newNameserver serves one over TCP until the test ends.
func newNameserver(t *testing.T) *nameserver {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameserver{address: l.Addr().String(), folder: t.TempDir(), key: "c2VjcmV0IG9mIHRoZSB0ZXN0cywgaGVyZSBvbmx5", aliases: make(map[string]string)}
	server := &dns.Server{
		Listener:      l,
		Handler:       dns.HandlerFunc(n.answer),
		TsigSecret:    map[string]string{"acme.": n.key},
		MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept },
	}
	var serving sync.WaitGroup
	serving.Go(func() { server.ActivateAndServe() })
	t.Cleanup(func() {
		server.Shutdown()
		l.Close() // where Shutdown came before the server had begun
		serving.Wait()
	})
	return n
}

// alias makes name lead to target.
func (n *nameserver) alias(name, target string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.aliases[name] = target
}

// delay has records show that much later than they are set.
func (n *nameserver) delay(late time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.late = late
}

// texts returns the TXT records of name that show.
func (n *nameserver) texts(name string) []string {
	files, err := os.ReadDir(n.folder)
	if err != nil {
		panic(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []string
	for _, f := range files {
		of, value, _ := strings.Cut(f.Name(), "=")
		info, err := f.Info()
		if err == nil && of == name && time.Since(info.ModTime()) >= n.late {
			all = append(all, value)
		}
	}
	return all
}

func (n *nameserver) answer(w dns.ResponseWriter, m *dns.Msg) {
	a := new(dns.Msg).SetReply(m)
	a.Authoritative = true
	switch {
	case m.Opcode == dns.OpcodeUpdate:
		n.update(w, m, a)
	default:
		for _, q := range m.Question {
			n.resolve(q, a)
		}
	}
	w.WriteMsg(a)
}

func (n *nameserver) resolve(q dns.Question, a *dns.Msg) {
	name := strings.ToLower(strings.TrimSuffix(q.Name, "."))
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET}
	n.mu.Lock()
	target := n.aliases[name]
	n.mu.Unlock()
	if target != "" {
		alias := header
		alias.Rrtype = dns.TypeCNAME
		a.Answer = append(a.Answer, &dns.CNAME{Hdr: alias, Target: dns.Fqdn(target)})
		header.Name, name = dns.Fqdn(target), target
	}
	switch q.Qtype {
	case dns.TypeA:
		a.Answer = append(a.Answer, &dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)})
	case dns.TypeTXT:
		for _, value := range n.texts(name) {
			a.Answer = append(a.Answer, &dns.TXT{Hdr: header, Txt: []string{value}})
		}
	}
	if len(a.Answer) == 0 {
		header = dns.RR_Header{Name: "example.com.", Rrtype: dns.TypeSOA, Class: dns.ClassINET}
		a.Ns = []dns.RR{&dns.SOA{Hdr: header, Ns: "ns.example.com.", Mbox: "ops.example.com."}}
	}
}

// update makes the changes of m if it is signed with the key.
func (n *nameserver) update(w dns.ResponseWriter, m, a *dns.Msg) {
	if m.IsTsig() == nil || w.TsigStatus() != nil {
		a.Rcode = dns.RcodeRefused
		return
	}
	for _, r := range m.Ns {
		text := r.(*dns.TXT)
		path := filepath.Join(n.folder, strings.TrimSuffix(text.Hdr.Name, ".")+"="+text.Txt[0])
		err := error(nil)
		if text.Hdr.Class == dns.ClassNONE {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, nil, 0o600)
		}
		if err != nil {
			a.Rcode = dns.RcodeServerFailure
		}
	}
	a.SetTsig("acme.", dns.HmacSHA256, 300, time.Now().Unix())
}

// names returns the names that have records, sorted.
func (n *nameserver) names(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for k, f := range files {
		files[k], _, _ = strings.Cut(filepath.Base(f), "=")
	}
	slices.Sort(files)
	return files
}
