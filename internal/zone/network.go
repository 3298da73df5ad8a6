package zone

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// queryTimeout is how long a server has for one answer.
	queryTimeout = 3 * time.Second

	// maxDatagram is how many bytes are read of an answer over UDP. Servers send 512 to
	// those who say nothing else (RFC 1035, section 2.3.4).
	maxDatagram = 4096
)

// send returns the answer of server to query, which it sends over UDP, and over TCP if
// that does not do: because it does not get through, or because the answer is too long.
func (f *Finder) send(ctx context.Context, server string, query []byte) ([]byte, error) {
	answer, err := f.exchange(ctx, "udp", server, query)
	if err == nil && !isTruncated(answer) {
		return answer, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	whole, errTCP := f.exchange(ctx, "tcp", server, query)
	if err != nil && errTCP != nil {
		return nil, err // of what servers are asked by first
	}
	return whole, errTCP
}

func isTruncated(answer []byte) bool {
	var p dnsmessage.Parser
	h, err := p.Start(answer)
	return err == nil && h.Truncated
}

func (f *Finder) exchange(ctx context.Context, network, server string, query []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	dial := f.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	interrupt := func() { _ = conn.SetDeadline(time.Unix(1, 0)) }
	defer context.AfterFunc(ctx, interrupt)()
	if network == "udp" {
		return overPacket(conn, query)
	}
	return overStream(conn, query)
}

func overPacket(conn net.Conn, query []byte) ([]byte, error) {
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	answer := make([]byte, maxDatagram)
	for {
		n, err := conn.Read(answer)
		if err != nil {
			return nil, err
		}
		if isAnswer(answer[:n], query) { // anybody can send a datagram
			return answer[:n], nil
		}
	}
}

// overStream has the length in front of each message (RFC 1035, section 4.2.2).
func overStream(conn net.Conn, query []byte) ([]byte, error) {
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(query)))
	if _, err := conn.Write(append(framed, query...)); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, err
	}
	if !isAnswer(answer, query) {
		return nil, errors.New("its answer is to another question")
	}
	return answer, nil
}

// isAnswer reports whether message answers query.
func isAnswer(message, query []byte) bool {
	var said, asked dnsmessage.Parser
	h, err := said.Start(message)
	of, errAsked := asked.Start(query)
	if err != nil || errAsked != nil || !h.Response || h.ID != of.ID {
		return false
	}
	question, err := asked.Question()
	if err != nil {
		return false
	}
	repeated, err := said.Question()
	if err == dnsmessage.ErrSectionDone {
		return true // as servers that refuse may do
	}
	return err == nil && repeated.Type == question.Type && textOf(repeated.Name) == textOf(question.Name)
}
