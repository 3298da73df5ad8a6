package main

import (
	"net"
	"strings"
	"sync/atomic"

	"github.com/miekg/dns"
)

// zone has the names of targets, all of which are this machine.
const zone = "soak.test"

// nameServerAddress is where the name server is, in the soak's own namespaces.
const nameServerAddress = "127.0.0.53"

// Moods of a name server.
const (
	willing int32 = iota
	silent
	failing  // it answers SERVFAIL
	ignorant // it answers NXDOMAIN
)

// A nameServer knows the names of the zone.
type nameServer struct {
	mood   atomic.Int32
	server *dns.Server
	served chan error
}

func newNameServer() (*nameServer, error) {
	conn, err := net.ListenPacket("udp", nameServerAddress+":53")
	if err != nil {
		return nil, err
	}
	n := &nameServer{served: make(chan error, 1)}
	n.server = &dns.Server{PacketConn: conn, Handler: n}
	go func() { n.served <- n.server.ActivateAndServe() }()
	return n, nil
}

func (n *nameServer) close() {
	n.server.Shutdown()
	<-n.served
}

func (n *nameServer) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	answer := new(dns.Msg)
	answer.SetReply(question)
	q := question.Question[0]
	switch mood := n.mood.Load(); {
	case mood == silent:
		return
	case mood == failing:
		answer.Rcode = dns.RcodeServerFailure
	case mood == ignorant || !strings.HasSuffix(q.Name, zone+"."):
		answer.Rcode = dns.RcodeNameError
	case q.Qtype == dns.TypeA:
		answer.Answer = append(answer.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1),
		})
	}
	w.WriteMsg(answer)
}
