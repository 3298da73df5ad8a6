package admission

import (
	"fmt"
	"net/netip"
	"time"
)

// maxClients bounds the clients that are counted in a minute. When there are more,
// all their counts begin at 0 again: a limit per client does not stop an attacker
// with so many addresses.
const maxClients = 10_000

// A meter counts the new names of a minute.
type meter struct {
	limit, perClient int

	began   time.Time
	all     int
	clients map[netip.Addr]int
}

// count counts a new name of client. If it exceeds a limit, count returns ErrLimit
// and does not count it.
func (m *meter) count(client netip.Addr, now time.Time) error {
	if now.Sub(m.began) >= time.Minute {
		m.began, m.all, m.clients = now, 0, make(map[netip.Addr]int)
	}
	client = network(client)
	metered := client.IsValid()
	switch {
	case m.all >= m.limit:
		return fmt.Errorf("%w: at most %d a minute are asked about", ErrLimit, m.limit)
	case metered && m.clients[client] >= m.perClient:
		return fmt.Errorf("%w from this client: at most %d a minute are asked about", ErrLimit, m.perClient)
	}
	m.all++
	if !metered {
		return nil
	}
	if len(m.clients) >= maxClients && m.clients[client] == 0 {
		clear(m.clients)
	}
	m.clients[client]++
	return nil
}

// network returns the address that client is counted by. For IPv6, that is its
// 64-bit network, for a host may choose any address of it. The zero Addr is returned
// as it is.
func network(client netip.Addr) netip.Addr {
	client = client.Unmap()
	if !client.Is6() {
		return client
	}
	prefix, _ := client.Prefix(64) // fails for more bits than there are
	return prefix.Addr()
}
