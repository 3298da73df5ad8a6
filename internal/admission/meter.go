package admission

import (
	"fmt"
	"net/netip"
	"time"
)

// maxClients bounds the clients that are counted in a minute. When there are
// more, each is counted from nothing again: who has that many addresses is not
// held up by a limit for each.
const maxClients = 10_000

// A meter counts the new names of a minute. If a limit is negative, there is
// none.
type meter struct {
	limit, perClient int

	began   time.Time
	all     int
	clients map[netip.Addr]int
}

// count counts a new name of client, or returns why it is one too many; then it
// is not counted.
func (m *meter) count(client netip.Addr, now time.Time) error {
	if now.Sub(m.began) >= time.Minute {
		m.began, m.all, m.clients = now, 0, make(map[netip.Addr]int)
	}
	client = network(client)
	metered := m.perClient >= 0 && client.IsValid()
	switch {
	case m.limit >= 0 && m.all >= m.limit:
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

// network returns the address that stands for client: a host on an IPv6 network
// has the choice of 64 bits. The zero Addr stands for itself.
func network(client netip.Addr) netip.Addr {
	client = client.Unmap()
	if !client.Is6() {
		return client
	}
	prefix, _ := client.Prefix(64) // fails for more bits than there are
	return prefix.Addr()
}
