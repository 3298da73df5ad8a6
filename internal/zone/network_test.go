package zone_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/shahnk19/parachute/internal/zone"
)

// A server answers on real sockets, over UDP and TCP at the same port.
type server struct {
	address string
	udp     func(query []byte) [][]byte // the datagrams that answer; nil: none
	tcp     func(query []byte) []byte
}

func serve(t *testing.T, s *server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Skipf("the UDP port of a TCP port that was free is not: %v", err)
	}
	s.address = l.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() { s.serveUDP(packets) })
	serving.Go(func() { s.serveTCP(l) })
	t.Cleanup(func() {
		l.Close()
		packets.Close()
		serving.Wait()
	})
}

func (s *server) serveUDP(c net.PacketConn) {
	query := make([]byte, 512)
	for {
		n, from, err := c.ReadFrom(query)
		if err != nil {
			return
		}
		for _, answer := range s.udp(query[:n]) {
			c.WriteTo(answer, from)
		}
	}
}

func (s *server) serveTCP(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		var length [2]byte
		io.ReadFull(conn, length[:])
		query := make([]byte, binary.BigEndian.Uint16(length[:]))
		io.ReadFull(conn, query)
		answer := s.tcp(query)
		conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
		conn.Close()
	}
}

// changed returns what a DNS with the record answers to query, with a change.
func changed(query []byte, change func(*dnsmessage.Message)) []byte {
	d, _ := newDNS()
	d.Present(context.Background(), "a.example.com", "one")
	answer, _ := d.Answer("192.0.2.1:53", query)
	var m dnsmessage.Message
	m.Unpack(answer)
	change(&m)
	answer, _ = m.Pack()
	return answer
}

func unchanged(query []byte) []byte { return changed(query, func(*dnsmessage.Message) {}) }

func TestAnswerOverUDPIsToTheQuestion(t *testing.T) {
	is := is.New(t)
	s := &server{tcp: func([]byte) []byte { return nil }}
	s.udp = func(query []byte) [][]byte {
		return [][]byte{
			{1, 2, 3},
			query, // is no answer
			changed(query, func(m *dnsmessage.Message) { m.ID++; m.Answers = nil }),
			changed(query, func(m *dnsmessage.Message) {
				m.Questions[0].Name = dnsmessage.MustNewName("b.example.com.")
				m.Answers = nil
			}),
			unchanged(query),
		}
	}
	serve(t, s)
	texts, err := new(zone.Finder).TXT(t.Context(), s.address, "a.example.com")
	is.NoErr(err)
	is.Equal(texts, []string{"one"}) // not what anybody else has sent
}

func TestAnswerThatIsTooLongForUDPComesOverTCP(t *testing.T) {
	is := is.New(t)
	s := &server{tcp: unchanged}
	s.udp = func(query []byte) [][]byte {
		return [][]byte{changed(query, func(m *dnsmessage.Message) { m.Truncated, m.Answers = true, nil })}
	}
	serve(t, s)
	texts, err := new(zone.Finder).TXT(t.Context(), s.address, "a.example.com")
	is.NoErr(err)
	is.Equal(texts, []string{"one"})
}

func TestAnswerOverTCPIsToTheQuestion(t *testing.T) {
	is := is.New(t)
	s := &server{udp: func(query []byte) [][]byte {
		return [][]byte{changed(query, func(m *dnsmessage.Message) { m.Truncated = true })}
	}}
	s.tcp = func(query []byte) []byte { return changed(query, func(m *dnsmessage.Message) { m.ID++ }) }
	serve(t, s)
	_, err := new(zone.Finder).TXT(t.Context(), s.address, "a.example.com")
	is.True(err != nil)
	is.True(strings.HasSuffix(err.Error(), "its answer is to another question"))
}

func TestTCPIsTriedWhereUDPDoesNotGetThrough(t *testing.T) {
	is := is.New(t)
	s := &server{tcp: unchanged, udp: func([]byte) [][]byte { return nil }}
	serve(t, s)
	began := time.Now()
	texts, err := new(zone.Finder).TXT(t.Context(), s.address, "a.example.com")
	is.NoErr(err)
	is.Equal(texts, []string{"one"})
	is.True(time.Since(began) >= 3*time.Second) // what UDP was given
}

func TestQueryEndsWithItsContext(t *testing.T) {
	is := is.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := &server{tcp: unchanged, udp: func([]byte) [][]byte { cancel(); return nil }}
	serve(t, s)
	_, err := new(zone.Finder).TXT(ctx, s.address, "a.example.com")
	is.True(err != nil) // and is not asked over TCP
}

func TestServerThatRefusesConnectionsIsAnError(t *testing.T) {
	is := is.New(t)
	_, err := new(zone.Finder).TXT(t.Context(), "127.0.0.1:1", "a.example.com")
	is.True(err != nil)
	is.True(strings.HasPrefix(err.Error(), "127.0.0.1:1: "))
}
